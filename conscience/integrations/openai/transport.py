"""The user's own client as the way to the models that review and revise: its address, its credentials, its connections."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any

import openai
import orjson

from conscience._dspy.lm import LMError, lm_errors
from conscience._dspy.streams import feed
from conscience.backends.limits.timeouts import call_within
from conscience.backends.models import table as model_table
from conscience.backends.models.table import Route
from conscience.backends.transports import Answer
from conscience.backends.wire.connection import HTTPFailure, Reply
from conscience.backends.wire.replies import reply_error
from conscience.backends.wire.requests import plain_messages
from conscience.backends.wire.streaming import streamed_body
from conscience.backends.wire.transport import OpenAIWireTransport, wire_failure
from conscience.messages.chunks import STREAMING, Chunks
from conscience.messages.completion import Message

PATH = "/chat/completions"

FAILURES: ContextVar[list[openai.OpenAIError] | None] = ContextVar("conscience_client_failures", default=None)
"""Where the package's own errors are kept for a caller who is to be told of them in its words."""

BESIDE: ContextVar[Mapping[str, Any]] = ContextVar("conscience_client_beside", default=MappingProxyType({}))
"""What goes with every call of the review because it went with the request: headers and query of the caller's own."""

_END = object()

LOOP: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("conscience_client_loop", default=None)
"""The event loop on which an async client was called: a review that is done behind an answer, in a thread, asks there."""


class ClientTransport(OpenAIWireTransport):
    """A model behind an openai client, for the review; for generation, too, where its stream is reviewed as it comes.

    Args:
        client: unguarded, and without retries of its own: those are the backend's.
        model: as the client's server calls it.
    """

    def __init__(self, client: Any, model: str) -> None:
        name = f"openai/{model}"
        to = model_table.route(name) or Route("openai", model, None)
        options = {"api_base": str(client.base_url), "api_key": client.api_key or None}
        super().__init__(to if to.provider == "openai" else Route("openai", model, None), name, options)
        self._openai = client

    def prepare(self) -> None:
        """Nothing is to be done: the client is there."""

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        body = self._body(messages, params)
        try:
            if isinstance(self._openai, openai.AsyncOpenAI):
                said = self._from_a_thread(body, seconds)
            else:
                said = call_within(seconds, lambda: self._openai.post(PATH, **_sent(body, seconds)))
        except (TimeoutError, ValueError, openai.OpenAIError) as error:
            raise self._failure(error, seconds) from None
        return self._read(said)

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        """With ``chunks`` it is what generates that is asked: its parameters are the caller's own."""
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                if chunks is not None:
                    await feed(chunks, self._streamed(messages, params, seconds))
                    body = streamed_body(chunks, messages, self.name)
                    return body, self.price(body)
                said = await self._asked(self._body(messages, params), seconds)
        except (TimeoutError, ValueError, openai.OpenAIError) as error:
            raise self._failure(error, seconds) from None
        return self._read(said)

    async def _asked(self, body: Mapping[str, Any], seconds: float) -> Any:
        if isinstance(self._openai, openai.AsyncOpenAI):
            return await self._openai.post(PATH, **_sent(body, seconds))
        return await asyncio.to_thread(partial(self._openai.post, PATH, **_sent(body, seconds)))

    async def _streamed(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float
    ) -> AsyncGenerator[Any, None]:
        """The chunks of a stream, by either kind of client."""
        sent = _sent({"model": self._to.model, "messages": list(messages), **params}, seconds)
        if isinstance(self._openai, openai.AsyncOpenAI):
            async with await self._openai.post(PATH, stream=True, stream_cls=openai.AsyncStream[object], **sent) as stream:
                async for chunk in stream:
                    yield chunk
            return
        post = partial(self._openai.post, PATH, stream=True, stream_cls=openai.Stream[object], **sent)
        plain = await asyncio.to_thread(post)
        try:
            while (chunk := await asyncio.to_thread(next, plain, _END)) is not _END:
                yield chunk
        finally:
            plain.close()

    def _from_a_thread(self, body: Mapping[str, Any], seconds: float) -> Any:
        loop = LOOP.get()
        if loop is None or not loop.is_running():
            raise wire_failure(HTTPFailure("the client's event loop has ended"), self.name, seconds)
        future = asyncio.run_coroutine_threadsafe(self._openai.post(PATH, **_sent(body, seconds)), loop)
        try:
            return future.result(None if math.isinf(seconds) else seconds)
        except TimeoutError:
            future.cancel()
            raise

    def _body(self, messages: Sequence[Message], params: Mapping[str, Any]) -> dict[str, Any]:
        asked = {name: value for name, value in params.items() if value is not None and name not in STREAMING}
        more = asked.pop("extra_body", None) or {}
        shaped = self._shaped(asked)
        plain = plain_messages(messages, self._to)
        sent = [dict(message) for message in messages] if plain is None else plain
        return {"model": self._to.model, "messages": sent, **(asked if shaped is None else shaped), **more}

    def _read(self, said: Any) -> Answer:
        content = said.encode(errors="replace") if isinstance(said, str) else dumped(said)
        return self._answer(Reply(200, {"content-type": "application/json"}, content))

    def _failure(self, error: Exception, seconds: float) -> LMError:
        if (failures := FAILURES.get()) is not None and isinstance(error, openai.OpenAIError):
            failures.append(error)
        if isinstance(error, openai.APIStatusError):
            response = error.response
            headers = {name.lower(): value for name, value in response.headers.items()}
            return reply_error(Reply(response.status_code, headers, response.content), self.name)
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return wire_failure(TimeoutError(), self.name, seconds)
        if isinstance(error, openai.APIConnectionError):
            return wire_failure(HTTPFailure(str(error.__cause__ or error)), self.name, seconds)
        # Not a word of it: what cannot be read may be an answer.
        failure: LMError = lm_errors.LMServerError(f"the answer cannot be read: {type(error).__name__}", model=self.name)
        return failure


def dumped(value: Any) -> bytes:
    """A value that JSON was read into, as JSON again."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # whole numbers beyond 64 bits, halves of a surrogate pair, or nested deeper than it goes
        return json.dumps(value).encode()


def _sent(body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    options = {**BESIDE.get(), "timeout": None if math.isinf(seconds) else seconds}
    return {"cast_to": object, "body": body, "options": options}


@contextmanager
def going_with(beside: Mapping[str, Any]) -> Iterator[None]:
    """Calls that are made in here go with these headers and this query."""
    token = BESIDE.set(beside)
    try:
        yield
    finally:
        BESIDE.reset(token)
