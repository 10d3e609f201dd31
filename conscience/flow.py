"""A flow is written once, as a generator of steps, and driven sync or async.

A step holds the same piece of work in both forms. A driver runs it, sends the result back in, or throws the error in,
so a flow reads like plain code with ``yield`` where it waits. A ``Stage`` tells whoever watches where the flow is.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a flow waits for."""

    run: Callable[[], Any]
    arun: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a flow is: generate, gate, critique or revise."""

    name: str


Flow = Generator[Step | Stage, Any, T]
Watcher = Callable[[Stage], None]


def as_step(make: Callable[[], Flow[Any]]) -> Step:
    """A whole flow as one step of another, or of several at once."""
    return Step(lambda: drive(make()), lambda: adrive(make()))


def drive(flow: Flow[T], watch: Watcher | None = None) -> T:
    """Runs a flow to its end in this thread."""
    try:
        step = next(flow)
        while True:
            if isinstance(step, Stage):
                if watch is not None:
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


async def adrive(flow: Flow[T], watch: Watcher | None = None) -> T:
    """Runs a flow to its end on the running event loop."""
    try:
        step = next(flow)
        while True:
            if isinstance(step, Stage):
                if watch is not None:
                    watch(step)
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


def together(steps: Sequence[Step]) -> Step:
    """Several independent steps at once; the result is the list of theirs, an exception standing for a failed one."""
    if len(steps) == 1:
        only = steps[0]

        def run_one() -> list[Any]:
            try:
                return [only.run()]
            except Exception as error:
                return [error]

        async def arun_one() -> list[Any]:
            try:
                return [await only.arun()]
            except Exception as error:
                return [error]

        return Step(run_one, arun_one)

    def run_all() -> list[Any]:
        with ThreadPoolExecutor(max_workers=min(8, len(steps))) as pool:
            futures = [pool.submit(contextvars.copy_context().run, step.run) for step in steps]
            return [future.exception() or future.result() for future in futures]

    async def arun_all() -> list[Any]:
        return await asyncio.gather(*(step.arun() for step in steps), return_exceptions=True)

    return Step(run_all, arun_all)
