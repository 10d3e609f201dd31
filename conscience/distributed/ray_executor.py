"""Work on many items by the workers of a Ray cluster: ``executor="ray"``.

Ray places the workers, starts them anew and carries items and results. The calls of a node are made by its gateway, which is
no process of the cluster's and outlives both its workers and whoever started the run: see ``gateway/gateway.py``.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from itertools import chain, islice
from typing import Any, Self, TypeVar

from conscience.distributed.dispatch import Dispatcher, WorkerHandle, WorkerLost
from conscience.distributed.failures import error_from_data
from conscience.distributed.gateway.shared import GatewayRun
from conscience.distributed.gateway.starting import GatewayProcess
from conscience.distributed.tasks import Done, SentTask, Shared, Task, Work
from conscience.distributed.worker import Item, Result, Worker
from conscience.errors import BackendError, ConfigurationError

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

STORE_BYTES = 100_000_000
"""Of shared memory for a cluster that is started here: items and results are small, and most go past it."""

LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
"""Ray takes the better known address of loopback for a mistake, and listens on the network instead."""

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class RayExecutor:
    """Does the items on a Ray cluster. It may serve many runs, one after another, and keeps its workers warm between them.

    Args:
        address: of a cluster, as ``ray.init`` takes it; by default ``RAY_ADDRESS``, or else a cluster of this machine's
            own, at a loopback address, which ends with this executor. One that this process is connected to already is
            used as it is.
        workers: how many; by default one for each CPU of the cluster.

    Raises:
        ConfigurationError: Ray is not installed.
    """

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._ray = _ray()
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._workers = workers
        self._connected = False
        self._gateway: GatewayProcess | None = None
        self._warm: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def map(
        self, work: Work[I, R], items: Iterable[I], *, shared: Shared, concurrency: int
    ) -> AsyncGenerator[Done[I, R], None]:
        """See ``Executor.map``."""
        sent = SentTask.of(work)
        assert isinstance(work, Task)
        left = iter(items)
        first = list(islice(left, 1))
        if not first:  # all was done before: no cluster is needed
            return
        self._connect()
        if self._gateway is None:
            alone = self._connected and self._address == "local"
            host = None if alone else self._ray.util.get_node_ip_address()
            self._gateway = await asyncio.to_thread(GatewayProcess, host)
        under_way: dict[int, I] = {}

        def numbered() -> Iterator[Item]:
            for number, item in enumerate(chain(first, left)):
                under_way[number] = item
                yield number, work.items.to_data(item)

        async with GatewayRun(self._gateway, shared) as run:
            pool = _RayPool(self._ray, self._warm, (sent, self._gateway.place, run.name, concurrency))
            dispatcher = Dispatcher(pool, self._workers or self._cpus(), concurrency)
            results = dispatcher.results(numbered())
            try:
                async for number, reply, raised in results:
                    if raised is not None:
                        raise pickle.loads(raised)
                    assert reply is not None
                    outcome = work.outcome(reply)
                    yield Done(number, under_way.pop(number), outcome)
            finally:
                await results.aclose()
                await pool.close()

    def close(self) -> None:
        """Ends the workers, the cluster if it was started here, and the gateway once its calls have ended."""
        for actor in self._warm:
            with suppress(Exception):  # the cluster may be gone
                self._ray.kill(actor)
        self._warm.clear()
        if self._connected:
            self._ray.shutdown()
            self._connected = False
        if self._gateway is not None:
            self._gateway.close()
            self._gateway = None

    def _cpus(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _connect(self) -> None:
        if self._connected or self._ray.is_initialized():
            return
        options: dict[str, Any] = {"address": self._address, "log_to_driver": False, "logging_level": logging.ERROR}
        if self._address == "local":
            cpus = self._workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
            options |= {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
            options |= {"_node_ip_address": LOOPBACK}
        with _environment(), _own_signals(), _unheard():
            try:
                self._ray.init(**options)
            except (ConnectionError, RuntimeError, ValueError) as error:
                hint = "is the cluster up? see: ray status"
                raise BackendError(f"Ray at {self._address}: {error}", hint=hint, gone=True) from None
        self._connected = True


@lru_cache(maxsize=1)
def shared_ray() -> RayExecutor:
    """The executor behind ``executor="ray"``: one for the process, with its cluster and its warm workers until the end.

    Raises:
        ConfigurationError: Ray is not installed.
    """
    executor = RayExecutor()
    atexit.register(executor.close)
    return executor


class _RayPool:
    """Workers as actors. Those that are not lost go on to the next run."""

    def __init__(self, ray: Any, warm: list[Any], task: tuple[Any, ...]) -> None:
        self._ray, self._warm, self._task = ray, warm, task
        self._actors: list[Any] = []

    async def worker(self) -> WorkerHandle:
        if self._warm:
            actor = self._warm.pop()
        else:
            kind = self._ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(Worker)
            actor = kind.remote()
        self._actors.append(actor)
        handle = _RayWorker(self._ray, actor, self._actors)
        failure = await handle.call("open", *self._task)
        if failure is not None:
            raise error_from_data(failure)
        return handle

    async def close(self) -> None:
        """Takes the task from all workers."""
        for actor in list(self._actors):
            with suppress(WorkerLost):
                await _RayWorker(self._ray, actor, self._actors).call("close")
                self._warm.append(actor)


_LOST = ("RayActorError", "RaySystemError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")


class _RayWorker:
    def __init__(self, ray: Any, actor: Any, actors: list[Any]) -> None:
        self._lost = tuple(getattr(ray.exceptions, name) for name in _LOST)
        self._kill = ray.kill
        self._actor, self._actors = actor, actors

    async def call(self, method: str, *arguments: Any) -> Any:
        try:
            return await getattr(self._actor, method).remote(*arguments)
        except self._lost as error:
            with suppress(ValueError):
                self._actors.remove(self._actor)
            with suppress(Exception):  # one that is only out of reach would keep its CPU
                self._kill(self._actor)
            raise WorkerLost(_first_line(error)) from None

    async def exchange(self, items: Sequence[Item]) -> Sequence[Result]:
        results: Sequence[Result] = await self.call("exchange", items)
        return results


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigurationError("Ray is not installed", hint="run: pip install 'dspy-conscience[ray]'") from None
    return ray


@contextmanager
def _environment() -> Iterator[None]:
    """What a cluster that is started here inherits: no word to the terminal or to anybody's server; where modules are."""
    changed = QUIET | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _unheard() -> Iterator[None]:
    """Ray prints on our output what its processes have to say of lost workers, and no option keeps it from that. So nothing
    listens to them."""
    inside = import_module("ray._private.worker")
    listens = getattr(inside, "listen_error_messages", None)
    if listens is None:
        yield
        return
    inside.listen_error_messages = lambda *_: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        inside.listen_error_messages = listens  # type: ignore[attr-defined]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
