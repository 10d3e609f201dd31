"""Room for so many, and a queue for so many more."""

from __future__ import annotations

import asyncio

import pytest

from conscience.server.errors import ApiError
from conscience.server.limits import Admission, Limits


def admission(seen: list[tuple[int, int]] | None = None, **limits: float) -> Admission:
    return Admission(
        Limits(**limits), lambda running, waiting: (seen if seen is not None else []).append((running, waiting))
    )  # type: ignore[arg-type]


async def test_never_more_at_once_and_in_order_of_arrival() -> None:
    room, order, most = admission(concurrency=3, queue=100), list[int](), 0
    running = 0

    async def work(number: int) -> None:
        nonlocal running, most
        async with room.turn():
            order.append(number)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work(number) for number in range(50)))
    assert (most, order) == (3, list(range(50)))


async def test_whoever_comes_on_top_of_the_queue_is_refused_at_once() -> None:
    room, done = admission(concurrency=1, queue=2), asyncio.Event()

    async def work() -> str:
        try:
            async with room.turn():
                await done.wait()
                return "done"
        except ApiError as error:
            return str(error.code)

    tasks = [asyncio.create_task(work()) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert [task.done() for task in tasks] == [False, False, False, True, True]
    assert room.full
    done.set()
    assert sorted(await asyncio.gather(*tasks)) == ["done", "done", "done", "server_busy", "server_busy"]
    assert not room.full


async def test_a_turn_that_does_not_come_in_time_is_given_up() -> None:
    room = admission(concurrency=1, queue=2, queue_seconds=0.02)
    async with room.turn():
        with pytest.raises(ApiError) as caught:
            async with room.turn():
                pass
    assert caught.value.status == 429
    async with room.turn():
        pass


async def test_whoever_leaves_the_queue_or_fails_leaves_no_trace() -> None:
    """Cancelled at any moment: the counts come back to zero and every turn is given again."""
    seen: list[tuple[int, int]] = []
    room = admission(seen, concurrency=2, queue=100)

    async def work(number: int) -> None:
        async with room.turn():
            await asyncio.sleep(0.001)
            if number % 3 == 0:
                raise ValueError

    tasks = [asyncio.create_task(work(number)) for number in range(60)]
    for number, task in enumerate(tasks):
        if number % 2:
            await asyncio.sleep(0)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert seen[-1] == (0, 0)
    async with room.turn(), room.turn():
        assert seen[-1] == (2, 0)
