"""The seam through which all work on many cases goes: order, room, ends, and what comes of errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from conscience.distributed.failures import error_data, error_from_data
from conscience.distributed.tasks import Done, SentTask, Shared
from conscience.errors import (
    ArtifactError,
    BackendError,
    BudgetExceeded,
    ConfigurationError,
    ConscienceError,
    ContextTooLong,
    EmptyAnswer,
    InputError,
)
from conscience.evals.executor import LOCAL


class Own(BackendError):
    """An error of an application's own."""


def test_items_come_back_as_they_are_done_and_are_taken_when_there_is_room() -> None:
    """Never more items are taken than are under way, and each is told with its place."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(9):
            taken.append(n)
            yield n

    async def work(n: int) -> int:
        await asyncio.sleep(0.01 * (3 - n % 3))
        return n * n

    async def collected() -> list[Done[int, int]]:
        got: list[Done[int, int]] = []
        async for done in LOCAL.map(work, items(), shared=Shared(), concurrency=3):
            got.append(done)
            assert len(taken) <= len(got) + 2
        return got

    got = asyncio.run(collected())
    assert [done.item for done in got] != list(range(9))
    assert {(done.index, done.item, done.outcome) for done in got} == {(n, n, n * n) for n in range(9)}


def test_an_error_of_one_item_is_its_outcome_and_one_of_all_ends_the_work() -> None:
    """A backend that fails on an item fails that item; input that cannot be used ends all, and what is under way stops."""
    ended: list[int] = []

    async def work(n: int) -> int:
        if n == 0:
            raise BackendError("no answer")
        if n == 1:
            await asyncio.sleep(0)
            raise InputError("no oracle")
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(n)
        return n

    got: list[Done[int, int]] = []

    async def collect() -> None:
        async with aclosing(LOCAL.map(work, range(4), shared=Shared(), concurrency=3)) as results:
            async for done in results:
                got.append(done)

    with pytest.raises(InputError, match="no oracle"):
        asyncio.run(collect())
    assert [(done.item, str(done.outcome)) for done in got] == [(0, "no answer")]
    assert sorted(ended) == [2, 3]


def test_work_that_exists_here_only_does_not_travel() -> None:
    """A plain function is refused in one line, before anything is sent."""

    async def work(n: int) -> int:
        return n

    with pytest.raises(ConfigurationError, match="exists in this process only"):
        SentTask.of(work)


@pytest.mark.parametrize(
    "error",
    [
        ConscienceError("a"),
        InputError("a", hint="b"),
        ArtifactError("a", hint="b"),
        ConfigurationError("a"),
        BackendError("a", hint="b", retryable=True),
        BackendError("a", gone=True),
        ContextTooLong("a"),
        EmptyAnswer("a", hint="b", reason="cut"),
        BudgetExceeded("a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_whole(error: ConscienceError) -> None:
    """Class, text and what a run asks of an error are the same there and here."""
    again = error_from_data(error_data(error))
    assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


def test_an_error_of_an_applications_own_is_told_as_its_base() -> None:
    """The class may not exist there; what it is to this library does."""
    error = Own("a", hint="b", gone=True)
    error.refused = frozenset({"logprobs"})
    again = error_from_data(error_data(error))
    assert isinstance(again, BackendError)
    assert (type(again), str(again), again.gone, again.refused) == (BackendError, "a (b)", True, {"logprobs"})
