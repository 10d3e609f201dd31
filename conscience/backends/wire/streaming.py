"""A streamed chat answer on the light wire: its events as they come, and the chat body that they make together."""

from __future__ import annotations

from collections.abc import Sequence

from conscience._dspy.lm import lm_errors
from conscience.backends.wire.connection import EVENT_STREAM, HTTPFailure, Reply
from conscience.backends.wire.http_client import apost
from conscience.backends.wire.replies import chat_body, json_object, readable, reply_error
from conscience.backends.wire.sse import Events
from conscience.messages.chunks import Chunks
from conscience.messages.completion import Body, Message

_DONE = b"[DONE]"


class ChatStream:
    """Takes the body of one streamed answer in pieces.

    Args:
        chunks: is fed each chunk as soon as it has come.
        model: for errors.
    """

    def __init__(self, chunks: Chunks, model: str) -> None:
        self._chunks = chunks
        self._model = model
        self._events = Events()
        self._done = False

    def __call__(self, data: bytes) -> bool:
        """Reads a piece; whether the answer has ended, whatever the server still sends.

        Raises:
            LMError: an event tells of an error, or is no JSON object.
        """
        for event in self._events.feed(data):
            self._read(event)
        return self._done

    def close(self) -> bool:
        """The body has ended; whether the server said so of the answer."""
        for event in self._events.close():
            self._read(event)
        return self._done

    def _read(self, event: bytes) -> None:
        if event.strip() == _DONE:
            self._done = True
        elif not self._done and event.strip():
            self._chunks.feed(json_object(Reply(200, {}, event), self._model))


async def astreamed(
    sent: tuple[str, Sequence[tuple[str, str]], bytes],
    messages: Sequence[Message],
    seconds: float,
    chunks: Chunks,
    model: str,
) -> Body:
    """The chat body of a request that asks for a stream; a server may answer it with a plain body.

    Args:
        sent: address, headers and body of the request.
        messages: of the request, to estimate its tokens where the server counts none.
        seconds: for the whole answer.
        chunks: is fed the answer's as they come.
        model: for errors.

    Raises:
        LMError: the answer is an error, cannot be read, or has no end.
        HTTPFailure, TimeoutError, UnknownScheme: see ``apost``.
    """
    stream, ended = ChatStream(chunks, model), False
    try:
        reply = await apost(*sent, seconds, stream)
    except HTTPFailure:
        if not chunks.finish_reason:
            raise  # else all of the answer is there: what was cut off would have been its usage
    else:
        if not 200 <= reply.status < 300:
            raise reply_error(reply, model)
        if not reply.headers.get("content-type", "").lower().startswith(EVENT_STREAM.decode()):
            return chat_body(reply, model)
        stream(reply.content)
        ended = stream.close()
    return streamed_body(chunks, messages, model, ended=ended)


def streamed_body(chunks: Chunks, messages: Sequence[Message], model: str, *, ended: bool = False) -> Body:
    """The chat body of all chunks of an answer; its tokens are estimated where nobody counted them.

    Args:
        chunks: what came.
        messages: what was asked.
        model: for errors.
        ended: whether the server said that nothing more is to come, other than by a finish reason.

    Raises:
        LMError: the answer has no end, or was broken off.
    """
    if not (ended or chunks.finish_reason):
        raise lm_errors.LMServerError("the stream ended before the answer did", model=model)
    return readable({**chunks.body(), "usage": chunks.counted(messages)}, model)
