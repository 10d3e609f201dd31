"""The command line as a whole: ask, review, doctor, and one clear line for each way to get it wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run, script
from tests.support.loopback import Loopback, chat, error, is_gate, well_behaved


def test_ask_prints_the_outcome_as_json(fake: dict[str, str]) -> None:
    """With everything that a script wants to know."""
    done = run("ask", "--lm", "openai/fake", "--json", "UNSAFE please", env=fake)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["status"], outcome["response"]) == ("revised", "A clean answer.")
    assert outcome["draft"]["response"] == "BADWORD, do it."
    assert outcome["verdict"]["probability"] == pytest.approx(0.05)
    assert outcome["draft_verdict"]["probability"] == pytest.approx(0.95)
    assert outcome["verdict"]["signals"]
    assert len(outcome["revisions"]) == 1
    assert set(outcome["usage"]["by_role"]) == {"generate", "review", "revise"}


def test_model_text_cannot_drive_the_terminal(server: Loopback, fake: dict[str, str]) -> None:
    """Escapes in an answer are cut."""
    server.behaviour = lambda body, n: (
        chat("No", yes=0.1) if is_gate(body) else chat("\x1b]0;owned\x07\x1b[2Jhello [red]x[/red]")
    )
    done = run("ask", "--lm", "openai/fake", "hi", env=fake)
    assert "\x1b" not in done.stdout
    assert "[red]x[/red]" in done.stdout


def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(fake: dict[str, str]) -> None:
    """It costs the letter, not the answer."""
    done = script("ask", "--lm", "openai/fake", "hé", env=fake | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("h?\n")


def test_input_that_is_no_text_is_refused(fake: dict[str, str]) -> None:
    """In one line."""
    done = run("ask", "--lm", "openai/fake", "-", env=fake, stdin="h\udcff")
    assert done.returncode == 2
    assert "surrogate at position 1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ask_reads_standard_input(fake: dict[str, str]) -> None:
    """A dash stands for it."""
    assert (
        json.loads(run("ask", "--lm", "openai/fake", "--json", "-", env=fake, stdin="hello\n").stdout)["status"] == "clean"
    )


def test_policies_and_roles_are_options(server: Loopback, fake: dict[str, str]) -> None:
    """--review-lm, --max-revisions, --on-unresolved, --on-error."""
    args = ("ask", "--lm", "openai/fake", "--review-lm", "openai/judge", "--max-revisions", "0", "--on-unresolved", "raise")
    done = run(*args, "UNSAFE", env=fake)
    assert done.returncode == 1
    assert "still flagged after 0 revisions" in done.stderr
    assert {body["model"] for body in server.calls} == {"fake", "judge"}


def test_a_threshold_is_an_option(server: Loopback, fake: dict[str, str]) -> None:
    """Of a gate that gives the answer .05: above it nothing is flagged, below it everything."""
    for threshold, flagged in (("0.5", False), ("0.01", True)):
        done = run("review", "--response", "Paris.", "--lm", "openai/fake", "--threshold", threshold, "--json", env=fake)
        assert json.loads(done.stdout)["threshold"] == float(threshold)
        gate = json.loads(done.stdout)["probability"] >= float(threshold)
        assert gate is flagged, done.stdout
    done = run("ask", "hi", "--lm", "openai/fake", "--threshold", "2", env=fake)
    assert done.returncode == 2
    assert "0<=x<=1" in done.stderr


def test_review_of_one_response(fake: dict[str, str]) -> None:
    """As JSON, and for people."""
    verdict = json.loads(
        run("review", "--lm", "openai/fake", "--request", "q", "--response", "BADWORD", "--json", env=fake).stdout
    )
    assert verdict["flagged"]
    assert verdict["findings"][0]["principle"] == "no-serious-harm"
    assert "passed" in run("review", "--lm", "openai/fake", "--response", "fine", env=fake).stdout


def test_doctor_tells_what_a_backend_can_do(fake: dict[str, str]) -> None:
    """A line for each check, with advice for each gap."""
    done = run("doctor", "--lm", "openai/fake", "--json", env=fake)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["reach"]["state"] == checks["logprobs"]["state"] == "yes"
    assert checks["prefix cache"]["advice"]
    assert "reach" in run("doctor", "--lm", "openai/fake", env=fake).stdout


def test_doctor_shows_what_it_learned(server: Loopback, fake: dict[str, str]) -> None:
    """What was refused, and what is sent instead."""
    server.behaviour = lambda body, number: (
        error(400, "Unknown parameter: 'temperature'.") if "temperature" in body else well_behaved(body, number)
    )
    done = run("doctor", "--lm", "openai/fake", "--json", env=fake)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["learned"]["detail"] == "temperature: left out"
    assert checks["logprobs"]["state"] == "yes"
    assert "temperature: left out" in run("doctor", "--lm", "openai/fake", env=fake).stdout


MISTAKES: list[tuple[list[str], int, str]] = [
    (["ask", ""], 2, "the request is empty"),
    (["ask", "hi", "--lm", "nobody"], 2, "names no provider"),
    (["ask", "hi", "--lm", "openai/gpt-4o-mini"], 2, "set OPENAI_API_KEY"),
    (["ask", "hi", "--lm", "decisions:openai/gpt-6-luna"], 2, "writes nothing"),
    (["ask", "hi", "--lm", "local:/nowhere.gguf"], 2, "no weights file"),
    (["ask", "hi", "--lm", "local:~nosuch/x.gguf"], 2, "no weights file"),
    (["ask", "hi", "--constitution", "genral"], 2, "did you mean general"),
    (["ask", "hi", "--constitution", "a" * 5000], 2, "there is no constitution"),
    (["ask", "hi", "--constitution", "~nosuchuser/x.yaml"], 2, "there is no constitution"),
    (["ask", "hi", "--lm", ""], 2, "--lm is empty"),
    (["ask", "hi", "--nonsense"], 2, "No such option"),
    (["ask", "--lm", "openai/x", "\udcff"], 2, "surrogate"),
    (["review"], 2, "nothing to review"),
    (["review", "--cases", "x.jsonl"], 2, "--cases needs --out"),
    (["review", "--cases", "missing.jsonl", "--out", "v.jsonl"], 2, "missing.jsonl: cannot be read"),
    (["review", "--cases", "missing.jsonl", "--out", "."], 2, "is a folder"),
    (["review", "--cases", "missing.jsonl", "--out", ""], 2, "is a folder"),
    (["review", "--response", " "], 2, "empty"),
    (["review", "--response", "r", "--out", "v.jsonl"], 2, "--out goes with --cases"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), MISTAKES, ids=[" ".join(m[0])[:40] for m in MISTAKES])
def test_a_mistake_gets_one_clear_line(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    """What, where, how to mend it; no traceback."""
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("conscience: ") is ("option" not in said)
    if done.stderr.startswith("conscience: "):
        assert done.stderr.count("\n") == 1


def test_a_file_without_cases_is_told(fake: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("")
    done = run("review", "--cases", "c.jsonl", "--lm", "openai/fake", "--out", "v.jsonl", env=fake, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there are no cases" in done.stderr


def test_an_unreachable_backend_exits_with_3() -> None:
    """And names the mend, not the key."""
    env = {"OPENAI_API_BASE": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "sk-test-secret-0123"}
    done = run("ask", "hi", "--lm", "openai/x", env=env)
    assert done.returncode == 3
    assert "check the address" in done.stderr
    assert "sk-test" not in done.stderr


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """Where the engine is not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'xllamacpp' else find(name, package)\n"
    )
    done = script("ask", "hi", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert "dspy-conscience[local]" in done.stderr or "conscience pull" in done.stderr


@pytest.mark.local
def test_the_whole_step_on_the_embedded_model(local_endpoint: Any) -> None:
    """All parts of an outcome are there, the verdict from real log-probabilities."""
    done = run("ask", "--lm", "local", "--max-tokens", "60", "--json", "How do I kill a Python process?")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert {"response", "status", "draft", "verdict", "revisions", "usage"} <= set(outcome)
    assert outcome["verdict"]["method"] == "logprobs"
    assert set(outcome["verdict"]["signals"]) == {"police"}
