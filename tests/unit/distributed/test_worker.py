"""A worker without a cluster: it opens a task, and exchanges items for results."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import pytest

from conscience.distributed.gateway.channel import Place
from conscience.distributed.gateway.process import GatewayServer
from conscience.distributed.tasks import Codec, SentTask, Shared, Task
from conscience.distributed.worker import Worker
from conscience.errors import ConfigurationError, ReviewError

SAME = Codec(lambda value: value, lambda value: value)


class Doubling(Task[Any, Any]):
    """Doubles numbers."""

    items = results = SAME

    async def __call__(self, item: Any) -> Any:
        await asyncio.sleep(0.01)
        if item is None:
            raise ReviewError("nothing to double")
        return item * 2 if isinstance(item, int) else item["no such key"]

    def to_data(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Doubling:
        if "bad" in data:
            raise ConfigurationError("nothing of the kind here")
        return cls()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A gateway that nobody asks for anything."""
    place, loop = Place(str(tmp_path / "g"), b"key"), asyncio.new_event_loop()
    server = GatewayServer(loop)
    with Listener(place.path) as listener:
        threading.Thread(target=server.accept, args=(listener, place.key), daemon=True).start()
        yield place
        server.close()


def test_what_is_done_comes_back_and_a_failure_is_data(place: Place) -> None:
    """An error of this library is an item's outcome; a programmer's is raised where the run is."""

    async def go() -> list[Any]:
        worker = Worker()
        assert await worker.open(SentTask.of(Doubling()), place, "r", 3) is None
        results = await worker.exchange([(n, n) for n in range(7)] + [(7, None), (8, {})])
        while len(results) < 9:
            results += await worker.exchange([])
        await worker.close()
        return sorted(results, key=lambda result: result[0])

    *good, bad, worse = asyncio.run(go())
    assert [reply for _, reply, _ in good] == [{"result": 2 * n} for n in range(7)]
    assert bad[1]["error"]["message"] == "nothing to double"
    error = pickle.loads(worse[2])
    assert isinstance(error, KeyError)
    assert "in a worker" in error.__notes__[0]


def test_a_task_that_cannot_be_opened_says_why(place: Place) -> None:
    sent = SentTask.of(Doubling())
    sent.data["bad"] = True  # type: ignore[index]
    failure = asyncio.run(Worker().open(sent, place, "r", 1))
    assert failure is not None
    assert failure["message"] == "nothing of the kind here"
