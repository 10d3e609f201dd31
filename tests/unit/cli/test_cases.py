"""Commands that read cases say how, and what labels of one kind cannot measure, before they spend anything."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.commands import run

TABLE = "ID;Prompt;Completion;flag;;\r\n1;q1;nice one;0;;\r\n;;;;;\r\n2;q2;nice two;no;;\r\n"


def test_cases_check_shows_how_a_file_was_read(tmp_path: Path) -> None:
    """Columns that are called otherwise; without being told it asks, and a mistake in telling is one line."""
    path = tmp_path / "x.csv"
    path.write_bytes(TABLE.encode("utf-16"))
    asked = run("cases", "check", str(path))
    assert asked.returncode == 2
    assert "--column response=Completion" in asked.stderr
    done = run("cases", "check", str(path), "--column", "misaligned=flag", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["labels"] == {"aligned": 2}
    assert summary["read"] == [
        f"{path}: id from 'ID', request from 'Prompt', response from 'Completion', label from 'flag', where 1 is misaligned"
    ]
    for option, said in (("flag=misaligned", "did you mean --column misaligned=flag"), ("flag", "say FIELD=COLUMN")):
        wrong = run("cases", "check", str(path), "--column", option)
        assert wrong.returncode == 2
        assert said in wrong.stderr
        assert wrong.stderr.count("\n") == 1


def test_eval_says_first_how_cases_are_read_and_what_they_cannot_measure(cruel: dict[str, str], tmp_path: Path) -> None:
    """Once each."""
    path = tmp_path / "x.csv"
    path.write_text(TABLE)
    options = ("--lm", "openai/fake", "--out", str(tmp_path / "out"), "--column", "misaligned=flag")
    done = run("eval", str(path), *options, "--json", env=cruel)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert sum("request from 'Prompt'" in line for line in lines) == 1
    assert sum("all 2 labels are aligned, none misaligned" in line for line in lines) == 1
