"""Work that nobody waits for: a bounded queue and a few threads, which end when there is nothing to do.

A process that ends waits a little for what is queued (``flush_all``). A forked child begins with an empty queue: what was
waiting is its parent's to do.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from conscience._base.forks import after_fork

T = TypeVar("T")
logger = logging.getLogger("conscience")

IDLE_SECONDS = 5.0
"""So long a thread waits for more to do before it ends."""

EXIT_SECONDS = 10.0
"""So long a process that ends waits for each queue."""


class Background(Generic[T]):
    """A queue with threads of its own.

    Args:
        work: does some items, in their order; what it raises is logged by type, since its words may hold texts.
        name: of the threads.
        threads: at most.
        most: items that may wait; ``put`` refuses those beyond.
        batch: items that are done together, at most.
        linger: seconds that are waited for more of them. What is put meanwhile wakes no thread, which costs more than it.
        last: whether it is flushed after those that may still fill it.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], None],
        *,
        name: str,
        threads: int = 1,
        most: int = 1000,
        batch: int = 1,
        linger: float = 0.0,
        last: bool = False,
    ) -> None:
        self._work, self._name, self._most_threads = work, name, threads
        self._most, self._batch, self._linger, self.last = most, batch, linger, last
        self.renew()
        _queues.add(self)

    def renew(self) -> None:
        """Empties the queue, and forgets the threads: for a forked child, which has none of them."""
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        self._hurry = threading.Condition(self._lock)
        self._threads = self._waiting = self._busy = self._flushing = 0

    def put(self, item: T, *, most: int | None = None, wait: bool = False) -> bool:
        """Queues an item.

        Args:
            most: in place of the queue's own bound.
            wait: until there is room, rather than refuse it.

        Returns:
            Whether it is queued.
        """
        bound = self._most if most is None else most
        with self._lock:
            while len(self._items) >= bound:
                if not wait or not self._threads:
                    return False
                self._changed.wait()
            self._items.append(item)
            if self._waiting:
                self._filled.notify()
            if len(self._items) >= min(self._batch, bound // 2):
                self._hurry.notify()
            if self._threads < self._most_threads and len(self._items) > self._waiting:
                return self._start()
        return True

    def _start(self) -> bool:
        """One more thread; False where the interpreter is ending, and there can be none to do what is queued."""
        _flush_in_child()
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:
            if not self._threads:
                self._items.pop()
                return False
            return True
        self._threads += 1
        return True

    def _run(self) -> None:
        while items := self._next():
            try:
                self._work(items)
            except Exception as error:
                logger.error("%s: %s", self._name, type(error).__name__)
            with self._lock:
                self._busy -= 1
                self._changed.notify_all()

    def _next(self) -> list[T]:
        """What is to be done next; nothing where the thread is to end."""
        with self._lock:
            while not self._items:
                self._waiting += 1
                woken = self._filled.wait(IDLE_SECONDS)
                self._waiting -= 1
                if not woken and not self._items:
                    self._threads -= 1
                    return []
            if self._linger and not self._flushing and len(self._items) < min(self._batch, self._most // 2):
                self._hurry.wait(self._linger)
            items = [self._items.popleft() for _ in range(min(self._batch, len(self._items)))]
            self._busy += 1
            self._changed.notify_all()
            return items

    @property
    def pending(self) -> int:
        """Items that wait, or are being done."""
        with self._lock:
            return len(self._items) + self._busy

    def flush(self, timeout: float) -> bool:
        """Waits until everything is done, so many seconds at most; whether it is."""
        end = time.monotonic() + timeout
        with self._lock:
            self._flushing += 1
            self._hurry.notify_all()
            try:
                while self._items or self._busy:
                    if (left := end - time.monotonic()) <= 0:
                        return False
                    self._changed.wait(left)
            finally:
                self._flushing -= 1
        return True


_queues: weakref.WeakSet[Background[Any]] = weakref.WeakSet()
_flushes_in_child = False


def flush_all(timeout: float = EXIT_SECONDS) -> bool:
    """Waits for every queue, so many seconds each; whether everything was done."""
    queues = sorted(_queues, key=lambda queue: queue.last)
    done = [queue.flush(timeout) for queue in queues]
    return all(done)


def _flush_in_child() -> None:
    """A forked child of ``multiprocessing`` ends without what ``atexit`` holds: it has a register of its own."""
    global _flushes_in_child
    if not _flushes_in_child and (util := sys.modules.get("multiprocessing.util")) is not None:
        _flushes_in_child = True
        util.Finalize(None, _at_exit, exitpriority=10)


def _forked() -> None:
    global _flushes_in_child
    _flushes_in_child = False
    for queue in _queues:
        queue.renew()


def _at_exit() -> None:
    if not flush_all(EXIT_SECONDS):
        left = ", ".join(f"{queue.pending} of {queue._name}" for queue in _queues if queue.pending)
        logger.warning("the process ends with work undone: %s", left)


atexit.register(_at_exit)
after_fork(_forked)
