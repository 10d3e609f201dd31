"""``dspy.streamify`` around a program: its listeners find the fields, and only what was reviewed is sent.

While a call runs, nothing that it asks a model is streamed (``silent``): drafts, answers to the gate, critiques and
revisions are not for anybody to see. What goes out meanwhile are status messages, made from no more than the name of what
begins or ends. When the call is over, the text that it returns is sent in words, as DSPy's own stream events.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import anyio
import dspy
from dspy.clients.engines.lifecycle import aclosing_stream
from dspy.clients.engines.streaming import EngineChunk
from dspy.streaming.messages import StatusMessage, StatusStreamingCallback, StreamResponse
from dspy.streaming.streaming_listener import find_predictor_for_stream_listeners

from conscience.messages.chunks import Chunks
from conscience.messages.rendering import value_text

Fields = Mapping[str, Any]

SILENT: Mapping[str, Any] = {"send_stream": None, "stream_listeners": []}
"""What ``dspy.streamify`` sets, taken back: nothing leaves from where these hold."""


class ChunkStream:
    """Stands where ``dspy.streamify`` waits for what an LM streams, and feeds it to the chunks of one answer."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    async def send(self, chunk: Any) -> None:
        """Takes a chunk, of DSPy's own engines or of LiteLLM."""
        self._chunks.feed(_plain(chunk))


async def feed(chunks: Chunks, stream: Any) -> None:
    """Feeds LiteLLM's stream to the chunks of an answer; it is closed, whatever happens."""
    async with aclosing_stream(stream):
        async for chunk in stream:
            chunks.feed(_plain(chunk))


def _plain(chunk: Any) -> Mapping[str, Any]:
    if hasattr(chunk, "model_dump"):
        return dict(chunk.model_dump(exclude_none=True, warnings=False))
    return chunk if isinstance(chunk, Mapping) else {}


def words(text: str) -> list[str]:
    """A text in pieces of one word each, with the blanks that follow it; joined they are the text."""
    return re.findall(r"\s*\S+\s*|\s+", text)


class ReviewedStream:
    """Where ``dspy.streamify`` waits for what a program call has to show; made at the call's beginning.

    Args:
        ours: whether a listener's predictor is the program, or one of its own.
    """

    def __init__(self, ours: Callable[[Any], bool]) -> None:
        self._stream = dspy.settings.send_stream
        listeners = dspy.settings.stream_listeners or []
        self._listeners = [listener for listener in listeners if ours(listener.predict)]
        self._plain = not listeners
        self._loop = _loop() if self._stream is not None else None
        self._waiting: list[Any] = []

    def send(self, fields: Fields, model: str) -> None:
        """Sends the fields of a call that was driven sync."""
        if self._loop is None:
            return
        if (
            _running() is self._loop
        ):  # a sync call that blocks the loop: nobody takes the words in turn, and there is little room
            for event in self._events(fields, model, whole=True):
                self.send_soon(event)
            return
        asyncio.run_coroutine_threadsafe(self._send_all(fields, model), self._loop).result()

    async def asend(self, fields: Fields, model: str) -> None:
        """Sends the fields of a call that was driven async."""
        if self._loop is None:
            return
        if _running() is self._loop:
            await self._send_all(fields, model)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._send_all(fields, model), self._loop))

    async def _send_all(self, fields: Fields, model: str) -> None:
        try:
            while self._waiting:
                await self._stream.send(self._waiting.pop(0))
            for event in self._events(fields, model):
                await self._stream.send(event)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # whoever listened has gone

    def send_soon(self, event: Any) -> None:
        """Sends an event at once, or where there is no room for it before the fields."""
        if self._loop is None:
            return
        if _running() is self._loop:
            self._send_nowait(event)
        else:
            self._loop.call_soon_threadsafe(self._send_nowait, event)

    def _send_nowait(self, event: Any) -> None:
        self._waiting.append(event)
        try:
            while self._waiting:
                self._stream.send_nowait(self._waiting[0])
                del self._waiting[0]
        except anyio.WouldBlock:
            return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._waiting.clear()

    def _events(self, fields: Fields, model: str, whole: bool = False) -> Iterator[Any]:
        """Each listener's field in words; without any listener the fields' text, as the chunks of a model's answer."""
        if self._plain:
            for piece in _pieces("\n".join(filter(None, map(_text, fields.values()))), whole):
                yield _chunk(model, piece)
        for name, value in fields.items():
            for listener in self._listeners:
                if listener.signature_field_name != name or not (pieces := _pieces(_text(value), whole)):
                    continue
                listener.stream_start = listener.stream_end = True
                listener.cache_hit = False
                for number, piece in enumerate(pieces, 1):
                    yield StreamResponse(listener.predict_name, name, piece, is_last_chunk=number == len(pieces))


