"""Limits of time for work that does not keep to one by itself."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from conscience._base.flow import IOStep
from conscience.usage import IdleTime, pausing

T = TypeVar("T")


def call_within(seconds: float, work: Callable[[], T]) -> T:
    """Does work in a thread of its own, which is left behind when the time is up; here where there is no limit.

    Raises:
        TimeoutError: the time is up.
    """
    if math.isinf(seconds):
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # it is the caller's, whatever it is
            done.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    return done.result(seconds)


def within(seconds: float, step: IOStep) -> IOStep:
    """The same step, which ends in a TimeoutError when the time is up."""

    async def arun() -> Any:
        async with asyncio.timeout(seconds):
            return await step.arun()

    return IOStep(partial(call_within, seconds, step.run), arun)


def pausing_these(clocks: tuple[IdleTime, ...], step: IOStep) -> IOStep:
    """The same step; what starts up in it stops these clocks."""

    def run() -> Any:
        with pausing(clocks):
            return step.run()

    async def arun() -> Any:
        with pausing(clocks):
            return await step.arun()

    return IOStep(run, arun)
