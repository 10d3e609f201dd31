"""An answer that is heard while it is generated: by whom, and what becomes of a stream that breaks.

A streamed answer goes the way of any other: the same cache keys, retries, fallbacks and accounts. Whoever listens hears each
attempt from its beginning. An attempt that fails before its listener has let anything of it out is made again, or by the
next model; after that there is no other answer, and the call fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from conscience._dspy.lm import LMError
from conscience._redaction import raise_alone
from conscience.backends.failures import backend_failure
from conscience.backends.limits.payers import Payers
from conscience.backends.retry import Deadline
from conscience.backends.transports import Answer, Transport
from conscience.backends.wire.replies import token_count
from conscience.messages.answers import settled
from conscience.messages.chunks import STREAMING, Chunks
from conscience.messages.completion import Completion, Message, storable
from conscience.usage import CallUsage


class Listener(Protocol):
    """Who hears an answer while it is generated; called on the event loop of the call."""

    @property
    def committed(self) -> bool:
        """Whether something of the attempt under way has been let out: no other may take its place."""

    def begins(self, messages: Sequence[Message], params: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        """An attempt begins, and what was heard of another one is void.

        Args:
            messages, params: what was asked.
            sent: the parameters as the model is sent them, with its own settings.
        """

    def hears(self, chunks: Chunks) -> None:
        """More of the attempt has come."""


_listener: ContextVar[Listener | None] = ContextVar("conscience_listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Answers that are asked for in here, async, are streamed and heard, as far as their models stream."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def as_streamed(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a call, which ask for a stream where somebody listens."""
    return params if _listener.get() is None else {**params, **STREAMING}


async def heard(
    transport: Transport,
    messages: Sequence[Message],
    params: Mapping[str, Any],
    sent: Mapping[str, Any],
    seconds: float,
    answer: Callable[[Answer], Answer],
    payers: Payers,
    deadline: Deadline,
) -> Answer:
    """One attempt at one model, heard by whoever listens.

    Args:
        transport, messages, sent, seconds: see ``Transport.acall``.
        params: what the call was asked with.
        answer: what takes the reply for an answer, or raises.
        payers: pay for a stream that breaks or is left, by an estimate of its tokens.
        deadline: tells whether it was the budget's seconds that ended.

    Raises:
        LMError: the attempt failed.
        ConscienceError: it failed after something of it was let out, so it is not made again.
    """
    listener = _listener.get()
    if listener is None:
        return answer(await transport.acall(messages, sent, seconds))
    listener.begins(messages, params, sent)
    if not sent.get("stream"):  # the model refuses it
        plain = {name: value for name, value in sent.items() if name not in STREAMING}
        return answer(await transport.acall(messages, plain, seconds))
    chunks = _Heard(listener)
    ended = False
    try:
        reply = await transport.acall(messages, sent, seconds, chunks)
        ended = True
        return answer(reply)
    except LMError as error:
        if not listener.committed:
            listener.begins(messages, params, sent)
            raise
        failure = backend_failure([(transport, error)], messages, out_of_time=deadline.missed)
    finally:
        if not ended and chunks.pieces:
            usage = chunks.counted(messages)
            counts = {name: token_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
            body = {**chunks.body(), "usage": {**usage, **counts}}
            payers.enter(CallUsage.of(Completion(body, transport.name, transport.price(body)), 0.0))
    raise_alone(failure)


class _Heard(Chunks):
    """Chunks that somebody is told of as they come."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def feed(self, chunk: Mapping[str, Any]) -> None:
        super().feed(chunk)
        self._listener.hears(self)


def so_far(chunks: Chunks, messages: Sequence[Message]) -> Completion:
    """What has come of an answer, as it would be read if it ended here: its thinking is beside the text.

    A later part of the answer may show that what stands here as text was thinking.
    """
    return Completion(settled(storable(chunks.body()), messages), "")


class TokenStream:
    """A listener that hands the text of an answer on, piece by piece."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self.committed = False
        self._messages: Sequence[Message] = ()
        self._sent = 0

    def begins(self, messages: Sequence[Message], params: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        self._messages = messages

    def hears(self, chunks: Chunks) -> None:
        self.send(so_far(chunks, self._messages).text)

    def send(self, text: str) -> None:
        """Hands on what of the text so far is new. Blanks at its end wait: they may be those before thinking."""
        if len(shown := text.rstrip()) > self._sent:
            self.pieces.put_nowait(shown[self._sent :])
            self._sent, self.committed = len(shown), True


async def token_stream(ask: Callable[[], Awaitable[Completion]]) -> AsyncIterator[str | Completion]:
    """The text of an answer in pieces as they come, then the answer.

    Args:
        ask: asks for it.
    """
    listener = TokenStream()
    with heard_by(listener):
        task = asyncio.ensure_future(ask())
    task.add_done_callback(lambda _: listener.pieces.put_nowait(None))
    try:
        while (piece := await listener.pieces.get()) is not None:
            yield piece
        completion = await task
    finally:
        await ended(task)
    if rest := completion.text[listener._sent :]:
        yield rest
    yield completion


async def ended(task: asyncio.Future[Any]) -> None:
    """Ends a task and waits for that: then its connections are closed, and its accounts kept."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # whoever awaited it has seen it, or has left
