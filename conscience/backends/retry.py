"""Retries of one model's calls, as one flow that is driven sync and async.

When to repeat a call, how often and after what pause are tenacity's callables, which combine with ``|`` and ``&``. They are
asked only once an attempt has failed: a call that succeeds at once costs nothing here.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_none, wait_random_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from conscience._base.flow import Flow, IOStep
from conscience._dspy.lm import LMError, retryable
from conscience.backends.answers import EmptyAnswerError
from conscience.usage import IdleTime

LONGEST_WAIT = 60.0
"""Seconds; a server that asks for a longer pause than this is left for the next fallback."""


class Deadline(stop_base):
    """When the budget's seconds end: a stop policy, since no attempt begins and no pause lasts past it."""

    def __init__(self) -> None:
        self.clock = IdleTime()
        self._end = math.inf
        self._gave_up = False

    def now(self) -> float:
        """Seconds by a clock that stands still in each ``paused_clock``."""
        return time.perf_counter() - self.clock.seconds

    def set(self, seconds: float) -> None:
        """So many seconds are left from now on."""
        self._end = self.now() + seconds

    def __call__(self, retry_state: RetryCallState) -> bool:
        self._gave_up = self.now() + retry_state.upcoming_sleep >= self._end
        return self._gave_up

    @property
    def missed(self) -> bool:
        """Whether attempts that failed did so because the seconds ended."""
        return self._gave_up or self.now() >= self._end


def is_transient(error: BaseException) -> bool:
    """Whether a model's failure may pass."""
    return isinstance(error, LMError) and (retryable(error) or is_empty(error))


def is_empty(error: BaseException) -> bool:
    """Whether a model replied without an answer, and may answer if it is asked again."""
    return isinstance(error, EmptyAnswerError) and not error.final


class wait_retry_after(wait_base):  # named like tenacity's own
    """Waits as long as the server asks for, else as another policy says."""

    def __init__(self, otherwise: Callable[[RetryCallState], float]) -> None:
        self.otherwise = otherwise

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        seconds = getattr(error, "retry_after", None)
        asked = math.nan if seconds is None else float(seconds)
        return self.otherwise(retry_state) if math.isnan(asked) else max(0.0, asked)


class stop_before_wait_over(stop_base):
    """Stops where the pause would be longer than so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, retry_state: RetryCallState) -> bool:
        return retry_state.upcoming_sleep > self.seconds


@dataclass(frozen=True)
class RetryPolicy:
    """What becomes of a failed attempt.

    Attributes:
        stop: state → whether it was the last attempt; asked when the pause is known, as ``state.upcoming_sleep``.
        retry: state → whether the failure is one that may pass.
        wait: state → seconds until the next attempt.
    """

    stop: stop_base
    retry: Callable[[RetryCallState], bool]
    wait: Callable[[RetryCallState], float]


@lru_cache(maxsize=32)
def retry_policy(attempts: int, retries_itself: bool = False, pauses: bool = True) -> RetryPolicy:
    """At most so many attempts at what may pass, after the pause that the server asks for or one with jitter.

    Args:
        attempts: how many.
        retries_itself: whether a failed attempt has been repeated already; an empty answer was no failure to whoever did.
        pauses: whether to wait at all; a reply that came hours ago gives no reason to.
    """
    return RetryPolicy(
        stop=stop_after_attempt(attempts) | stop_before_wait_over(LONGEST_WAIT),
        retry=retry_if_exception(is_empty if retries_itself else is_transient),
        wait=wait_retry_after(otherwise=wait_random_exponential(multiplier=0.5, max=20)) if pauses else wait_none(),
    )


def retrying(attempt: Callable[[], IOStep], policy: RetryPolicy, deadline: Deadline) -> Flow[Any]:
    """The result of the first attempt that succeeds.

    Args:
        attempt: makes the step of one attempt; called anew for each.
        policy: see ``RetryPolicy``.
        deadline: stops the attempts too.

    Raises (when driven):
        LMError: the last attempt's.
    """
    state: RetryCallState | None = None
    while True:
        try:
            return (yield attempt())
        except LMError as error:
            if state is None:
                state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
            state.set_exception((type(error), error, error.__traceback__))
            if not policy.retry(state):
                raise
            state.upcoming_sleep = policy.wait(state)
            if (policy.stop | deadline)(state):
                raise
        yield IOStep(partial(time.sleep, state.upcoming_sleep), partial(asyncio.sleep, state.upcoming_sleep))
        state.idle_for += state.upcoming_sleep
        state.prepare_for_next_attempt()
