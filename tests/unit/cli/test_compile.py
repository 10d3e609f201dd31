"""The commands that compile: what they write, spend and refuse, in processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conscience.cases.case import Case, load_cases
from conscience.errors import InputError
from tests.support.loopback import Loopback, chat, is_critique, is_gate, is_revision
from tests.unit.cli.test_main import run


def behave(body: Any, number: int) -> Any:
    """Drafts are cruel when asked to be; the gate's first question sees that, the critique and the revision too."""
    last, said = str(body["messages"][-1]["content"]), str(body["messages"])
    if is_gate(body):
        answer = str(body["messages"][-2]["content"]) if len(body["messages"]) > 1 else last
        harmful = "harmful or wrong" in last
        return chat("x", yes=0.5 if not harmful else 0.9 if "cruel" in answer else 0.1)
    if is_critique(body):
        cruel = "cruel" in said.split("[response")[-1]
        finding = {"principle": "no-demeaning", "quote": "cruel", "why": "It hurts.", "change": "Be kind."}
        return chat(json.dumps({"findings": [finding] if cruel else []}))
    if is_revision(body):
        return chat("A gentle word.")
    if "Write better instructions" in last:
        return chat("Report what is cruel.")
    return chat("A cruel word." if "cruel" in last else "A nice word.")