class _Progress(StatusStreamingCallback):  # type: ignore[misc]
    """Status messages of the steps inside of a call, which hold nothing of what is asked or answered there."""

    def __init__(self, stream: ReviewedStream, provider: Any) -> None:
        super().__init__(provider)
        self._stream = stream

    def on_tool_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        if instance.name != "finish":
            self._say(self.status_message_provider.tool_start_status_message, instance, {})

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if outputs != "Completed.":
            self._say(self.status_message_provider.tool_end_status_message, None)

    def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._say(self.status_message_provider.lm_start_status_message, instance, {})

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self._say(self.status_message_provider.lm_end_status_message, None)

    def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._say(self.status_message_provider.module_start_status_message, instance, {})

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self._say(self.status_message_provider.module_end_status_message, None)

    def _say(self, message: Callable[..., Any], *about: Any) -> None:
        try:
            said = message(*about)
        except (LookupError, TypeError, AttributeError, ValueError):
            return  # it wanted to say what was asked or answered
        if said:
            self._stream.send_soon(StatusMessage(said))


def silent(stream: ReviewedStream) -> AbstractContextManager[Any]:
    """Nothing is streamed in here but status messages without content."""
    if dspy.settings.send_stream is None:
        return nullcontext()
    callbacks = [
        _Progress(stream, callback.status_message_provider) if isinstance(callback, StatusStreamingCallback) else callback
        for callback in dspy.settings.callbacks
    ]
    return dspy.settings.context(callbacks=callbacks, **SILENT)  # type: ignore[no-any-return]


class Listened(dspy.Predict):  # type: ignore[misc]
    """Stands for a program where ``dspy.streamify`` looks for who writes a field; it is never called.

    Two predictors of a program, one that drafts and one that revises, write the same fields, and what a callable returns
    no predictor writes: neither of which DSPy's search allows for.
    """

    def __init__(self, program: Any, fields: Sequence[str]) -> None:
        super().__init__(dspy.Signature({name: (str, dspy.OutputField()) for name in fields}))
        self.program = program


def looking_for() -> list[str] | None:
    """The fields whose writers ``dspy.streamify`` looks for right now; None where somebody else asks for predictors."""
    frame, search = sys._getframe(1), find_predictor_for_stream_listeners.__code__
    for _ in range(12):
        if frame is None:
            return None
        if frame.f_code is search:
            return [one.signature_field_name for one in frame.f_locals["stream_listeners"] if not one.predict]
        frame = frame.f_back  # type: ignore[assignment]
    return None


def listened(program: Any, predictors: Sequence[tuple[str, Any]], wanted: Sequence[str]) -> list[tuple[str, Listened]]:
    """Who writes which of the wanted fields: each field once. The last predictor under ``generate`` comes first. Without a
    signature of the answer any field may be among what is returned, and no other predictor's is meant.

    Args:
        program: whom they belong to.
        predictors: its predictors by name.
        wanted: names of fields.
    """
    left, found = list(dict.fromkeys(wanted)), []
    free = program.generate.signature is None
    writers = [pair for pair in reversed(predictors) if pair[0].startswith("generate.")]
    writers += [] if free else [pair for pair in predictors if pair not in writers]
    for name, predictor in writers:
        if fields := [field for field in predictor.signature.output_fields if field in left]:
            found.append((name, Listened(program, fields)))
            left = [field for field in left if field not in fields]
    return [*found, ("generate", Listened(program, left))] if left and free else found


def _loop() -> asyncio.AbstractEventLoop | None:
    """The event loop on which the stream lives, from this thread or from the one that it works for."""
    if (running := _running()) is not None:
        return running
    try:
        return anyio.from_thread.run_sync(asyncio.get_running_loop)
    except RuntimeError:  # a thread of somebody else's
        return None


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _pieces(text: str, whole: bool) -> list[str]:
    return [text] * bool(text) if whole else words(text)


def _text(value: Any) -> str:
    """A value as it is streamed; of DSPy's own types, those that are text: a picture comes with the prediction."""
    if isinstance(value, dspy.Type):
        return next((text for name in ("code", "content") if isinstance(text := getattr(value, name, None), str)), "")
    return value_text(value)


def _chunk(model: str, piece: str) -> EngineChunk:
    delta = EngineChunk(content=piece)
    return EngineChunk(
        id=None, model=model, predict_id=None, choices=[EngineChunk(index=0, delta=delta, finish_reason=None)]
    )
