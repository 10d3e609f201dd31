"""Reviewing many cases: rows as they come, resumed after any end, nothing asked twice."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conscience import BackendError, InputError, Review
from conscience.cases.case import Case
from conscience.evals.batch import review_cases, run_cases
from conscience.evals.oracles.grade import Grade
from conscience.evals.records import CaseRecord
from conscience.testing import Fault, ScriptedLM
from conscience.usage import CallUsage, Usage
from tests.support import commands
from tests.support.loopback import Loopback, chat, error, is_gate
from tests.unit.evals.runs import failed, go

CASES = [Case(id=str(n), request="q", response=f"answer {n}") for n in range(12)]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(lm: Any, out: Path, cases: Any = CASES, **options: Any) -> Any:
    return asyncio.run(review_cases(Review("general", lm=lm), cases, out, **options))


def done(case: Case, dollars: float = 0.0) -> CaseRecord:
    """The record of a case that took no model."""
    return CaseRecord(id=case.id, kind="answer", usage=Usage({"review": CallUsage(dollars=dollars)}))


def test_a_row_a_case(tmp_path: Path) -> None:
    """id, probability, flagged, findings and the rest of the verdict."""
    lm = ScriptedLM({"(?s)answer 3.*Yes or No": 0.9, "Yes or No": 0.1, "JSON": '{"findings": []}'})
    progress = run(lm, tmp_path / "v.jsonl")
    by_id = {row["id"]: row for row in rows(tmp_path / "v.jsonl")}
    assert set(by_id) == {case.id for case in CASES}
    assert by_id["3"]["probability"] == pytest.approx(0.9)
    assert by_id["3"]["gated"]
    assert not by_id["3"]["flagged"]
    assert (progress.done, progress.calls) == (12, 13)


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    """Everything is there already."""
    run(ScriptedLM({"": 0.1}), tmp_path / "v.jsonl")
    lm = ScriptedLM([])
    assert run(lm, tmp_path / "v.jsonl").resumed == 12
    assert lm.calls == []


def test_a_second_run_counts_what_the_first_found(tmp_path: Path) -> None:
    """And what it spent."""
    run(ScriptedLM({"": 0.1}), tmp_path / "v.jsonl")
    found = [row | {"dollars": 0.5, "flagged": int(row["id"]) < 3} for row in rows(tmp_path / "v.jsonl")]
    (tmp_path / "v.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in found))
    further = [*CASES, Case(id="n", request="q", response="r")]
    again = run(ScriptedLM([]), tmp_path / "v.jsonl", further, max_dollars=6)
    assert (again.done, again.flagged, again.dollars) == (12, 3, 6.0)


@pytest.mark.parametrize(
    "other", [{"lm": ScriptedLM({"": 0.1}, name="scripted/other")}, {"threshold": 0.9}], ids=["model", "threshold"]
)
def test_verdicts_of_two_programs_are_not_mixed(other: dict[str, Any], tmp_path: Path) -> None:
    """Nothing in a row would tell them apart."""
    run(ScriptedLM({"": 0.1}), tmp_path / "v.jsonl")
    review = Review("general", **{"lm": ScriptedLM({"": 0.1}), **other})
    with pytest.raises(InputError, match="another program"):
        asyncio.run(review_cases(review, CASES, tmp_path / "v.jsonl"))


def test_a_torn_line_and_failed_rows_are_tried_again(tmp_path: Path) -> None:
    """The file ends with a row a case."""
    out = tmp_path / "v.jsonl"
    lm = ScriptedLM(lambda m, p: Fault("server") if "answer 5" in str(m) else 0.1)
    assert run(lm, out).failed == 1
    assert sum("error" in row for row in rows(out)) == 1
    with out.open("a") as file:
        file.write('{"id": "torn')
    again = ScriptedLM({"": 0.1})
    assert run(again, out).resumed == 11
    assert len(again.calls) == 1
    assert sorted(row["id"] for row in rows(out)) == sorted(case.id for case in CASES)


def test_changed_case_is_judged_anew(tmp_path: Path) -> None:
    """Its key differs, so its old verdict does not count."""
    run(ScriptedLM({"": 0.1}), tmp_path / "v.jsonl")
    lm = ScriptedLM({"": 0.1})
    run(lm, tmp_path / "v.jsonl", [CASES[0].model_copy(update={"response": "other"}), *CASES[1:]])
    assert len(lm.calls) == 1


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    """It is named, and left as it is."""
    (tmp_path / "v.jsonl").write_text('{"hello": 1}\n')
    with pytest.raises(InputError, match="not a row of a run"):
        run(ScriptedLM({"": 0.1}), tmp_path / "v.jsonl")
    assert (tmp_path / "v.jsonl").read_text() == '{"hello": 1}\n'


def test_a_backend_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    """After a few failures in a row, not after all of them."""
    lm = ScriptedLM(lambda m, p: Fault("connection"))
    with pytest.raises(BackendError, match="in a row"):
        run(lm, tmp_path / "v.jsonl", [Case(id=str(n), response="x") for n in range(100)])
    assert len(rows(tmp_path / "v.jsonl")) < 20


@pytest.mark.parametrize(
    ("status", "says", "gone"),
    [
        (400, "The response was filtered due to the content management policy", False),
        (400, "This model's maximum context length is 8 tokens", False),
        (401, "Incorrect API key", True),
        (404, "The model `fake` does not exist", True),
        (500, "down", True),
    ],
)
def test_only_what_every_case_would_meet_ends_the_run(
    server: Loopback, tmp_path: Path, status: int, says: str, gone: bool
) -> None:
    """Cases that a provider refuses are rows with their errors, and the others are done."""
    server.behaviour = lambda body, n: error(status, says) if "bad" in str(body) else chat("No", yes=0.1)
    cases = [Case(id=f"bad{n}", request="q", response=f"bad {n}") for n in range(9)] + CASES
    if gone:
        with pytest.raises(BackendError, match="in a row"):
            run(server.backend(retries=0), tmp_path / "v.jsonl", cases, concurrency=1)
        return
    progress = run(server.backend(retries=0), tmp_path / "v.jsonl", cases, concurrency=1)
    assert (progress.done, progress.failed) == (21, 9)


def test_backend_that_is_gone_stays_gone_when_a_case_under_way_succeeds(tmp_path: Path) -> None:
    """The run says so, instead of leaving the rest out without a word."""

    others = asyncio.Event()

    async def work(case: Case) -> CaseRecord:
        if case.id != "0":
            if case.id == "5":
                others.set()
            raise BackendError("down", retryable=True)
        await others.wait()
        return done(case)

    with pytest.raises(BackendError, match="5 cases in a row"):
        asyncio.run(run_cases(work, "", CASES, tmp_path / "v.jsonl", concurrency=2))
    assert [row["id"] for row in rows(tmp_path / "v.jsonl")] == ["1", "2", "3", "4", "5", "0"]


@pytest.mark.parametrize("how", ["spent", "interrupted"])
def test_queued_cases_are_not_begun_once_the_run_has_ended(tmp_path: Path, how: str) -> None:
    """The first case spends all, or is met by Ctrl-C: only those under way beside it are done."""

    under_way = asyncio.Barrier(4)

    async def work(case: Case) -> CaseRecord:
        await under_way.wait()  # a fifth case would wait here for three others, and the test would end by its timeout
        if case.id == "0" and how == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.02)
        return done(case, dollars=1.0)

    limit = 0.5 if how == "spent" else None
    progress = asyncio.run(run_cases(work, "", CASES, tmp_path / "v.jsonl", concurrency=4, max_dollars=limit))
    assert (progress.done, progress.stopped) == (4, how == "interrupted")
    assert len(rows(tmp_path / "v.jsonl")) == 4


def test_last_row_without_its_newline_is_kept(tmp_path: Path) -> None:
    """A crash between the row and its newline costs nothing, and the next row begins on a line of its own."""
    out = tmp_path / "v.jsonl"
    run(ScriptedLM({"": 0.1}), out, CASES[:3])
    out.write_bytes(out.read_bytes()[:-1])
    assert run(ScriptedLM({"": 0.1}), out).resumed == 3
    assert sorted(row["id"] for row in rows(out)) == sorted(case.id for case in CASES)


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    """What was written before is whole, and the same call goes on from there."""
    out = tmp_path / "v.jsonl"

    async def work(case: Case) -> CaseRecord:
        return done(case)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = len(json.dumps(replace(done(CASES[0]), key="k" * 16).to_json())) + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * line + line // 2, hard))
    try:
        with pytest.raises(InputError, match=r"v\.jsonl: cannot be written"):
            asyncio.run(run_cases(work, "", CASES, out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(rows(out)) == 2
    assert asyncio.run(run_cases(work, "", CASES, out)).resumed == 2
    assert len(rows(out)) == 12


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder, a place where nothing can be made, a file in the way of a folder."""
    (tmp_path / "file").write_text("")
    for out in (tmp_path, Path("/proc/x.jsonl"), tmp_path / "file" / "v.jsonl"):
        with pytest.raises(InputError, match=r"cannot be (used|written)"):
            run(ScriptedLM({"": 0.1}), out)


