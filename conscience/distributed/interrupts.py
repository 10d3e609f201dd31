"""Ctrl-C in a long run: the first one asks for its end, a second one forces it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

_stop: ContextVar[asyncio.Event | None] = ContextVar("conscience_stop", default=None)


def stop_asked() -> asyncio.Event:
    """Set once the run that this is a part of is to end; one that is never set outside of any."""
    return _stop.get() or asyncio.Event()


@asynccontextmanager
async def interruptible() -> AsyncIterator[asyncio.Event]:
    """The event is set by the first Ctrl-C or SIGTERM; a second one acts as usual. Only the main thread can listen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in signals:
            loop.add_signal_handler(number, first, number)
    token = _stop.set(stop)
    try:
        yield stop
    finally:
        _stop.reset(token)
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in signals:
                loop.remove_signal_handler(number)
