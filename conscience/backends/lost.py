"""Backends that were lost: what a long run asks after each case, to stop before it spends a night on errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from conscience.errors import BackendError

_lost: ContextVar[list[BackendError] | None] = ContextVar("conscience_lost_backends", default=None)


@contextmanager
def lost_backends() -> Iterator[list[BackendError]]:
    """The failures, in what runs inside, of backends that were gone: the program called may have gone on without them."""
    failures: list[BackendError] = []
    token = _lost.set(failures)
    try:
        yield failures
    finally:
        _lost.reset(token)


def record_lost(failure: Exception) -> None:
    """Adds a failure where somebody asks, if it says that its backend is gone."""
    failures = _lost.get()
    if failures is not None and isinstance(failure, BackendError) and failure.gone:
        failures.append(failure)
