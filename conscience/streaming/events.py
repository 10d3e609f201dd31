"""What a streamed call shows, in order: the stages as they begin, the reviewed text in pieces, then the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Self, TypeAlias

from conscience._base.flow import Flow, StageStarted, run_async
from conscience._base.iterating import iterated
from conscience._dspy.streams import words
from conscience.backends.streams import ended
from conscience.messages.tool_turns import CALLS
from conscience.outcome import Outcome
from conscience.streaming.release import Emit

Event: TypeAlias = StageStarted | str | Outcome
"""Of a stream: where the call is, a piece of reviewed text, or, last, what it came to."""


class ProgramStream:
    """The events of one call, for ``async for`` or for a plain ``for``, once.

    The call begins with the first event that is asked for. Whoever leaves early ends it, with ``aclose`` or ``close``, or by
    losing it: generation stops, and its connection is closed.

    Args:
        flow: the call's, given what takes its stages, and the texts that it releases before its end.
        within: where the call is begun.
    """

    def __init__(self, flow: Callable[[Emit], Flow[Outcome]], within: Callable[[], AbstractContextManager[object]]) -> None:
        self._events = partial(_events, flow, within)
        self._async: AsyncGenerator[Event, None] | None = None
        self._plain: Iterator[Event] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._async is None:
            self._async = self._events()
        return await anext(self._async)

    async def aclose(self) -> None:
        """Ends the call, if it has not ended."""
        if self._async is not None:
            await self._async.aclose()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._plain is None:
            self._plain = iterated(self._events)
        return next(self._plain)

    def close(self) -> None:
        """Ends the call, if it has not ended; for plain iteration."""
        if self._plain is not None:
            self._plain.close()  # type: ignore[attr-defined]


async def _events(
    flow: Callable[[Emit], Flow[Outcome]], within: Callable[[], AbstractContextManager[object]]
) -> AsyncGenerator[Event, None]:
    events: asyncio.Queue[StageStarted | str | None] = asyncio.Queue()
    with within():
        task = asyncio.ensure_future(run_async(flow(events.put_nowait), events.put_nowait))
    task.add_done_callback(lambda _: events.put_nowait(None))
    released = ""
    try:
        while (event := await events.get()) is not None:
            if isinstance(event, str):
                released += event
            yield event
        outcome = await task
    finally:
        await ended(task)
    for word in words(_text(outcome, released)[len(released) :]):
        yield word
    yield outcome


def _text(outcome: Outcome, released: str) -> str:
    """The text that an outcome returns, of which the released text is the beginning: beside calls of tools, its field."""
    texts = [outcome.response, *(value for value in outcome.values() if isinstance(value, str))]
    if outcome.get(CALLS):
        texts = [*texts[1:], ""]
    return next(text for text in texts if text.startswith(released))