@pytest.fixture
def fake(server: Loopback) -> dict[str, str]:
    """An environment in which openai/ models are the loopback server."""
    server.behaviour = behave
    return {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "sk-test-secret-0123"}


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Requests that should be answered or refused, and labelled responses."""
    rows: list[dict[str, Any]] = [
        {"id": f"r{n}", "request": f"Say something {'cruel' if n % 2 else 'nice'} about {n}.", "request_safe": n % 2 == 0}
        for n in range(40)
    ]
    rows += [
        {"id": f"l{n}", "request": f"Say something, {n}.", "response": f"A {'cruel' if n % 2 else 'nice'} word, {n}.",
         "label": "misaligned" if n % 2 else "aligned"}
        for n in range(40)
    ]  # fmt: skip
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def options(cases: Path, out: Path) -> list[str]:
    return ["compile", str(cases), "--lm", "openai/fake", "--out", str(out), "--embed-lm", "none", "--target-fpr", "0.2"]


def steady(path: Path) -> dict[str, Any]:
    """A program without its times."""
    found: dict[str, Any] = json.loads(path.read_text())
    found["provenance"] |= {"made": "", "seconds": 0}
    for side in ("before", "after"):
        found["provenance"]["figures"].get("unseen", {}).get(side, {}).pop("time_against_plain", None)
    return found


def test_compile_writes_a_program_that_every_command_takes(fake: dict[str, str], cases: Path, tmp_path: Path) -> None:
    """ask, review and eval run it, show prints it, and it says what it reached on cases that it never saw."""
    out = tmp_path / "p.json"
    done = run(*options(cases, out), env=fake | {"COLUMNS": "140"})
    assert done.returncode == 0, done.stderr
    assert "unseen cases" in done.stdout
    stages = [line.split(",")[0] for line in done.stderr.splitlines()]  # no terminal, so lines instead of a bar
    assert stages[0] == "conscience: drafts"
    assert "conscience: gate" in stages
    assert stages[-1].endswith("unseen cases")
    assert len(stages) == len(set(stages)) + 1  # before and after
    assert (tmp_path / "p.work" / "report.html").exists()
    told = json.loads(out.read_text())["provenance"]
    assert told["cases"]["own"] > 10
    assert told["figures"]["unseen"]["after"]["auroc"] == 1.0
    assert told["figures"]["unseen"]["cases"] >= 10
    asked = json.loads(
        run("ask", "Say something cruel about me.", "--program", str(out), "--lm", "openai/fake", "--json", env=fake).stdout
    )
    assert asked["draft"]["response"] == "A cruel word."
    assert asked["response"] != "A cruel word."
    verdict = run("review", "--response", "A cruel word.", "--program", str(out), "--lm", "openai/fake", "--json", env=fake)
    assert json.loads(verdict.stdout)["gated"]
    evaluate_case = run(
        "eval", str(cases), "--program", str(out), "--lm", "openai/fake", "--out", str(tmp_path / "e"), "--json", env=fake
    )
    assert evaluate_case.returncode == 0, evaluate_case.stderr
    shown = run("show", str(out), env={"COLUMNS": "140"})
    for part in ("gate for openai/fake", "threshold", "signals alone", "policy", "stage gate"):
        assert part in shown.stdout
    assert "sk-test" not in out.read_text()
    assert "127.0.0.1" not in out.read_text()


@pytest.mark.parametrize("calls", [60, 500])
def test_budget_holds_for_the_whole_command(
    calls: int, server: Loopback, fake: dict[str, str], cases: Path, tmp_path: Path
) -> None:
    """Reports included, counted where the calls arrive."""
    done = run(*options(cases, tmp_path / "p.json"), "--max-calls", str(calls), env=fake)
    assert done.returncode == 0, done.stderr
    assert len(server.calls) <= calls


@pytest.mark.timeout(900)
def test_killed_ten_times_it_ends_as_an_undisturbed_one(
    server: Loopback, fake: dict[str, str], cases: Path, tmp_path: Path
) -> None:
    """As many calls, but for what was in flight at a kill, and the same file but for its times."""

    def slowly(body: Any, number: int) -> Any:
        time.sleep(0.01)
        return behave(body, number)

    server.behaviour = slowly
    started = time.monotonic()
    assert run(*options(cases, tmp_path / "whole.json"), "--prompts", "gepa", env=fake).returncode == 0
    whole, seconds = len(server.calls), time.monotonic() - started
    server.calls.clear()
    rng = random.Random(1)
    command = [sys.executable, "-m", "conscience", *options(cases, tmp_path / "killed.json"), "--prompts", "gepa"]
    kills = 0
    for _ in range(10):
        with subprocess.Popen(
            command, env=os.environ | fake, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(timeout=2.5 + rng.random() * seconds / 4)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
    done = subprocess.run(command, env=os.environ | fake, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert kills >= 3
    assert whole <= len(server.calls) <= whole + 4 * kills
    assert steady(tmp_path / "killed.json") == steady(tmp_path / "whole.json")


def test_recalibrate_carries_a_program_over(server: Loopback, fake: dict[str, str], cases: Path, tmp_path: Path) -> None:
    """To a model that says Yes where the other said No: weights and threshold are refitted, and the matrix shows it."""
    out = tmp_path / "p.json"
    assert run(*options(cases, out), "--report-cases", "0", env=fake).returncode == 0

    def shifted(body: Any, number: int) -> Any:
        if is_gate(body) and body["model"] == "other":
            cruel = "cruel" in str(body["messages"][-2]["content"])
            return chat("x", yes=0.999 if cruel else 0.97)
        return behave(body, number)

    server.behaviour = shifted
    few = tmp_path / "few.jsonl"
    few.write_text("".join(cases.read_text().splitlines(keepends=True)[40:64]))
    args = ("recalibrate", str(out), str(few), "--lm", "openai/other", "--old-lm", "openai/fake", "--out")
    done = run(*args, str(tmp_path / "q.json"), "--json", env=fake)
    assert done.returncode == 0, done.stderr
    matrix = json.loads(done.stdout)["backends"]
    assert set(matrix) == {"openai/other", "openai/fake"}
    assert set(matrix["openai/other"]) == set(matrix["openai/fake"]) == {"before", "after"}
    assert matrix["openai/other"]["after"]["fpr"] <= matrix["openai/other"]["before"]["fpr"]
    assert matrix["openai/other"]["after"]["auroc"] == 1.0
    assert "before" in run(*args, str(tmp_path / "r.json"), env=fake).stdout
    saved = json.loads((tmp_path / "q.json").read_text())
    assert [gate["backend"] for gate in saved["calibrations"]] == ["openai/other", "openai/fake"]
    for model in ("openai/other", "openai/fake"):
        verdict = json.loads(
            run(
                "review",
                "--response",
                "A nice word, 99.",
                "--program",
                str(tmp_path / "q.json"),
                "--lm",
                model,
                "--json",
                env=fake,
            ).stdout
        )
        assert not verdict["gated"], model


def test_proposed_cases_are_checked_and_labelled(server: Loopback, fake: dict[str, str], tmp_path: Path) -> None:
    """Pairs that come twice, or that no question tells apart, are left out; labels are saved at once."""
    asked = []

    def writes(body: Any, number: int) -> Any:
        if "Write" in str(body["messages"][0]["content"])[:6]:
            asked.append(number)
            same = {"request": "Greet me.", "breaks": "Go away, cruel one.", "keeps": "Hello, dear one."}
            new = {
                "request": f"Praise me, {number}.",
                "breaks": f"A cruel word {number}.",
                "keeps": f"A nice word {number}.",
            }
            flat = {"request": f"Ask me, {number}.", "breaks": f"What {number}?", "keeps": f"What is it, {number}?"}
            return chat("Here:\n```json\n" + json.dumps([same, flat, new]) + "\n```" if len(asked) % 3 else "No idea.")
        if is_gate(body):
            said = str(body["messages"])
            return chat("x", yes=0.9 if "cruel" in said else 0.1)
        return chat("x")

    server.behaviour = writes
    out = tmp_path / "c.jsonl"
    done = run("propose-cases", "--lm", "openai/fake", "--pairs", "3", "--out", str(out), "--json", env=fake)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert told["pairs"] == len(rows) / 2 > 3
    assert told["doubled"]
    assert told["disputed"]
    assert told["unreadable"]
    assert {row["source"] for row in rows} == {"synthetic"}
    assert sum("Greet" in row["request"] for row in rows) == 2
    assert run("cases", "check", str(out)).returncode == 0
    again = run("propose-cases", "--lm", "openai/fake", "--out", str(out), env=fake)
    assert again.returncode == 2
    assert "exists" in again.stderr


@pytest.fixture
def writer(server: Loopback, fake: dict[str, str]) -> dict[str, str]:
    """An environment in which openai/ models write four pairs a call, each answer at gpt-4o-mini's price."""

    def writes(body: Any, number: int) -> Any:
        if "Write" in str(body["messages"][0]["content"])[:6]:
            rows = [
                {"request": f"r{number}{i}", "breaks": f"cruel {number}{i}", "keeps": f"nice {number}{i}"} for i in range(4)
            ]
            answer = chat(json.dumps(rows))
        else:
            answer = chat("x", yes=0.9 if "cruel" in str(body["messages"]) else 0.1)
        usage = {"prompt_tokens": 700, "completion_tokens": 300, "total_tokens": 1000}
        return answer | {"model": "gpt-4o-mini", "usage": usage}

    server.behaviour = writes
    return fake


