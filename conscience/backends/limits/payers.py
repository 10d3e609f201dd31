"""Who pays for a model's call: the program call that asks, and the run that it is a part of, each with its own budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from conscience._base.flow import IOStep
from conscience.backends.limits.timeouts import pausing_these
from conscience.errors import BudgetExceeded
from conscience.usage import CallContext, CallUsage, IdleTime, Role, UsageTracker, pausing


class Payers:
    """The accounts that one request to a backend is entered in, and limited by.

    Args:
        run: the run's usage tracker, if it is one's.
        ctx: the program call that asks; outside of one only optimizers do.
        clock: stands still, like the accounts' own, while something starts up.
    """

    def __init__(self, run: UsageTracker | None, ctx: CallContext | None, clock: IdleTime | None = None) -> None:
        self._run = run
        self._ctx = ctx
        self._trackers = [tracker for tracker in (run, ctx.tracker if ctx is not None else None) if tracker is not None]
        self._clocks = (*(tracker.paused for tracker in self._trackers), *([clock] if clock is not None else []))

    @property
    def role(self) -> Role:
        """Who asks."""
        return "propose" if self._ctx is None else self._ctx.role

    @property
    def limit_dollars(self) -> bool:
        """Whether one of the budgets limits dollars."""
        return any(tracker.budget is not None and tracker.budget.dollars is not None for tracker in self._trackers)

    def claim(self) -> float:
        """Claims a call from every budget, or from none; the seconds that they leave, infinite where none limits them.

        Raises:
            BudgetExceeded: one of them is spent.
        """
        claimed: list[UsageTracker] = []
        left = math.inf
        try:
            for tracker in self._trackers:
                seconds = tracker.begin()
                claimed.append(tracker)
                left = left if seconds is None else min(left, seconds)
        except BudgetExceeded:
            for tracker in claimed:
                tracker.take_back()
            raise
        return left

    def take_back(self) -> None:
        """Gives the run a claimed call back that is not made yet. The program call keeps it: what it does beside may need
        one too, and that it is begun anew is somebody else's affair."""
        if self._run is not None:
            self._run.take_back()

    def seconds_left(self) -> float:
        """The seconds that the budgets leave, infinite where none limits them."""
        lefts = (tracker.seconds_left() for tracker in self._trackers)
        return max(0.0, min((left for left in lefts if left is not None), default=math.inf))

    def pausing(self) -> AbstractContextManager[None]:
        """Inside, what starts up stops the accounts' clocks."""
        return pausing(self._clocks)

    def step(self, step: IOStep) -> IOStep:
        """The same step; what starts up in it stops the accounts' clocks."""
        return pausing_these(self._clocks, step)

    def enter(self, usage: CallUsage) -> None:
        """Enters a call that was made, or a cached answer."""
        for tracker in self._trackers:
            tracker.enter(self.role, usage)

    def enter_replayed(self, spend: Mapping[str, Any], *, first_use: bool) -> None:
        """Enters an answer of a run's journal: each program call that uses it pays, the run once."""
        usage = CallUsage(**spend)
        if self._ctx is not None:
            self._ctx.tracker.enter(self.role, usage, replayed=True)
        if self._run is not None and first_use:
            self._run.enter(self.role, usage, replayed=True)
