"""Rate limits of the user's own: so many requests and tokens a minute, evenly spaced."""

from __future__ import annotations

import asyncio
import threading
import time

from conscience._base.flow import IOStep
from conscience.usage import counted


class RateLimiter:
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

    def waiting(self) -> IOStep:
        """The wait for the next slot, as a step of a flow."""

        def run() -> None:
            with counted():
                time.sleep(self.claim())

        async def arun() -> None:
            with counted():
                await asyncio.sleep(self.claim())

        return IOStep(run, arun)
