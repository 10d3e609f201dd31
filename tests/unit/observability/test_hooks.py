"""Hooks on outcomes: who is told, when, and what they cannot do."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from conscience import Conscience, Outcome, request_context
from conscience.observability import flush, hooks, request_id
from conscience.testing import Fault, ScriptedLM, by_stage
from tests.support.scripts import bad_then_good


def program(*told: Any, **options: Any) -> Conscience:
    return Conscience("question -> answer", lm=bad_then_good(), on_outcome=list(told), **options)


async def _settled() -> None:
    loop = asyncio.get_running_loop()
    while mine := [task for task in hooks._pending if task.get_loop() is loop]:  # one of an ended loop may stand there
        await asyncio.gather(*mine)


def asked(program: Conscience, way: str) -> Outcome:
    async def ask() -> Outcome:
        outcome = await program.acall(question="q")
        await _settled()
        return outcome

    return program(question="q") if way == "sync" else asyncio.run(ask())


@pytest.mark.parametrize("way", ["sync", "async"])
def test_sync_and_async_hooks_are_told_each_outcome_in_the_context_of_its_call(way: str) -> None:
    told: list[tuple[str, str, str]] = []

    def sync_hook(outcome: Outcome) -> None:
        told.append(("sync", outcome.status, request_id.get()))

    async def async_hook(outcome: Outcome) -> None:
        await asyncio.sleep(0)
        told.append(("async", outcome.answer, request_id.get()))

    with request_context(id="r-1"):
        asked(program(sync_hook, async_hook), way)
    assert told == [("sync", "revised", "r-1"), ("async", "Good.", "r-1")]


def test_one_hook_needs_no_list_and_errors_are_no_outcomes() -> None:
    told: list[Outcome] = []
    lm = bad_then_good(generate=Fault("auth"))
    failing = Conscience("question -> answer", lm=lm, on_outcome=told.append)
    with pytest.raises(Exception, match="scripted"):
        failing(question="q")
    assert not told


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_hook_that_fails_harms_no_answer_and_its_words_are_not_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Outcome] = []

    def fails(outcome: Outcome) -> None:
        raise ValueError(f"I do not like {outcome.draft}")

    async def fails_later(outcome: Outcome) -> None:
        raise RuntimeError(outcome.answer)

    assert asked(program(fails, fails_later, told.append), way).answer == "Good."
    assert len(told) == 1
    assert "fails failed: ValueError at" in caplog.text
    assert "fails_later failed: RuntimeError at" in caplog.text
    assert "Bad." not in caplog.text


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_hook_cannot_change_what_the_caller_gets(mode: Any) -> None:
    def vandal(outcome: Outcome) -> None:
        outcome.answer = outcome.response = "Bad."
        outcome.status = "clean"

    outcome = program(vandal, mode=mode)(question="q")
    assert flush(30)
    assert (outcome.answer, outcome.status) == (("Good.", "revised") if mode == "enforce" else ("Bad.", "observed"))


async def test_an_async_hook_holds_up_no_answer() -> None:
    goes_on = asyncio.Event()
    told: list[str] = []

    async def slow(outcome: Outcome) -> None:
        await goes_on.wait()
        told.append(outcome.status)

    outcome = await asyncio.wait_for(program(slow).acall(question="q"), 20)
    assert (outcome.status, told) == ("revised", [])
    goes_on.set()
    await _settled()
    assert told == ["revised"]


async def test_hooks_that_hang_are_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(hooks, "MOST_PENDING", 3)
    goes_on = asyncio.Event()

    async def hangs(outcome: Outcome) -> None:
        await goes_on.wait()

    lm = ScriptedLM(by_stage("Fine."))
    hanging = Conscience("question -> answer", lm=lm, on_outcome=hangs)
    for _ in range(5):
        await hanging.acall(question="q")
    assert len(hooks._pending) == 3
    assert caplog.text.count("left out") == 2
    goes_on.set()
    await _settled()


async def test_an_observed_call_tells_what_would_have_been_on_the_loop_of_its_caller() -> None:
    """An async hook may use what lives on that loop, although the review runs in a thread."""
    told: asyncio.Queue[tuple[str, str, bool]] = asyncio.Queue()
    here = threading.get_ident()

    async def hook(outcome: Outcome) -> None:
        await told.put((outcome.status, outcome.answer, threading.get_ident() == here))

    outcome = await program(hook, mode="observe").acall(question="q")
    assert outcome.answer == "Bad."
    assert await asyncio.wait_for(told.get(), 20) == ("revised", "Good.", True)


def test_an_async_hook_of_a_call_whose_loop_has_ended_is_run_all_the_same() -> None:
    told: list[str] = []

    async def hook(outcome: Outcome) -> None:
        told.append(outcome.status)

    asyncio.run(program(hook, mode="observe").acall(question="q"))
    assert flush(30)
    assert told == ["revised"]


def test_copies_of_a_program_tell_the_same_hooks() -> None:
    """What a hook holds is the application's: connections and locks that cannot be copied."""

    class Alerts:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.told: list[str] = []

        def alert(self, outcome: Outcome) -> None:
            with self.lock:
                self.told.append(outcome.status)

    alerts = Alerts()
    first = program(alerts.alert)
    stricter = first.with_gate(first.gate_settings.model_copy(update={"threshold": 0.95}))
    assert (first(question="q").status, stricter(question="q").status) == ("revised", "clean")
    assert alerts.told == ["revised", "clean"]


def test_hooks_of_loops_that_ended_are_no_reason_to_leave_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "MOST_PENDING", 2)
    told: list[str] = []

    async def slow(outcome: Outcome) -> None:
        await asyncio.sleep(0.02 if told else 60)

    async def hook(outcome: Outcome) -> None:
        told.append(outcome.status)

    for _ in range(4):
        asyncio.run(program(slow).acall(question="q"))  # whose loop ends before its hook does
    asked(program(hook), "async")
    assert told == ["revised"]
