"""A flow is written once, as a generator of steps, and driven sync or async.

A step holds the same piece of work in both forms. A driver runs it, sends the result back in, or throws the error in,
so a flow reads like plain code with ``yield`` where it waits. A ``StageStarted`` tells whoever watches where the flow is; a
``StageEnded``, what came of it, which may be a draft: only who asks for results is told.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IOStep:
    """One thing that a flow waits for."""

    run: Callable[[], Any]
    arun: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class StageStarted:
    """Where a flow is: generate, gate, critique or revise."""

    name: str


@dataclass(frozen=True, slots=True)
class StageEnded:
    """What a stage came to: generate and revise a Draft, gate its Verdict, review the Verdict of gate and critique."""

    name: str
    result: Any


Flow = Generator[IOStep | StageStarted | StageEnded, Any, T]
Watcher = Callable[[StageStarted], None]
ResultWatcher = Callable[[StageEnded], None]


def run_sync(flow: Flow[T], watch: Watcher | None = None) -> T:
    """Runs a flow to its end in this thread."""
    try:
        step = next(flow)
        while True:
            if isinstance(step, StageStarted | StageEnded):
                if watch is not None and isinstance(step, StageStarted):
                    watch(step)
                step = flow.send(None)
                continue
            try:
                value = step.run()
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        flow.close()


async def run_async(flow: Flow[T], watch: Watcher | None = None, results: ResultWatcher | None = None) -> T:
    """Runs a flow to its end on the running event loop.

    Args:
        watch: is told where the flow is.
        results: is told what each stage came to, drafts that nobody has reviewed among it.
    """
    try:
        step = next(flow)
        while True:
            if isinstance(step, StageStarted | StageEnded):
                if isinstance(step, StageStarted):
                    if watch is not None:
                        watch(step)
                elif results is not None:
                    results(step)
                step = flow.send(None)
                continue
            try:
                value = await step.arun()
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        flow.close()


def run_sequentially(makers: Sequence[Callable[[], Flow[Any]]]) -> Flow[list[Any]]:
    """Several flows one after the other."""
    results = []
    for make in makers:
        results.append((yield from make()))
    return results


def run_concurrently(makers: Sequence[Callable[[], Flow[Any]]]) -> Flow[list[Any]]:
    """Several independent flows at once. The first error, in their order, is raised when all have ended."""
    if len(makers) == 1:
        return (yield from run_sequentially(makers))
    results: list[Any] = yield _at_once([IOStep(partial(_drive, make), partial(_adrive, make)) for make in makers])
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _drive(make: Callable[[], Flow[Any]]) -> Any:
    return run_sync(make())


async def _adrive(make: Callable[[], Flow[Any]]) -> Any:
    return await run_async(make())


def _at_once(steps: Sequence[IOStep]) -> IOStep:
    """The result is a list; an exception stands for the result of a step that failed."""

    def run_all() -> list[Any]:
        with ThreadPoolExecutor(max_workers=min(8, len(steps))) as pool:
            futures = [pool.submit(contextvars.copy_context().run, step.run) for step in steps]
            return [future.exception() or future.result() for future in futures]

    async def arun_all() -> list[Any]:
        return await asyncio.gather(*(step.arun() for step in steps), return_exceptions=True)

    return IOStep(run_all, arun_all)
