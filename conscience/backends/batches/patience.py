"""How a run waits: for a provider that is busy or away for a while, for a batch, and for no longer than its user does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from conscience._dspy.lm import LMError, retryable
from conscience.backends.failures import backend_failure, failure_kind
from conscience.backends.transports import Transport

T = TypeVar("T")


class Interrupted(Exception):
    """The user has had enough; what is at the provider stays there."""


@dataclass(frozen=True)
class Pace:
    """Seconds.

    Attributes:
        first: between the first two looks at a batch; each further wait is half as long again.
        most: between two looks.
        patience: how long a provider may fail in a row before the run ends; nothing is lost by that.
        looks: the waits before each look for a batch whose beginning was not confirmed: a list may lag behind.
    """

    first: float = 1.0
    most: float = 60.0
    patience: float = 900.0
    looks: tuple[float, ...] = (0.0, 5.0, 20.0)

    def after(self, seconds: float) -> float:
        """The wait after one of so many seconds."""
        return min(self.most, max(self.first, seconds * 1.5))


PACE = Pace()


class Waiting:
    """Waits of one run.

    Args:
        pace: see ``Pace``.
        stop: set once the user interrupts it.
        show: is told what is waited for while a provider fails.
    """

    def __init__(
        self, pace: Pace = PACE, stop: asyncio.Event | None = None, show: Callable[[str], None] = lambda line: None
    ) -> None:
        self.pace = pace
        self._stop = stop or asyncio.Event()
        self._show = show

    def check(self) -> None:
        """Raises ``Interrupted`` where the user has."""
        if self._stop.is_set():
            raise Interrupted

    async def pause(self, seconds: float) -> None:
        """Waits so long.

        Raises:
            Interrupted: at once when the user interrupts.
        """
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        raise Interrupted

    async def patiently(self, transport: Transport, call: Callable[[], T]) -> T:
        """The result of a call that may be repeated: again and again while the failure may pass.

        Raises:
            BackendError: it does not pass.
            Interrupted: while waiting.
        """
        failures = Failures(transport, self)
        while True:
            try:
                return await asyncio.to_thread(call)
            except LMError as error:
                await failures.wait_after(error)

    def show(self, error: LMError, seconds: float) -> None:
        """Tells what is waited for."""
        self._show(f"{failure_kind(error)}: tries again in {seconds:.0f} s")


class Failures:
    """One provider's failures in a row, and the waits after them."""

    def __init__(self, transport: Transport, waiting: Waiting) -> None:
        self._transport, self._waiting = transport, waiting
        self._began, self._wait = time.monotonic(), 0.0

    async def wait_after(self, error: LMError) -> None:
        """Waits until the next try, as long as the provider asks for.

        Raises:
            BackendError: the failure does not pass, or has not for too long.
            Interrupted: while waiting.
        """
        pace = self._waiting.pace
        self._wait = max(pace.after(self._wait), getattr(error, "retry_after", None) or 0.0)
        if not retryable(error) or time.monotonic() + self._wait - self._began > pace.patience:
            raise backend_failure([(self._transport, error)], (), out_of_time=False) from None
        self._waiting.show(error, self._wait)
        await self._waiting.pause(self._wait)
