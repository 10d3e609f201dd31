"""Rate limits of the user's own: so many requests and tokens a minute, evenly spaced."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from conscience.flow import Step


class Waits:
    """How many seconds went by in waiting for slots; waits side by side count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._open = 0
        self._since = 0.0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Counts what runs inside as a wait."""
        with self._lock:
            if not self._open:
                self._since = time.perf_counter()
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1
                if not self._open:
                    self.seconds += time.perf_counter() - self._since


_waits: ContextVar[Waits | None] = ContextVar("conscience_waits", default=None)


@contextmanager
def waits() -> Iterator[Waits]:
    """Counts how long what runs inside waits for any pace, or for an answer that somebody else is asking for."""
    counted = Waits()
    token = _waits.set(counted)
    try:
        yield counted
    finally:
        _waits.reset(token)


def counted() -> AbstractContextManager[None]:
    """Counts what runs inside as a wait, for whoever counts."""
    return (_waits.get() or Waits()).one()


class Pace:
    """Spaces calls so that a minute holds no more requests and tokens than allowed.

    A call's tokens are known only afterwards: they push back the calls that follow. One pace may serve many backends.

    Args:
        requests: requests a minute; None is no limit.
        tokens: input and output tokens a minute; None is no limit.
    """

    def __init__(self, requests: float | None = None, tokens: float | None = None) -> None:
        self._second = 60 / requests if requests else 0.0
        self._token = 60 / tokens if tokens else 0.0
        self._lock = threading.Lock()
        self._free = 0.0
        self._tokens_free = 0.0

    def claim(self) -> float:
        """Takes the next slot and tells how many seconds it is away."""
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._free, self._tokens_free)
            self._free = slot + self._second
            return slot - now

    def spent(self, tokens: int) -> None:
        """Tells what a call used."""
        with self._lock:
            self._tokens_free = max(time.monotonic(), self._tokens_free) + tokens * self._token

    def waiting(self) -> Step:
        """The wait for the next slot, as a step of a flow."""

        def run() -> None:
            with counted():
                time.sleep(self.claim())

        async def arun() -> None:
            with counted():
                await asyncio.sleep(self.claim())

        return Step(run, arun)
