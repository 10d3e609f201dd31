"""Items handed to workers that may be lost at any time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience.distributed.dispatch import Dispatcher, WorkerLost
from conscience.distributed.worker import Item, Result
from conscience.errors import BackendError

POISON = 7


@dataclass
class Fake:
    """Workers that do items a few at a time, and are lost as a seed says."""

    seed: int = 0
    losing: float = 0.0
    poison: bool = False
    broken: bool = False
    aboard: list[int] = field(default_factory=list)
    most: int = 0
    lost: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    async def worker(self) -> Any:
        await asyncio.sleep(0)
        if self.broken:
            raise WorkerLost("no such module")
        return FakeWorker(self)


@dataclass
class FakeWorker:
    pool: Fake
    has: list[Item] = field(default_factory=list)

    async def exchange(self, items: Sequence[Item]) -> Sequence[Result]:
        self.has += items
        self.pool.most = max(self.pool.most, len(self.has))
        await asyncio.sleep(0)
        if self.pool.poison and any(number == POISON for number, _ in self.has):
            self.pool.lost += 1
            raise WorkerLost("killed")
        if self.pool.random.random() < self.pool.losing:
            self.pool.lost += 1
            raise WorkerLost("killed")
        count = self.pool.random.randint(0, len(self.has))
        done, self.has = self.has[:count], self.has[count:]
        return [(number, {"result": item}, None) for number, item in done]


def dispatched(pool: Fake, n: int, workers: int = 3, concurrency: int = 2) -> tuple[list[Result], int]:
    """All results, and the most items that were taken before their results were given."""
    taken = given = most = 0

    def items() -> Iterator[Item]:
        nonlocal taken, most
        for number in range(n):
            taken += 1
            most = max(most, taken - given)
            yield number, f"item {number}"

    async def collect() -> list[Result]:
        nonlocal given
        got = []
        async for result in Dispatcher(pool, workers, concurrency).results(items()):
            given += 1
            got.append(result)
        return got

    return asyncio.run(asyncio.wait_for(collect(), 20)), most


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.05, 0.15]), st.integers(0, 40), st.integers(1, 4), st.integers(1, 4))
def test_each_item_is_done_once_whatever_becomes_of_the_workers(
    seed: int, losing: float, n: int, workers: int, concurrency: int
) -> None:
    """And never are more taken than there is room for."""
    room = concurrency + max(1, concurrency // 2)
    pool = Fake(seed, losing)
    results, most = dispatched(pool, n, workers, concurrency)
    assert sorted(number for number, _, _ in results) == list(range(n))
    done = [number for number, reply, _ in results if reply == {"result": f"item {number}"}]
    assert len(done) >= n - pool.lost * room // 5
    assert most <= (workers + pool.lost) * room
    assert pool.most <= room


def test_an_item_that_ends_its_worker_fails_alone() -> None:
    """The others are done, and it is told why."""
    pool = Fake(poison=True)
    results, _ = dispatched(pool, 30)
    failed = [(number, reply) for number, reply, _ in results if reply and "error" in reply]
    assert [number for number, _ in failed] == [POISON]
    assert "killed" in str(failed[0][1])
    assert len(results) == 30
    assert pool.lost == 5


def test_workers_that_cannot_work_end_the_run() -> None:
    with pytest.raises(BackendError, match="before anything is done: no such module"):
        dispatched(Fake(broken=True), 5)
