"""Where work on many cases is done: the one seam that runs, reviews and compilations go through.

``conscience.distributed.tasks`` says what an executor is and what it is given. This is the one that needs nothing: the event
loop of this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import TypeVar

from conscience.distributed.tasks import END_A_RUN, Done, Executor, Shared, Work
from conscience.errors import ConfigurationError, ConscienceError

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


class LocalExecutor:
    """Does the items in this process, so many at once."""

    name = "local"

    async def map(
        self, work: Work[I, R], items: Iterable[I], *, shared: Shared, concurrency: int
    ) -> AsyncGenerator[Done[I, R], None]:
        """See ``Executor.map``."""
        left = enumerate(items)
        under_way: dict[asyncio.Task[R | ConscienceError], tuple[int, I]] = {}
        finished: asyncio.Queue[asyncio.Task[R | ConscienceError]] = asyncio.Queue()
        try:
            while True:
                while len(under_way) < concurrency and (item := next(left, None)) is not None:
                    task = asyncio.create_task(_outcome(work, item[1]))
                    under_way[task] = item
                    task.add_done_callback(finished.put_nowait)
                if not under_way:
                    return
                task = await finished.get()
                yield Done(*under_way.pop(task), task.result())
        finally:
            await _given_up(under_way)


LOCAL: Executor = LocalExecutor()

ExecutorSpec = str | Executor
"""``"local"``, ``"ray"`` (a cluster of Ray's, or one that is started on this machine), ``"batch"`` (a provider's batch
files), or an executor."""


def executor_of(spec: ExecutorSpec) -> Executor:
    """The executor that is meant.

    Raises:
        ConfigurationError: there is none of that name, or its extra is not installed.
    """
    if not isinstance(spec, str):
        return spec
    if spec == "local":
        return LOCAL
    if spec == "batch":
        from conscience.distributed.batch_files import BatchExecutor

        return BatchExecutor(LOCAL)
    if spec == "ray":
        from conscience.distributed.ray_executor import shared_ray

        return shared_ray()
    raise ConfigurationError(f"executor={spec!r} does not exist", hint="choose local, ray or batch")


async def _outcome(work: Work[I, R], item: I) -> R | ConscienceError:
    try:
        return await work(item)
    except END_A_RUN:
        raise
    except ConscienceError as error:
        return error


async def _given_up(tasks: Iterable[asyncio.Task[R]]) -> None:
    """Cancels what is under way, and waits for its end; what else went wrong there is heard."""
    pending = set(tasks)
    while pending:  # a client under the work may swallow a cancellation
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)
    for task in tasks:
        if not task.cancelled():
            task.exception()
