"""``conscience train``: what it refuses before anything is loaded or spent."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = ({"request": f"Ask {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(12))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is: nothing of it is loaded by what is tested here."""
    monkeypatch.setattr("conscience.optimizers.training.weights.extra.check_installed", lambda: None)


def test_without_the_extra_one_line_says_what_to_install(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else found(name, *more))
    done = run("train", str(pairs), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "torch" in done.stderr
    assert "pip install 'dspy-conscience[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--lm", "openai/gpt-4o"], "only weights on this machine can be trained here"),
        (["--lm", "FOLDER"], "holds no model"),
        (["--lm", "local:no-such-model"], "there is no weights file no-such-model"),
        (["--dpo-weight", "-1"], "dpo-weight"),
        (["--learning-rate", "nan"], "not a finite number"),
        (["--holdout-share", "0.9999"], "too few to hold out"),
    ],
)
def test_what_cannot_be_trained_is_said(arguments: list[str], says: str, pairs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    given = [str(empty) if argument == "FOLDER" else argument for argument in arguments]
    done = run("train", str(pairs), "--out", str(tmp_path / "out"), *given)
    assert done.returncode == 2, done
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("_installed")
def test_a_bad_row_is_named(pairs: Path, tmp_path: Path) -> None:
    with pairs.open("a") as file:
        file.write('{"request": "x", "chosen": "", "rejected": "y"}\n')
    done = run("train", str(pairs), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "pairs.jsonl:13" in done.stderr


def test_the_command_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys, conscience.cli.train; print([m for m in ('torch', 'transformers', 'dspy') if m in sys.modules])"
    found: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
