"""A worker: does items of one task after another in a process of a cluster, so many at once.

It knows nothing of the cluster. What it is given and gives back are plain data, many items at a time, since a message costs
more than most items.
"""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle

from conscience._dspy.lm import settings
from conscience.distributed.failures import error_data
from conscience.distributed.gateway.backend import GatewayJournal
from conscience.distributed.gateway.channel import Place
from conscience.distributed.gateway.client import GatewayClient
from conscience.distributed.tasks import SentTask, Shared, Task
from conscience.errors import BackendError, ConscienceError

LINGER_SECONDS = 0.1
"""What is done waits so long for more: results are written down in time, and few messages carry them."""

SILENCE_SECONDS = 5.0
"""After so long an empty reply says that the worker is alive."""

Item = tuple[int, Any]
"""A number, and the item as data."""

Result = tuple[int, Mapping[str, Any] | None, bytes | None]
"""The item's number, and the task's reply; or a pickled exception that is none of this library's."""


class Worker:
    """Does a task's items."""

    def __init__(self) -> None:
        self._clients: dict[Place, GatewayClient] = {}
        self._runs: list[str] = []
        self._under_way = 0
        self._waiting: asyncio.Queue[Item] = asyncio.Queue()
        self._done: asyncio.Queue[Result] = asyncio.Queue()
        self._doers: list[asyncio.Task[None]] = []

    async def open(self, sent: SentTask, place: Place, run: str, concurrency: int) -> dict[str, Any] | None:
        """Begins a task, in place of the one before.

        Args:
            sent: the task.
            place: of the gateway.
            run: the run's name there.
            concurrency: items under way at once.

        Returns:
            Why it cannot be done here, as data; None where it can.
        """
        await self.close()
        try:
            client = self._clients.get(place)
            if client is None:
                client = self._clients[place] = GatewayClient(place)
            for other in self._runs:
                client.forget(other)
            self._runs = [run]
            task = sent.open(Shared(GatewayJournal(client, run)))
        except ConscienceError as error:
            return error_data(error)
        except OSError as error:
            return error_data(BackendError(f"the process that makes the calls is out of reach: {error}", gone=True))
        self._waiting, self._done = asyncio.Queue(), asyncio.Queue()
        with settings.context(disable_history=True):
            self._doers = [asyncio.create_task(self._do(task)) for _ in range(concurrency)]
        return None

    async def exchange(self, items: Sequence[Item]) -> list[Result]:
        """Takes more items, and gives what is done; waits for something."""
        for item in items:
            self._waiting.put_nowait(item)
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                results = [await self._done.get()]
        except TimeoutError:
            return []
        if not self._waiting.empty() or self._under_way:
            await asyncio.sleep(LINGER_SECONDS)
        while not self._done.empty():
            results.append(self._done.get_nowait())
        return results

    async def close(self) -> None:
        """Gives up what is under way."""
        for doer in self._doers:
            doer.cancel()
        if self._doers:
            await asyncio.wait(self._doers, timeout=5)
        self._doers = []

    async def _do(self, task: Task[Any, Any]) -> None:
        while True:
            number, item = await self._waiting.get()
            self._under_way += 1
            try:
                self._done.put_nowait((number, await task.reply(item), None))
            except Exception as error:  # a programmer's: it ends the run, as it does in one process
                self._done.put_nowait((number, None, _pickled(error)))
            finally:
                self._under_way -= 1


def _pickled(error: Exception) -> Any:
    told = "".join(traceback.format_exception(error))
    try:
        data = cloudpickle.dumps(error)
        pickle.loads(data)
    except Exception:
        return cloudpickle.dumps(RuntimeError(told))
    error.add_note(f"in a worker:\n{told}")
    return cloudpickle.dumps(error)
