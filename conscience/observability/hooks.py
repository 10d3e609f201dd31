"""Functions of an application that are told each outcome; what they raise harms no answer."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from conscience.errors import ConfigurationError
from conscience.outcome import Outcome

logger = logging.getLogger("conscience")

OutcomeHook: TypeAlias = Callable[[Outcome], Any]
"""Sync or async; what it returns is not looked at."""

MOST_PENDING = 1000
"""Async hooks that run at once; further ones are left out."""

_pending: set[asyncio.Task[None]] = set()


class Hooks(tuple[OutcomeHook, ...]):
    """Some hooks. Copies of a program share them: they belong to the application, as what they hold does."""

    def __deepcopy__(self, memo: Any) -> Hooks:
        return self


def hooks_of(given: OutcomeHook | Sequence[OutcomeHook] | None) -> Hooks:
    """The hooks that somebody passed: one, several or none.

    Raises:
        ConfigurationError: one cannot be called.
    """
    hooks = Hooks(given if isinstance(given, list | tuple) else () if given is None else (given,))
    if wrong := [hook for hook in hooks if not callable(hook)]:
        raise ConfigurationError(f"on_outcome={wrong[0]!r} cannot be called")
    return hooks


def run_hooks(hooks: Sequence[OutcomeHook], outcome: Outcome, loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Tells each hook the outcome: a copy, since it may not change what the caller gets.

    A sync hook is called at once. An async one runs as a task of its own on the event loop of the call; without any, it is
    run to its end here.

    Args:
        loop: that of the call, where this is another thread.
    """
    for hook in hooks:
        try:
            result = hook(outcome.copy())
        except Exception as error:
            _report(hook, error)
            continue
        if inspect.isawaitable(result):
            _follow(hook, result, loop)


def _follow(hook: OutcomeHook, result: Awaitable[Any], loop: asyncio.AbstractEventLoop | None) -> None:
    """Sees an async hook through, wherever it can run."""
    awaited = _contained(hook, result)
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is not None:
        _as_task(hook, awaited, running)
    elif loop is None or not _handed_over(loop, hook, awaited):
        asyncio.run(awaited)


def _handed_over(loop: asyncio.AbstractEventLoop, hook: OutcomeHook, awaited: Any) -> bool:
    """Whether the loop of the call still runs, and takes it."""
    try:
        if loop.is_running():
            loop.call_soon_threadsafe(_as_task, hook, awaited, loop)
            return True
    except RuntimeError:  # it was closed just now
        pass
    return False


def _as_task(hook: OutcomeHook, awaited: Any, loop: asyncio.AbstractEventLoop) -> None:
    if len(_pending) >= MOST_PENDING:
        _pending.difference_update([task for task in list(_pending) if task.done()])  # of loops that ended before they told
    if len(_pending) >= MOST_PENDING:
        awaited.close()
        logger.warning("on_outcome: %s is left out: %d hooks are running", _name(hook), MOST_PENDING)
        return
    task = loop.create_task(awaited)
    _pending.add(task)
    task.add_done_callback(_pending.discard)


async def _contained(hook: OutcomeHook, result: Awaitable[Any]) -> None:
    try:
        await result
    except Exception as error:
        _report(hook, error)


def _report(hook: OutcomeHook, error: Exception) -> None:
    """Says what failed and where, without the error's words: they may hold the outcome's texts."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    logger.warning("on_outcome: %s failed: %s%s", _name(hook), type(error).__name__, where)


def _name(hook: OutcomeHook) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)