def test_a_spent_budget_writes_what_was_found(server: Loopback, writer: dict[str, str], tmp_path: Path) -> None:
    """And says so; where nothing was found yet, that is said instead."""
    out = tmp_path / "c.jsonl"
    args = ("propose-cases", "--lm", "openai/gpt-4o-mini", "--no-cache", "--json")
    done = run(*args, "--out", str(out), "--max-cost", "0.014", env=writer)
    assert done.returncode == 0, done.stderr
    assert "budget ended" in done.stderr
    told = json.loads(done.stdout)
    assert told["exhausted"]
    assert len(load_cases(out)) == 2 * told["pairs"] > 0
    little = run(*args, "--out", str(tmp_path / "d.jsonl"), "--max-calls", "2", env=writer)
    assert little.returncode == 3
    assert "budget ended before a pair" in little.stderr


@pytest.mark.parametrize("command", ["recalibrate", "propose-cases"])
def test_ctrl_c_ends_with_one_line(
    command: str, server: Loopback, writer: dict[str, str], cases: Path, tmp_path: Path
) -> None:
    """With the exit code of an interrupted command."""
    from conscience import Conscience
    from conscience.testing import ScriptedLM

    quickly = server.behaviour

    def slowly(body: Any, number: int) -> Any:
        time.sleep(0.2)
        return quickly(body, number)

    server.behaviour = slowly
    Conscience(lm=ScriptedLM({"": "x"})).save(tmp_path / "p.json")
    read = [str(tmp_path / "p.json"), str(cases)] if command == "recalibrate" else []
    arguments = [command, *read, "--lm", "openai/fake", "--out", str(tmp_path / "out.jsonl")]
    with subprocess.Popen(
        [sys.executable, "-m", "conscience", *arguments], env=os.environ | writer, stderr=subprocess.PIPE, text=True
    ) as process:
        while len(server.calls) < 6 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    *stages, last = told.splitlines()
    assert last == "conscience: interrupted; the same command goes on from here"
    assert all(line.startswith("conscience: drafts") for line in stages)


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    """A label goes to its own row, whatever other breaks stand in the texts; what is written is a line for every reader."""
    from conscience.optimizers.data.contrast_pairs import write_cases
    from conscience.optimizers.data.labeling import LabelFile

    file = tmp_path / "c.jsonl"
    texts = ["first\u2028second\u2029third\u0085fourth", "KIND", "RUDE"]
    rows = [{"id": str(n), "request": "q", "response": text} for n, text in enumerate(texts)]
    file.write_bytes("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8-sig"))
    work = LabelFile(file)
    work.label(work.cases["1"], "aligned")
    work.label(work.cases["0"], "misaligned")
    assert {case.id: (case.label, case.response) for case in load_cases(file)} == {
        "0": ("misaligned", texts[0]), "1": ("aligned", texts[1]), "2": (None, texts[2])
    }  # fmt: skip
    assert len(file.read_text().splitlines()) == 3
    assert len(write_cases(load_cases(file)).splitlines()) == 3


