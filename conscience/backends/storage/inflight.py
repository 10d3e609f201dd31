"""One request while it is under way: a kept answer, the same request of somebody else, and the keeping of a new answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Self

from conscience._base.flow import Flow, IOStep
from conscience.backends.limits.timeouts import within
from conscience.backends.storage.cache import ResponseCache
from conscience.backends.storage.journal import Journal
from conscience.usage import CallUsage

_SPEND = frozenset(CallUsage.__slots__)


class InflightRequest:
    """A request, and what is kept of its answer.

    In a run, a request that somebody else is making already is waited for: it is paid for once.

    Args:
        cache: where answers are kept, if anywhere.
        key: of the request; None where nothing is kept.
    """

    def __init__(self, cache: ResponseCache | Journal | None, key: str | None) -> None:
        self._cache = cache if key else None
        self._key = key or ""
        self._claimed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._claimed and isinstance(self._cache, Journal):
            self._cache.release(self._key)

    def lookup(self, seconds: float) -> Flow[dict[str, Any] | None]:
        """The answer that was kept, or will have been by whoever makes the same request now; None where there is none, and
        where it does not come within so many seconds.
        """
        if self._cache is None:
            return None
        entry = self._kept()
        if entry is not None or not isinstance(self._cache, Journal):
            return entry
        if (other := self._cache.claim(self._key)) is None:
            self._claimed = True
        else:
            try:
                yield within(seconds, other)
            except TimeoutError:
                return None  # the budget is spent, as whoever goes on to ask finds
        return self._kept()

    def _kept(self) -> dict[str, Any] | None:
        entry = None if self._cache is None else self._cache.get(self._key)
        return entry if entry is not None and _is_answer(entry) else None

    def store(self, value: Mapping[str, Any]) -> IOStep:
        """Keeps an answer: at once when driven sync or in a run, else as soon as the event loop is idle, which is while the
        next call waits."""
        return self._soon(lambda cache: cache.put(self._key, value))

    def drop(self) -> IOStep:
        """Takes a kept answer back; after it was kept, however the two are driven."""
        return self._soon(lambda cache: cache.drop(self._key))

    def _soon(self, change: Callable[[ResponseCache | Journal], None]) -> IOStep:
        cache = self._cache

        def now() -> None:
            if cache is not None:
                change(cache)

        async def soon() -> None:
            if cache is None or cache.replays:
                now()
            else:
                asyncio.get_running_loop().call_soon(now)

        return IOStep(now, soon)


def _is_answer(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has the shape that ``Backend`` gives it; another version may have written it."""
    spend, body, vectors = entry.get("spend"), entry.get("body"), entry.get("vectors")
    if (
        not isinstance(spend, dict)
        or not spend.keys() <= _SPEND
        or not all(isinstance(n, int | float) for n in spend.values())
    ):
        return False
    if body is None:
        return isinstance(vectors, list) and all(isinstance(vector, str) for vector in vectors)
    choices = body.get("choices") if isinstance(body, dict) else None
    return isinstance(choices, list) and bool(choices) and all(_is_choice(choice) for choice in choices)


def _is_choice(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)
