"""Hands items to workers and takes back what is done, whatever becomes of the workers.

A worker is given what it can do at once and a little more, so that it need not wait for the next message. One that is lost
is replaced, and what it had is done by others: what was paid for is in the journal. Items whose workers end again and again
are done alone at last, to find the one that ends them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Protocol

from conscience.distributed.failures import error_data
from conscience.distributed.worker import Item, Result
from conscience.errors import BackendError

SUSPICIOUS = 3
"""An item that was aboard so many lost workers is done alone, and fails when a worker is lost over it twice more."""

IN_VAIN = 5
"""So many workers lost for each that there should be, and nothing done meanwhile: they cannot work."""


class WorkerLost(Exception):
    """A worker has ended; says why, as far as that is known."""


class WorkerHandle(Protocol):
    """A worker somewhere."""

    async def exchange(self, items: Sequence[Item]) -> Sequence[Result]:
        """See ``Worker.exchange``.

        Raises:
            WorkerLost: it has ended.
        """


class Pool(Protocol):
    """Where workers come from."""

    async def worker(self) -> WorkerHandle:
        """One that has opened the task.

        Raises:
            WorkerLost: it ended before it had.
            ConscienceError: the task cannot be done there.
        """


class Dispatcher:
    """Does items by the workers of a pool.

    Args:
        pool: see ``Pool``.
        workers: how many at once.
        concurrency: items under way at once in each.
    """

    def __init__(self, pool: Pool, workers: int, concurrency: int) -> None:
        self._pool = pool
        self._room = concurrency + max(1, concurrency // 2)
        self._seats = [_Seat() for _ in range(workers)]
        self._again: deque[Item] = deque()
        self._alone: deque[Item] = deque()
        self._all_taken = False
        self._aboard: dict[int, int] = {}  # number of an item → how many workers were lost with it
        self._lost_in_vain = 0
        self._news: asyncio.Queue[tuple[_Seat, list[Result]] | Exception] = asyncio.Queue()

    async def results(self, items: Iterator[Item]) -> AsyncGenerator[Result, None]:
        """What comes of each item, as soon as it is there; an item is taken when there is room for it.

        Raises:
            BackendError: workers end, and do nothing.
            ConscienceError: see ``Pool.worker``.
        """
        tasks = [asyncio.create_task(self._occupy(seat)) for seat in self._seats]
        try:
            while self._fill(items):
                news = await self._news.get()
                if isinstance(news, Exception):
                    raise news
                seat, results = news
                for result in results:
                    yield result
                seat.told -= len(results)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _fill(self, items: Iterator[Item]) -> bool:
        """Gives each worker what it has room for; whether there is anything to wait for."""
        ready = [seat for seat in self._seats if seat.ready]
        for seat in ready:
            if self._alone and not seat.aboard:
                seat.give(self._alone.popleft(), alone=True)
        free = [seat for seat in ready[bool(self._alone) :] if not seat.alone]  # the first one is kept for those
        while free := [seat for seat in free if seat.load < self._room]:
            for seat in free:
                item = self._again.popleft() if self._again else next(items, None)
                if item is None:
                    self._all_taken = True
                    return self._waits()
                seat.give(item)
        return self._waits()

    def _waits(self) -> bool:
        under_way = any(seat.load for seat in self._seats) or not self._news.empty()
        return under_way or bool(self._again or self._alone) or not self._all_taken

    async def _occupy(self, seat: _Seat) -> None:
        """The life of one place: a worker after another."""
        try:
            while True:
                try:
                    worker = await self._pool.worker()
                    seat.ready = True
                    self._tell(seat, [])
                    while True:
                        await seat.occupied.wait()
                        results = list(await worker.exchange(seat.taken()))
                        if results:
                            self._lost_in_vain = 0
                        for number, _, _ in results:
                            seat.aboard.pop(number, None)
                            self._aboard.pop(number, None)
                        self._tell(seat, results)
                except WorkerLost as lost:
                    seat.ready = False
                    self._lost_in_vain += 1
                    if self._lost_in_vain > IN_VAIN * len(self._seats):
                        raise BackendError(f"the workers end before anything is done: {lost}") from None
                    self._tell(seat, self._take_back(seat, lost))
        except Exception as error:
            self._news.put_nowait(error)

    def _tell(self, seat: _Seat, results: list[Result]) -> None:
        seat.told += len(results)
        seat.settle()
        self._news.put_nowait((seat, results))

    def _take_back(self, seat: _Seat, lost: WorkerLost) -> list[Result]:
        """Of what a lost worker had, what will not be tried again."""
        given_up: list[Result] = []
        for number, item in seat.aboard.items():
            times = self._aboard[number] = self._aboard.get(number, 0) + 1
            if times < SUSPICIOUS:
                self._again.append((number, item))
            elif times < SUSPICIOUS + 2:
                self._alone.append((number, item))
            else:
                error = BackendError(f"{times} workers have ended while they did it, the last one so: {lost}")
                given_up.append((number, {"error": error_data(error)}, None))
        seat.aboard.clear()
        seat.taken()
        return given_up


class _Seat:
    """A place for a worker.

    Attributes:
        aboard: what the worker has, or is to be handed next.
        ready: whether a worker is there: one may have to wait for the cluster's other work.
        told: results that are on their way to whoever asked for them.
        alone: whether what is aboard is to be alone.
    """

    def __init__(self) -> None:
        self.aboard: dict[int, object] = {}
        self.ready = False
        self.told = 0
        self.alone = False
        self.occupied = asyncio.Event()
        self._new: list[Item] = []

    @property
    def load(self) -> int:
        """How much of its room is taken."""
        return len(self.aboard) + self.told

    def give(self, item: Item, *, alone: bool = False) -> None:
        self.aboard[item[0]] = item[1]
        self.alone = alone
        self._new.append(item)
        self.occupied.set()

    def taken(self) -> list[Item]:
        """What is to be handed over now."""
        new, self._new = self._new, []
        return new

    def settle(self) -> None:
        """Empty or not: an empty one asks for nothing."""
        if not self.aboard:
            self.alone = False
            self.occupied.clear()
