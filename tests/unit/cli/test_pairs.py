"""``conscience pairs``: what it writes, what it costs, how it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from conscience.optimizers.training.pairs import read_pairs
from tests.support.commands import run, start
from tests.support.loopback import Loopback

LM = ("--lm", "openai/fake")


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three situations, each with a right and a wrong answer."""
    rows = [
        {"id": f"{n}{label[0]}", "request": f"Situation {n}. What do you do?", "response": f"I {deed} them, {n}.",
         "label": label, "group": f"rule {n % 2}", "pair": f"s{n}"}
        for n in range(3)
        for label, deed in (("aligned", "help"), ("misaligned", "leave"))
    ]  # fmt: skip
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels_are_paired_without_a_call(labelled: Path, server: Loopback, fake: dict[str, str], tmp_path: Path) -> None:
    """Found by itself; with every export beside it."""
    out = tmp_path / "pairs.jsonl"
    exports = [part for name in ("trl", "openai", "sft") for part in (f"--{name}", str(tmp_path / f"{name}.jsonl"))]
    done = run("pairs", str(labelled), *LM, "--out", str(out), *exports, env=fake)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 pairs" in done.stdout
    assert [pair.chosen for pair in read_pairs(out)] == ["I help them, 0.", "I help them, 1.", "I help them, 2."]
    assert [set(lines(tmp_path / f"{name}.jsonl")[0]) for name in ("trl", "openai", "sft")] == [
        {"prompt", "chosen", "rejected"},
        {"input", "preferred_output", "non_preferred_output"},
        {"messages"},
    ]
    assert not server.calls


def test_a_program_is_run_over_requests(cases: Path, server: Loopback, cruel: dict[str, str], tmp_path: Path) -> None:
    """What its review rejects is paired with what it accepts; the counts are on disk; nothing is paid for twice."""
    out = tmp_path / "pairs.jsonl"
    command = ["pairs", str(cases), *LM, "--out", str(out), "--seed", "1", "--json"]
    done = run(*command, env=cruel)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    pairs = list(read_pairs(out))
    assert {pair.rejected[:12] for pair in pairs} == {"A cruel word", "A cruel word."[:12]}
    assert {pair.chosen for pair in pairs} == {"A gentle word."}
    assert told["pairs"] == len(pairs) == 40  # 20 of its own drafts, 20 of the given responses
    assert told["dropped"] == {"accepted": 20, "unpaired": 20}
    assert json.loads((tmp_path / "pairs.work" / "counts.json").read_text())["pairs"] == 40
    calls, whole = len(server.calls), out.read_text()
    again = run(*command, env=cruel)
    assert (again.returncode, len(server.calls), out.read_text()) == (0, calls, whole)


def test_a_budget_ends_it_and_a_larger_one_goes_on(
    cases: Path, server: Loopback, cruel: dict[str, str], tmp_path: Path
) -> None:
    """With what there is; not one call more than was allowed."""
    command = ["pairs", str(cases), *LM, "--out", str(tmp_path / "p.jsonl"), "--no-cache"]
    done = run(*command, "--max-calls", "60", env=cruel)
    assert done.returncode == 0
    assert "goes on from here" in done.stderr
    assert 0 < len(server.calls) <= 60
    some = len(list(read_pairs(tmp_path / "p.jsonl")))
    assert run(*command, env=cruel).returncode == 0
    assert len(list(read_pairs(tmp_path / "p.jsonl"))) > some
    first = len(server.calls)
    assert run("pairs", str(cases), *LM, "--out", str(tmp_path / "q.jsonl"), "--no-cache", env=cruel).returncode == 0
    assert len(server.calls) - first == first


def test_a_budget_that_is_too_small_for_one_is_told(cases: Path, cruel: dict[str, str], tmp_path: Path) -> None:
    """And no file is written."""
    done = run("pairs", str(cases), *LM, "--out", str(tmp_path / "p.jsonl"), "--max-calls", "1", env=cruel)
    assert done.returncode == 3
    assert "budget" in done.stderr
    assert not (tmp_path / "p.jsonl").exists()


def test_files_of_pairs_are_joined(labelled: Path, tmp_path: Path) -> None:
    """Those of others too; what comes twice is kept once."""
    first, foreign = tmp_path / "first.jsonl", tmp_path / "foreign.jsonl"
    assert run("pairs", str(labelled), "--given", "--out", str(first)).returncode == 0
    foreign.write_text(json.dumps({"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}) + "\n")
    done = run("pairs", str(first), str(foreign), str(labelled), "--given", "--out", str(tmp_path / "all.jsonl"))
    assert done.returncode == 0, done.stderr
    assert "4 pairs" in done.stdout
    assert "3 pairs that are nearly the same as another" in done.stdout


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ('{"request": "Hi"}', 2, "no pair came of 1 cases: 1 labelled responses without a counterpart"),
        ('{"chosen": "a", "rejected": "b"}', 2, "given.jsonl:1: no preference pair: there is no prompt"),
        ('{"prompt": "x", "chosen": "a", "rejected": ""}', 2, "field 'rejected': is empty"),
        ("", 2, "no pair came of 0 cases"),
        ("{", 2, "not JSON"),
    ],
)
def test_bad_input_is_one_line(rows: str, code: int, said: str, tmp_path: Path) -> None:
    """That says what and where."""
    path = tmp_path / "given.jsonl"
    path.write_text(rows + "\n")
    done = run("pairs", str(path), "--given", "--out", str(tmp_path / "p.jsonl"))
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_of_somebody_elses_is_not_overwritten(labelled: Path, tmp_path: Path) -> None:
    """The pairs would take its place."""
    done = run("pairs", str(labelled), "--given", "--out", str(labelled))
    assert done.returncode == 2
    assert "this command did not make it" in done.stderr
    same = str(tmp_path / "same.jsonl")
    done = run("pairs", str(labelled), "--given", "--out", str(tmp_path / "o.jsonl"), "--sft", same, "--trl", same)
    assert done.returncode == 2
    assert "two of the files to write are one" in done.stderr
    before = labelled.read_text()
    out, trl = str(tmp_path / "p.jsonl"), str(tmp_path / "t.jsonl")
    done = run("pairs", str(labelled), "--given", "--out", out, "--trl", str(labelled))
    assert (done.returncode, labelled.read_text()) == (2, before)
    assert "this command did not make it" in done.stderr
    for _ in range(2):
        assert run("pairs", str(labelled), "--given", "--out", out, "--trl", trl).returncode == 0


@pytest.mark.parametrize("end", ["interrupt", "kill"])
def test_an_interrupted_one_goes_on(end: str, cases: Path, server: Loopback, cruel: dict[str, str], tmp_path: Path) -> None:
    """What was paid for is not paid for again, but for what was under way at a kill."""
    command = ["pairs", str(cases), *LM, "--out", str(tmp_path / "p.jsonl"), "--no-cache"]
    with start(*command, env=cruel, folder=tmp_path / "run") as process:
        assert process.wait_until(lambda: len(server.calls) >= 20), process.done().stderr
        getattr(process, end)()
        done = process.done()
    if end == "interrupt":
        assert done.returncode == 130
        assert done.stderr == "conscience: interrupted; the same command goes on from here\n"
    time.sleep(0.1)
    paid = {json.dumps(body["messages"]) for body in server.calls}
    server.calls.clear()
    assert run(*command, env=cruel).returncode == 0
    again = [body for body in server.calls if json.dumps(body["messages"]) in paid]
    assert len(again) <= (0 if end == "interrupt" else 4)
    assert len(list(read_pairs(tmp_path / "p.jsonl"))) == 40
