"""How much a server takes on: sizes, times, and how many requests at once. Each worker has its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

from conscience.errors import ConfigurationError
from conscience.server.errors import too_busy

_COUNTS = ("body_bytes", "concurrency", "queue", "connections", "choices")


@dataclass(frozen=True)
class Limits:
    """Limits of one worker.

    Attributes:
        body_bytes: the largest body of a request; a picture in one is base64.
        concurrency: requests answered at once; a stream counts until it ends.
        queue: requests that may wait for their turn; further ones are refused at once. 0: none waits.
        queue_seconds: how long one may wait.
        request_seconds: how long an answer may take, its stream included.
        header_seconds: how long a client may take for a request's line and headers.
        body_seconds: how long for its body, and to take in what was sent to it.
        shutdown_seconds: how long a worker that is told to stop goes on with what is under way.
        connections: open connections.
        choices: answers that one request may ask for, as ``n``: each is as much work as a request.
    """

    body_bytes: int = 10 << 20
    concurrency: int = 64
    queue: int = 128
    queue_seconds: float = 30.0
    request_seconds: float = 300.0
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    shutdown_seconds: float = 60.0
    connections: int = 1000
    choices: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.name in _COUNTS
            least = 0 if field.name == "queue" else 1 if whole else math.ulp(0)
            number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not number or not least <= value < math.inf:
                kind = "a whole number" if whole else "a finite number"
                raise ConfigurationError(
                    f"limit {field.name}={value!r} is not {kind} {'of 0 or more' if not least else 'above 0'}"
                )


class Admission:
    """Lets so many requests work at once and so many wait; whoever comes on top is told at once.

    Args:
        limits: how many, and how long one may wait.
        changed: is told how many are answered and how many wait, whenever that changes.
    """

    def __init__(self, limits: Limits, changed: Callable[[int, int], None]) -> None:
        self._limits = limits
        self._changed = changed
        self._turns = asyncio.Semaphore(limits.concurrency)
        self._running = self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""
        return self._turns.locked() and self._waiting >= self._limits.queue

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Room for one request, in order of arrival.

        Raises:
            ApiError: there is none, or it did not come in time.
        """
        if self.full:
            raise too_busy("The server is busy and its queue is full.")
        self._count(waiting=1)
        try:
            async with asyncio.timeout(self._limits.queue_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise too_busy(f"The server is busy: no turn came within {self._limits.queue_seconds:g} s.") from None
        finally:
            self._count(waiting=-1)
        self._count(running=1)
        try:
            yield
        finally:
            self._count(running=-1)
            self._turns.release()

    def _count(self, *, running: int = 0, waiting: int = 0) -> None:
        self._running += running
        self._waiting += waiting
        self._changed(self._running, self._waiting)
