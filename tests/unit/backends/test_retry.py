"""Retries: which failures are tried again, how often, after what pause, and never past the budget's seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from conscience import Backend, BackendError
from conscience._base.flow import Flow, IOStep, run_async, run_sync
from conscience._dspy.lm import LMError, lm_errors
from conscience.backends.retry import LONGEST_WAIT, Deadline, retry_policy, retrying
from conscience.testing import Fault, ScriptedLM

HELLO = [{"role": "user", "content": "hello"}]


def busy(retry_after: float | None = None) -> LMError:
    return lm_errors.LMRateLimitError("slow", retry_after=retry_after)


def pauses(*failures: LMError, attempts: int = 10, deadline: Deadline | None = None) -> list[float]:
    """The pauses of attempts that fail like this, one after the other; nothing is waited for."""
    steps = iter(failures)
    seconds: list[float] = []
    flow = retrying(lambda: IOStep(lambda: None, asyncio.sleep), retry_policy(attempts), deadline or Deadline())  # type: ignore[arg-type]
    next(flow)
    for failure in steps:
        step = flow.throw(failure)
        assert isinstance(step, IOStep)
        seconds.append(step.run.args[0])  # type: ignore[attr-defined]
        next(flow)
    flow.close()
    return seconds


def test_the_pause_is_what_the_server_asks_for() -> None:
    """Of each failure its own."""
    assert pauses(busy(3.0), busy(0.0), busy(7.5)) == [3.0, 0.0, 7.5]


def test_the_pause_is_random_and_grows_where_the_server_says_nothing() -> None:
    """Up to half a second, then one, two, four…; never more than 20."""
    for _ in range(20):
        for pause, most in zip(pauses(*[busy()] * 8), (0.5, 1, 2, 4, 8, 16, 20, 20), strict=True):
            assert 0 <= pause <= most


def test_the_last_attempt_raises_its_failure() -> None:
    """Three attempts have two pauses."""
    last = busy(5.0)
    with pytest.raises(LMError) as caught:
        pauses(busy(1.0), busy(2.0), last, attempts=3)
    assert caught.value is last


@pytest.mark.parametrize(("seconds", "waits"), [(LONGEST_WAIT, True), (LONGEST_WAIT + 1, False)])
def test_a_server_that_asks_for_too_long_a_pause_is_left(seconds: float, waits: bool) -> None:
    """For the next fallback."""
    if waits:
        assert pauses(busy(seconds)) == [seconds]
    else:
        with pytest.raises(LMError):
            pauses(busy(seconds))


@pytest.mark.parametrize(("left", "missed"), [(10.0, False), (2.0, True)])
def test_a_pause_that_would_end_after_the_budget_is_not_begun(left: float, missed: bool) -> None:
    """And the failure counts as the budget's."""
    deadline = Deadline()
    deadline.set(left)
    if missed:
        with pytest.raises(LMError):
            pauses(busy(5.0), deadline=deadline)
    else:
        assert pauses(busy(5.0), deadline=deadline) == [5.0]
    assert deadline.missed is missed


@pytest.mark.parametrize("failure", [lm_errors.LMAuthError("no"), ZeroDivisionError()], ids=["auth", "bug"])
def test_what_does_not_pass_is_not_tried_again(failure: Exception) -> None:
    """A refused key stays refused, a bug stays a bug."""
    with pytest.raises(type(failure)):
        pauses(failure)


Drive = Callable[[Flow[Any]], Any]
DRIVERS: dict[str, Drive] = {"sync": run_sync, "async": lambda flow: asyncio.run(run_async(flow))}


@pytest.mark.parametrize("drive", DRIVERS.values(), ids=DRIVERS)
def test_a_later_attempt_gives_the_answer(drive: Drive) -> None:
    """Sync and async alike."""
    failures = [busy(0.0), busy(0.0)]

    def run() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    async def arun() -> str:
        return run()

    assert drive(retrying(lambda: IOStep(run, arun), retry_policy(3), Deadline())) == "answer"
    assert not failures


def test_users_lm_is_retried_by_dspy_alone() -> None:
    """num_retries=2 makes three calls, not three times three."""
    lm = ScriptedLM(lambda m, p: Fault("rate_limit", retry_after=0.0), retries=2)
    with pytest.raises(BackendError):
        Backend(lm, retries=5).complete(HELLO, {})
    assert len(lm.calls) == 3
