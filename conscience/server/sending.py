"""Answers on their way out: whole or as server-sent events, for as long as the client stays and the time lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from starlette.types import Message, Receive, Send

from conscience.server.bodies import ClientGone, encoded
from conscience.server.errors import ApiError

Event = Mapping[str, Any]

SILENCE = 10.0
"""Seconds without an event after which a comment is sent: proxies cut what is silent for a minute, and a held answer is."""
EARLY = 3.0
"""Seconds that the response waits for its first event, so that what fails by then still fails with a status."""
AHEAD = 8
"""Events that may wait for a slow client."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx holds the stream back
]


class Reply:
    """Where a response is sent; knows how far it got.

    Attributes:
        status: the response's; 0 before it has begun.
        headers: those that every response gets, and then the response's.
        complete: whether its end was sent.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [*message.get("headers", ()), *self.headers]
            message = {**message, "headers": self.headers}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        await self._send(message)

    async def break_off(self, error: ApiError) -> None:
        """Ends a stream with the event of an error. Another response that has begun stays without its end, which no client
        takes for the whole."""
        if self.status and not self.complete and _HEADERS[0] in self.headers:
            await self(_body(_framed(error.body()), more=False))


async def while_there(receive: Receive, reply: Reply, work: Awaitable[None]) -> None:
    """Does the work, and gives it up when the client goes: nobody pays for an answer that nobody reads.

    Args:
        receive: has given the whole body already.
        reply: what the work sends to.

    Raises:
        ClientGone: the client went before the response was complete.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and not reply.complete:
            raise ClientGone
        await working
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_events(reply: Reply, events: AsyncGenerator[Event, None], last: bytes) -> None:
    """Sends events as they come.

    Args:
        events: each a JSON object; one with a ``type`` is sent under that name too.
        last: what ends them.
    """
    async with _pumped(events) as queue:
        event = await _next(queue, EARLY)
        await reply({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        while not isinstance(event, _End):
            await reply(_body(b": \n\n" if event is None else _framed(event)))
            event = await _next(queue, SILENCE)
        await reply(_body(last, more=False))


class _End:
    """The stream is over."""


@asynccontextmanager
async def _pumped(events: AsyncGenerator[Event, None]) -> AsyncIterator[asyncio.Queue[Event | _End | Exception]]:
    """The events through a queue: one task drives the generator to its end, as what it sets in its context needs."""
    queue: asyncio.Queue[Event | _End | Exception] = asyncio.Queue(AHEAD)

    async def pump() -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    await queue.put(event)
        except Exception as error:
            await queue.put(error)
        else:
            await queue.put(_End())

    task = asyncio.create_task(pump())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _next(queue: asyncio.Queue[Event | _End | Exception], seconds: float) -> Event | _End | None:
    """The next event; None where none comes in that time."""
    try:
        async with asyncio.timeout(seconds):
            event = await queue.get()
    except TimeoutError:
        return None
    if isinstance(event, Exception):
        raise event
    return event


def _framed(event: Event) -> bytes:
    name = event.get("type")
    head = b"event: %s\n" % name.encode() if isinstance(name, str) and name.isprintable() else b""
    return head + b"data: " + encoded(event) + b"\n\n"


def _body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