def test_every_worker_that_died_is_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise asyncio prints a traceback for each but the first."""

    async def work(case: Case) -> CaseRecord:
        await asyncio.sleep(0.01)
        raise InputError("no oracle for it")

    with pytest.raises(InputError, match="no oracle"):
        asyncio.run(run_cases(work, "", CASES, tmp_path / "v.jsonl"))
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_programmers_error_ends_the_run(tmp_path: Path) -> None:
    """It is not swallowed by a worker."""
    with pytest.raises(InputError):
        run(ScriptedLM({"": 0.1}), tmp_path / "v.jsonl", [*CASES, Case(id="x", request="no response")])


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGKILL])
def test_interrupted_half_way_it_asks_no_question_twice(server: Loopback, tmp_path: Path, how: signal.Signals) -> None:
    """Both runs together make as many calls as one would have; only what was in flight when killed may come again."""

    def slow(body: Any, number: int) -> Any:
        time.sleep(0.02)
        return chat("No", yes=0.1) if is_gate(body) else chat("x")

    server.behaviour = slow
    cases = tmp_path / "cases.jsonl"
    cases.write_text("".join(json.dumps({"id": str(n), "request": "q", "response": f"r{n}"}) + "\n" for n in range(40)))
    command = ["review", "--lm", "openai/fake", "--cases", str(cases)]
    command += ["--out", str(tmp_path / "v.jsonl"), "--concurrency", "2"]
    env = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "x"}
    with commands.start(*command, env=env, folder=tmp_path / "output") as process:
        assert process.wait_until(lambda: len(server.calls) >= 12), process.done().stderr
        if how == signal.SIGINT:
            process.interrupt()
            interrupted = process.done()
            assert interrupted.returncode == 130
            assert "goes on from here" in interrupted.stderr
        else:
            process.kill()
    resumed = commands.run(*command, env=env)
    assert resumed.returncode == 0, resumed.stderr
    asked = [body["messages"][1]["content"] for body in server.calls]
    assert len(rows(tmp_path / "v.jsonl")) == 40
    assert len(asked) - len(set(asked)) <= (0 if how == signal.SIGINT else 2)


def test_empty_response_fails_its_case_only(tmp_path: Path) -> None:
    """It is a row with its error; the others are reviewed."""
    cases = [CASES[0], Case(id="empty", request="q", response=" "), CASES[1]]
    progress = run(ScriptedLM({"": 0.1}), tmp_path / "v.jsonl", cases)
    by_id = {row["id"]: row for row in rows(tmp_path / "v.jsonl")}
    assert (progress.done, progress.failed) == (3, 1)
    assert "the response is empty" in by_id["empty"]["error"]
    assert by_id["1"]["probability"] == pytest.approx(0.1)


def test_an_oracle_that_stumbles_over_an_answer_fails_its_case_only(tmp_path: Path) -> None:
    """As do tests that check nothing: what was paid for the others is not in vain."""

    def stumbles(case: Case, response: str) -> Grade:
        if case.id == "1":
            raise OverflowError("so long an answer")
        return Grade(True, "right")

    cases = [Case(id=str(number), request=f"q{number}") for number in range(3)]
    progress = go(tmp_path, cases, oracle=stumbles)
    assert (progress.done, progress.failed) == (3, 1)
    assert [case.error for case in failed(tmp_path)] == ["case '1': the oracle failed: OverflowError: so long an answer"]
