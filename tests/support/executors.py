"""An executor that does all that one may do to results: other objects, made from text; many at once; out of order."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Iterable
from typing import Any, TypeVar

from conscience.distributed.tasks import Done, SentTask, Shared, Task, Work

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


def through_text(value: Any) -> Any:
    """What another process would read of it."""
    return json.loads(json.dumps(value, allow_nan=False))


class Adversary:
    """Workers of this process that share no object with the caller but the journal, the rate and the meter.

    Args:
        workers: each opens the task for itself.
        held: so many results are kept back, and given in any order.
        seed: of the order.
    """

    name = "adversary"

    def __init__(self, workers: int = 3, held: int = 5, seed: int = 0) -> None:
        self.workers, self.held = workers, held
        self.sent: list[SentTask] = []
        self.most_under_way = 0
        self._rng = random.Random(seed)

    async def map(
        self, work: Work[I, R], items: Iterable[I], *, shared: Shared, concurrency: int
    ) -> AsyncGenerator[Done[I, R], None]:
        sent = SentTask.of(work)
        assert isinstance(work, Task)
        self.sent.append(sent)
        opened = [SentTask(**through_text(vars(sent))).open(shared) for _ in range(self.workers)]
        left, ready = enumerate(items), list[Done[I, R]]()
        under_way: dict[asyncio.Task[dict[str, Any]], tuple[int, I]] = {}
        room = self.workers * concurrency
        try:
            while True:
                while len(under_way) < room and (item := next(left, None)) is not None:
                    data = through_text(work.items.to_data(item[1]))
                    under_way[asyncio.create_task(self._rng.choice(opened).reply(data))] = item
                self.most_under_way = max(self.most_under_way, len(under_way))
                if not under_way and not ready:
                    return
                if under_way:
                    finished, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in finished:
                        ready.append(Done(*under_way.pop(task), work.outcome(through_text(task.result()))))
                while ready and (len(ready) > self.held or not under_way):
                    yield ready.pop(self._rng.randrange(len(ready)))
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
