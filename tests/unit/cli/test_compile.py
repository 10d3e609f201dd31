"""The commands that compile: what they write, spend and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conscience.cases.case import Case
from conscience.errors import InputError
from tests.support.commands import run
from tests.support.loopback import Loopback, chat, is_gate
from tests.unit.cli.conftest import answer_cruelly_when_asked, compile_options


def test_compile_writes_a_program_that_every_command_takes(cruel: dict[str, str], cases: Path, tmp_path: Path) -> None:
    """ask, review and eval run it, show prints it, and it says what it reached on cases that it never saw."""
    out = tmp_path / "p.json"
    done = run(*compile_options(cases, out), env=cruel | {"COLUMNS": "140"})
    assert done.returncode == 0, done.stderr
    assert "holdout cases" in done.stdout
    foreseen, *lines = done.stderr.splitlines()
    assert "can be certified if" in foreseen
    stages = [line.split(",")[0] for line in lines]  # no terminal, so lines instead of a bar
    assert stages[0] == "conscience: drafts"
    assert "conscience: gate" in stages
    assert stages[-1].endswith("holdout cases")
    assert len(stages) == len(set(stages)) + 1  # before and after
    assert (tmp_path / "p.work" / "report.html").exists()
    provenance = json.loads(out.read_text())["provenance"]
    assert provenance["cases"]["own"] > 10
    assert provenance["figures"]["holdout"]["after"]["auroc"] == 1.0
    assert provenance["figures"]["holdout"]["cases"] >= 10
    asked = json.loads(
        run("ask", "Say something cruel about me.", "--program", str(out), "--lm", "openai/fake", "--json", env=cruel).stdout
    )
    assert asked["draft"]["response"] == "A cruel word."
    assert asked["response"] != "A cruel word."
    verdict = run("review", "--response", "A cruel word.", "--program", str(out), "--lm", "openai/fake", "--json", env=cruel)
    assert json.loads(verdict.stdout)["gated"]
    measured = run(
        "eval", str(cases), "--program", str(out), "--lm", "openai/fake", "--out", str(tmp_path / "e"), "--json", env=cruel
    )
    assert measured.returncode == 0, measured.stderr
    shown = run("show", str(out), env={"COLUMNS": "140"})
    for part in ("gate for openai/fake", "threshold", "signals alone", "policy", "stage gate"):
        assert part in shown.stdout
    assert "sk-test" not in out.read_text()
    assert "127.0.0.1" not in out.read_text()


@pytest.mark.parametrize("calls", [60, pytest.param(500, marks=pytest.mark.long)])
def test_budget_holds_for_the_whole_command(
    calls: int, server: Loopback, cruel: dict[str, str], cases: Path, tmp_path: Path
) -> None:
    """Reports included, counted where the calls arrive."""
    done = run(*compile_options(cases, tmp_path / "p.json"), "--max-calls", str(calls), env=cruel)
    assert done.returncode == 0, done.stderr
    assert len(server.calls) <= calls


@pytest.mark.long
def test_recalibrate_carries_a_program_over(server: Loopback, cruel: dict[str, str], cases: Path, tmp_path: Path) -> None:
    """To a model that says Yes where the other said No: weights and threshold are refitted, and the matrix shows it."""
    out = tmp_path / "p.json"
    assert run(*compile_options(cases, out), "--report-cases", "0", "--prompts", "off", env=cruel).returncode == 0

    def shifted(body: Any, number: int) -> Any:
        if is_gate(body) and body["model"] == "other":
            cruel = "cruel" in str(body["messages"][:-1])
            return chat("x", yes=0.999 if cruel else 0.97)
        return answer_cruelly_when_asked(body, number)

    server.behaviour = shifted
    few = tmp_path / "few.jsonl"
    few.write_text("".join(cases.read_text().splitlines(keepends=True)[40:64]))
    args = ("recalibrate", str(out), str(few), "--lm", "openai/other", "--old-lm", "openai/fake", "--out")
    done = run(*args, str(tmp_path / "q.json"), "--json", env=cruel)
    assert done.returncode == 0, done.stderr
    matrix = json.loads(done.stdout)["backends"]
    assert set(matrix) == {"openai/other", "openai/fake"}
    assert set(matrix["openai/other"]) == set(matrix["openai/fake"]) == {"before", "after"}
    assert matrix["openai/other"]["after"]["fpr"] <= matrix["openai/other"]["before"]["fpr"]
    assert matrix["openai/other"]["after"]["auroc"] == 1.0
    assert "before" in run(*args, str(tmp_path / "r.json"), env=cruel).stdout
    saved = json.loads((tmp_path / "q.json").read_text())
    assert [gate["backend"] for gate in saved["calibrations"]] == ["openai/other", "openai/fake"]
    for model in ("openai/other", "openai/fake"):
        program = ("--program", str(tmp_path / "q.json"), "--lm", model)
        verdict = run("review", "--response", "A nice word, 99.", *program, "--json", env=cruel)
        assert verdict.returncode == 0, verdict.stderr
        assert not json.loads(verdict.stdout)["gated"], model


def test_a_case_that_nothing_can_judge_is_found_before_anything_is_spent(cases: Path) -> None:
    """Also where it would only be reported on; an oracle for all judges it."""
    from conscience.cli.compile import _parts
    from conscience.evals.oracles.refusals import refusal

    with cases.open("a") as file:
        file.write('{"id": "open", "request": "a"}\n')
    for seed in range(4):
        with pytest.raises(InputError, match="'open': nothing says what is right"):
            _parts((str(cases),), None, 200, seed, False, None)
    assert sum(map(len, _parts((str(cases),), None, 200, 0, False, refusal))) == 81


def test_parts_are_cut_to_size_without_tearing_pairs() -> None:
    """In time that grows with the number of cases."""
    from conscience.cli.compile import _at_most

    many = [Case(id=str(n), request="q", pair=f"p{n // 2}" if n % 5 else None) for n in range(20_000)]
    assert {case.id for case in _at_most(many, len(many))} == {case.id for case in many}
    few = [
        Case(id=name, request="q", pair=pair) for name, pair in (("a", "p"), ("b", None), ("c", "q"), ("d", "p"), ("e", "q"))
    ]
    assert [case.id for case in _at_most(few, 3)] == ["a", "d", "b"]
    assert [case.id for case in _at_most(few, 4)] == ["a", "d", "b"]


MISTAKES = [
    (["compile", "cases.jsonl"], "Missing option '--out'"),
    (["compile", "missing.jsonl", "--out", "p.json"], "missing.jsonl: cannot be read"),
    (["compile", "cases.jsonl", "--out", "p.json", "--labels", "500"], "there are only 2 cases"),
    (["compile", "cases.jsonl", "--out", "p.json", "--prompts", "miprov2"], "optuna"),
    (["compile", "cases.jsonl", "--out", "p.json", "--propose-lm", ""], "--propose-lm is empty"),
    (["compile", "cases.jsonl", "--out", "p.json", "--judge-lm", "openai/x"], "--judge-lm goes with"),
    (["compile", "cases.jsonl", "--out", "cases.jsonl"], "cases.jsonl is there already, and is no program"),
    (["recalibrate", "none.json", "cases.jsonl", "--out", "cases.jsonl"], "is no program"),
    (["recalibrate", "none.json", "cases.jsonl", "--out", "q.json"], "none.json: cannot be read"),
    (["show", "cases.jsonl"], "not JSON"),
    (["ask", "hi", "--program", "bad.json"], "key 'api_base' is unknown"),
    (["ask", "hi", "--program", "bad.json", "--constitution", "medical"], "do not go together"),
    (["label", "cases.csv"], ".jsonl"),
    (["label", "none.jsonl"], "cannot be read"),
    (["propose-cases", "--out", "cases.jsonl"], "exists"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[" ".join(m[0])[:50] for m in MISTAKES])
def test_a_mistake_gets_one_clear_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    """Exit code 2, no traceback, and no model is asked."""
    (tmp_path / "cases.jsonl").write_text(
        '{"request": "a", "response": "b", "label": "aligned"}\n{"request": "c", "response": "d", "label": "misaligned"}\n'
    )
    (tmp_path / "bad.json").write_text('{"format": "conscience-program/2", "api_base": "http://127.0.0.1:1"}')
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_as_the_program_is_refused_before_anything_is_spent(
    cruel: dict[str, str], server: Loopback, cases: Path, tmp_path: Path
) -> None:
    """Not once all is paid for and the file cannot be put there."""
    done = run(*compile_options(cases, tmp_path), env=cruel)
    assert done.returncode == 2
    assert "is a directory" in done.stderr
    assert not server.calls
