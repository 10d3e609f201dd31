"""Code that is async, or turns out to be: told before it is called, finished after."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from conscience.errors import ConfigurationError

T = TypeVar("T")


def is_async(target: Callable[..., Any]) -> bool:
    """Whether a call gives something to await, as far as that shows: not of a lambda that returns a coroutine."""
    while isinstance(target, functools.partial):
        target = target.func
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None))  # noqa: B004


def refuse_in_loop() -> None:
    """Refuses async work that is called sync on a running event loop: nothing could wait for it there.

    Raises:
        ConfigurationError: a loop is running in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "what generates is async, and an event loop is running here", hint="await program.acall(...) instead of program(...)"
    )


def finished(result: Any) -> Any:
    """What a sync call returned; something to await is awaited on an event loop of its own.

    Raises:
        ConfigurationError: it has to be awaited, and a loop is running in this thread.
    """
    if not inspect.isawaitable(result):
        return result
    try:
        refuse_in_loop()
    except ConfigurationError:
        if inspect.iscoroutine(result):
            result.close()
        raise
    return asyncio.run(_wait(result))


async def afinished(target: Callable[[], Any], *, on_loop: bool) -> Any:
    """The async form: calls the target on the loop, or in a thread where it may block, and awaits what it returns."""
    result = target() if on_loop else await asyncio.to_thread(target)
    return await result if inspect.isawaitable(result) else result


async def together(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """The results of several, side by side, in order; where one fails, the others are ended."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _wait(result: Awaitable[Any]) -> Any:
    return await result
