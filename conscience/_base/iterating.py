"""An async iterator read from code that is not async."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that whoever leaves an iterator waits until it has cleaned up; it goes on with that by itself then."""


def iterated(make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """The items of an async iterator, which runs on an event loop in a thread of its own: also where this one has a loop.

    It runs ahead of whoever reads. Left early, by ``close`` or by losing the iterator, it is cancelled.

    Args:
        make: makes it, on its loop, with this thread's context variables.
    """
    items: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    work = _Work(make, items)
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work.run,), name="conscience-stream", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        work.cancel()
        thread.join(PATIENCE)


class _Work:
    """What runs in the thread."""

    def __init__(self, make: Callable[[], AsyncIterator[Any]], items: queue.SimpleQueue[tuple[str, Any]]) -> None:
        self._make = make
        self._items = items
        self._lock = threading.Lock()
        self._left = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def run(self) -> None:
        """Puts the items, then the end, or the error."""
        try:
            asyncio.run(self._drain())
        except asyncio.CancelledError:
            self._items.put(("end", None))
        except BaseException as error:  # it is the reader's, whatever it is
            self._items.put(("error", error))
        else:
            self._items.put(("end", None))

    async def _drain(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._left:
                return
            self._running = asyncio.get_running_loop(), task
        iterator = self._make()
        try:
            async for item in iterator:
                self._items.put(("item", item))
        finally:
            with self._lock:
                self._running = None
            if (close := getattr(iterator, "aclose", None)) is not None:
                await close()

    def cancel(self) -> None:
        """Ends it, if it has not ended."""
        with self._lock:
            self._left = True
            if self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)
