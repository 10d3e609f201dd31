"""Calls of a budget set aside for a request that is made elsewhere, where it cannot ask for one call after another."""

from __future__ import annotations

import threading
import weakref
from typing import Self

from conscience.errors import BudgetExceeded
from conscience.usage import UsageTracker

_lock = threading.Lock()
_open: weakref.WeakKeyDictionary[UsageTracker, int] = weakref.WeakKeyDictionary()


class CallsAside:
    """Takes calls from a program call's budget, and gives back what was not needed.

    Requests that are made side by side share a budget: the first may have set aside all that is left. Then the others wait
    for what it gives back, since they would be refused calls that nobody makes.

    Args:
        tracker: whose budget it is.
        most: calls that the request can need.

    Attributes:
        calls: that were set aside; None where calls are not limited.
        timed: whether seconds are.
    """

    def __init__(self, tracker: UsageTracker, most: int) -> None:
        budget = tracker.budget
        self._tracker, self._most = tracker, most
        self._limited = budget is not None and budget.calls is not None
        self._taken = 0
        self.timed = budget is not None and budget.seconds is not None

    @property
    def calls(self) -> int | None:
        return self._taken if self._limited else None

    def take(self) -> bool:
        """Sets calls aside; whether there were any. False asks to try again soon.

        Raises:
            BudgetExceeded: nothing is left, and nothing will be.
        """
        with _lock:
            try:
                self._tracker.begin()
            except BudgetExceeded:
                if self._tracker.limit_met() != "calls" or not _open.get(self._tracker):
                    raise
                return False
            self._taken = 1
            while self._limited and self._taken < self._most and not self._tracker.limit_met():
                self._tracker.begin()
                self._taken += 1
            _open[self._tracker] = _open.get(self._tracker, 0) + 1
            return True

    def spent(self, calls: int) -> None:
        """So many were made: the others are given back."""
        self._tracker.absorb(calls - self._taken, {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            with _lock:
                _open[self._tracker] -= 1
