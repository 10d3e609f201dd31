"""Streams whose text comes as it passes: generated over the client's own connections, and reviewed window by window."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import openai
import orjson

from conscience._base.iterating import iterated
from conscience.chat.answering import astream
from conscience.chat.requests import ChatRequest
from conscience.chat.windows import can_be_told_early
from conscience.errors import BackendError
from conscience.integrations.openai.doors import api_of, asked_of, door
from conscience.integrations.openai.guard import REVIEWED, Guard
from conscience.integrations.openai.transport import FAILURES, dumped
from conscience.messages.completion import Body
from conscience.program import Conscience

DONE = b"data: [DONE]\n\n"
_NO_PARAMETERS = ("model", "messages", "n", "stream", "stream_options")


def streamed_request(guard: Guard | None, options: Any) -> ChatRequest | None:
    """What a request asks for where its answer can be told window by window; None where it is held, or not reviewed.

    Raises:
        ParameterError, ConfigurationError: as for any request of a client with a conscience.
    """
    if guard is None or guard.release != "window" or api_of(options.method, options.url) != "chat":
        return None
    found = door("chat", asked_of(options.json_data, options.extra_json, options.content))
    given = orjson.loads(orjson.dumps(found.asked, default=_plain))
    request = ChatRequest(
        model=str(given.get("model") or ""),
        messages=tuple(given.get("messages") or ()),
        parameters={k: v for k, v in given.items() if k not in _NO_PARAMETERS and v is not None},
        n=given.get("n") or 1,
        stream=found.stream,
        include_usage=found.include_usage,
    )
    return request if found.stream and request.messages and can_be_told_early(request) else None


async def aopened(client: Any, program: Conscience, request: ChatRequest, options: Any) -> Any:
    """A response whose body is the stream; it is there when its first piece is, so that what fails before fails here.

    Raises:
        openai.OpenAIError: generation failed, as the package says it.
        ConscienceError: as a call of the program does.
    """
    pieces = astream(program, request, release="window")
    with _packages_errors():
        first = await anext(pieces)
    sent = _request(client, options)
    return _response(sent, _AsyncLines.on(sent, first, pieces))


def opened(client: Any, program: Conscience, request: ChatRequest, options: Any) -> Any:
    """The sync form of ``aopened``."""
    with _packages_errors():
        pieces = iterated(lambda: astream(program, request, release="window"))
        first = next(pieces)
    sent = _request(client, options)
    return _response(sent, _Lines.on(sent, first, pieces))


class _AsyncLines:
    """The body of a response, as HTTP clients read it."""

    @classmethod
    def on(cls, request: Any, first: Body, pieces: AsyncGenerator[Body, None]) -> Any:
        return type(cls.__name__, (cls, _of(request, "AsyncByteStream")), {})(first, pieces)

    def __init__(self, first: Body, pieces: AsyncGenerator[Body, None]) -> None:
        self._first, self._pieces = first, pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _line(self._first)
        async for piece in self._pieces:
            yield _line(piece)
        yield DONE

    async def aclose(self) -> None:
        await self._pieces.aclose()


class _Lines:
    """The same for a client that is not async."""

    @classmethod
    def on(cls, request: Any, first: Body, pieces: Iterator[Body]) -> Any:
        return type(cls.__name__, (cls, _of(request, "SyncByteStream")), {})(first, pieces)

    def __init__(self, first: Body, pieces: Any) -> None:
        self._first, self._pieces = first, pieces

    def __iter__(self) -> Iterator[bytes]:
        yield _line(self._first)
        yield from map(_line, self._pieces)
        yield DONE

    def close(self) -> None:
        self._pieces.close()


@contextmanager
def _packages_errors() -> Iterator[None]:
    """A failure of generation as the package raises it."""
    failures: list[openai.OpenAIError] = []
    token = FAILURES.set(failures)
    try:
        yield
    except BackendError:
        if failures:
            raise failures[-1] from None
        raise
    finally:
        FAILURES.reset(token)


def _request(client: Any, options: Any) -> Any:
    """The request that the response answers. It was not sent as such, so it says no more than the package looks for."""
    headers = options.headers if isinstance(options.headers, Mapping) else {}
    kept = {name: value for name, value in headers.items() if isinstance(value, str)}
    return client._client.build_request("POST", str(client._prepare_url(options.url)), headers=kept)


def _response(request: Any, lines: Any) -> Any:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return _of(request, "Response")(200, headers=headers, stream=lines, request=request, extensions={REVIEWED: True})


def _of(request: Any, name: str) -> Any:
    """A class of the HTTP package that a request is of: httpx2, or httpx where the caller brought such a client."""
    return getattr(sys.modules[type(request).__module__.partition(".")[0]], name)


def _line(piece: Body) -> bytes:
    return b"data: %b\n\n" % dumped(piece)


def _plain(value: Any) -> Any:
    """What of a request's values JSON has no form for, as the package would write it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_unset=True)
    if not isinstance(value, Mapping) and hasattr(value, "__iter__"):
        return list(value)
    raise TypeError
