"""Usage and budgets."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conscience import BudgetExceeded
from conscience.usage import Budget, CallUsage, UsageTracker, idle, measure_idle_time


def test_budget_holds_under_threads() -> None:
    """At most so many calls begin, however many ask at once."""
    tracker = UsageTracker(Budget(calls=10))

    def begin(n: int) -> int:
        try:
            tracker.begin()
        except BudgetExceeded:
            return 0
        return 1

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(begin, range(100))) == 10


def test_the_nearest_limit_says_what_is_left() -> None:
    """Of several the one of which least is left; none set, nothing is used up."""
    tracker = UsageTracker(Budget(calls=10, tokens=1000))
    tracker.begin()
    tracker.enter("review", CallUsage(calls=1, input_tokens=700, output_tokens=50))
    assert tracker.share_left() == pytest.approx(0.25)
    tracker.enter("review", CallUsage(calls=1, input_tokens=700))
    assert tracker.share_left() == 0.0
    assert UsageTracker(Budget(calls=0)).share_left() == 0.0
    assert UsageTracker().share_left() == UsageTracker(Budget()).share_left() == 1.0


def test_waits_side_by_side_count_once_as_idle_time() -> None:
    """The second adds nothing while the first lasts."""
    with measure_idle_time() as idle_time:
        with idle(), idle():
            time.sleep(0.05)
        time.sleep(0.05)
    assert idle_time.seconds == pytest.approx(0.05, abs=0.03)
