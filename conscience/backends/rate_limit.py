"""Rate limits of the user's own: so many requests and tokens a minute, evenly spaced."""

from __future__ import annotations

import asyncio
import time

from conscience._base.flow import IOStep
from conscience._base.forks import ForkLock
from conscience.errors import ConfigurationError
from conscience.usage import is_amount, paused_clock


class RateLimiter:
    """Spaces calls so that a minute holds no more requests and tokens than allowed.

    A call's tokens are known only afterwards: they push back the calls that follow. One limiter may serve many backends.

    Args:
        requests: requests a minute; None is no limit.
        tokens: input and output tokens a minute; None is no limit.

    Raises:
        ConfigurationError: a rate is not a finite number of 0 or more.
    """

    def __init__(self, requests: float | None = None, tokens: float | None = None) -> None:
        for name, rate in (("requests", requests), ("tokens", tokens)):
            if rate is not None and not is_amount(rate):
                raise ConfigurationError(f"{name}={rate!r} a minute is not a finite number of 0 or more")
        self._requests, self._tokens = requests, tokens
        self._seconds_per_request = 60 / requests if requests else 0.0
        self._seconds_per_token = 60 / tokens if tokens else 0.0
        self._lock = ForkLock()
        self._next_request = 0.0
        self._tokens_paid = 0.0  # when the tokens used so far will have been allowed

    def share(self, of: int) -> RateLimiter:
        """A limiter for one of so many processes that keep to these rates together."""
        return RateLimiter(*(rate / of if rate else None for rate in (self._requests, self._tokens)))

    def claim(self) -> float:
        """Takes the next slot; the seconds until it comes."""
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._next_request, self._tokens_paid)
            self._next_request = slot + self._seconds_per_request
            return slot - now

    def record(self, tokens: int) -> None:
        """Enters the tokens that a call used."""
        with self._lock:
            self._tokens_paid = max(time.monotonic(), self._tokens_paid) + tokens * self._seconds_per_token

    def follow(self, other: RateLimiter) -> None:
        """Goes on where a copy of this one is, which another process of this machine had."""
        with self._lock:
            self._next_request = max(self._next_request, other._next_request)
            self._tokens_paid = max(self._tokens_paid, other._tokens_paid)

    def acquire(self) -> IOStep:
        """Takes the next slot and waits for it, as a step of a flow."""

        def run() -> None:
            with paused_clock():
                time.sleep(self.claim())

        async def arun() -> None:
            with paused_clock():
                await asyncio.sleep(self.claim())

        return IOStep(run, arun)