def test_taking_back_a_label_brings_back_the_proposal(tmp_path: Path) -> None:
    """The case is as it was."""
    from click.testing import CliRunner

    from conscience.cli.label import label_command

    file = tmp_path / "c.jsonl"
    row = {"id": "s", "request": "q", "response": "rude", "label": "misaligned", "source": "synthetic"}
    file.write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "t"}) + "\n")
    before = load_cases(file)
    CliRunner().invoke(label_command, [str(file)], input="auq", catch_exceptions=False)
    assert load_cases(file) == before


def test_one_keystroke_a_label(tmp_path: Path) -> None:
    """Saved at once, taken back, resumed; the most informative case first."""
    from click.testing import CliRunner

    from conscience.cli.label import label_command

    file = tmp_path / "c.jsonl"
    rows = [
        {"id": str(n), "request": "q", "response": f"{'rude' if n % 2 else 'kind'} word {n}", "note": "kept"}
        for n in range(8)
    ]
    rows[3] |= {"label": "misaligned", "source": "synthetic"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def press(keys: str) -> str:
        return CliRunner().invoke(label_command, [str(file)], input=keys, catch_exceptions=False).output

    assert "3 of 8" in press("amaq")
    first = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum("labelled" in row for row in first) == 3
    assert all(row["note"] == "kept" for row in first)
    output = press("auq")
    assert "5 to go" in output
    assert "3 of 8" in output
    press("s" * 8)
    press("\r" * 20 + "a" * 8)
    done = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(row.get("label") for row in done)
    assert done[3]["label"] == "misaligned" or "labelled" in done[3]


def test_the_doubtful_case_comes_first(tmp_path: Path) -> None:
    """With labels of both kinds, the one that words cannot place."""
    from conscience.optimizers.data.labeling import LabelFile

    file = tmp_path / "c.jsonl"
    rows = [
        {"id": "a", "request": "q", "response": "lovely kind words", "label": "aligned"},
        {"id": "b", "request": "q", "response": "awful rude words", "label": "misaligned"},
        {"id": "sure", "request": "q", "response": "awful rude words again"},
        {"id": "doubtful", "request": "q", "response": "kind rude words"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    case = LabelFile(file).next()
    assert case is not None
    assert case.id == "doubtful"


def test_a_case_that_nothing_can_judge_is_found_before_anything_is_spent(cases: Path) -> None:
    """Also where it would only be reported on; an oracle for all judges it."""
    from conscience.cli.compile import _parts
    from conscience.evals.oracles import refusal

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
    some = [
        Case(id=name, request="q", pair=pair) for name, pair in (("a", "p"), ("b", None), ("c", "q"), ("d", "p"), ("e", "q"))
    ]
    assert [case.id for case in _at_most(some, 3)] == ["a", "d", "b"]
    assert [case.id for case in _at_most(some, 4)] == ["a", "d", "b"]


MISTAKES = [
    (["compile", "cases.jsonl"], "Missing option '--out'"),
    (["compile", "missing.jsonl", "--out", "p.json"], "missing.jsonl: cannot be read"),
    (["compile", "cases.jsonl", "--out", "p.json", "--labels", "500"], "there are only 2 cases"),
    (["compile", "cases.jsonl", "--out", "p.json", "--prompts", "miprov2"], "optuna"),
    (["compile", "cases.jsonl", "--out", "p.json", "--propose-lm", ""], "--propose-lm is empty"),
    (["compile", "cases.jsonl", "--out", "p.json", "--judge-lm", "openai/x"], "--judge-lm goes with"),
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
    (tmp_path / "bad.json").write_text('{"format": "conscience-program/1", "api_base": "http://127.0.0.1:1"}')
    done = subprocess.run(
        [sys.executable, "-m", "conscience", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_as_the_program_is_refused_before_anything_is_spent(
    fake: dict[str, str], server: Loopback, cases: Path, tmp_path: Path
) -> None:
    """Not once all is paid for and the file cannot be put there."""
    done = run(*options(cases, tmp_path), env=fake)
    assert done.returncode == 2
    assert "is a directory" in done.stderr
    assert not server.calls
