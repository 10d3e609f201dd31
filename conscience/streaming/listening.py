"""An answer that is still being written: how much of it there is, and whether any of it may leave at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from conscience.backends.streams import so_far
from conscience.messages.chunks import Chunks
from conscience.messages.completion import Completion, Message
from conscience.messages.thinking import begins_in_words
from conscience.streaming.windows import window_end

LOOKS = 2
"""How many further pieces an end is looked for in after a sign of one: what follows it tells whether it is one."""

EVERY = 64
"""Characters after which it is looked for without any sign."""

_SIGN = re.compile(r"[.!?…\n。！？｡．।॥؟۔։።။៕༎]")
_FORMED = ("response_format", "logprobs", "modalities", "audio", "prediction")
"""Parameters that ask for more than a text, or for one that is of use only as a whole."""


class Window(NamedTuple):
    """A beginning of an answer that may be released once it is reviewed.

    Attributes:
        attempt: the attempt that it is of.
        text: from the answer's first character to the window's last.
        completion: the same as a model's answer, with the thinking before it.
        messages, params: what was asked.
    """

    attempt: int
    text: str
    completion: Completion
    messages: Sequence[Message]
    params: Mapping[str, Any]


class PartialAnswer:
    """Hears one answer, attempt by attempt (``conscience.backends.streams.Listener``).

    Args:
        thinks_aloud: whether the model is known to write its thinking where its answer stands: then nothing is text before
            its thinking was told apart.
    """

    def __init__(self, *, thinks_aloud: bool = False) -> None:
        self.committed = False
        self.attempt = 0
        self._formed = ""
        self._thinks_aloud = thinks_aloud
        self._news = asyncio.Event()
        self._messages: Sequence[Message] = ()
        self._params: Mapping[str, Any] = {}
        self._chunks: Chunks | None = None
        self._looks = 0
        self._unseen = 0

    def begins(self, messages: Sequence[Message], params: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        self.attempt += 1
        self._messages, self._params, self._chunks = messages, params, None
        formed = next((name for name in _FORMED if _asks(sent, name)), "n" if (sent.get("n") or 1) > 1 else "")
        self._formed = f"{formed} asks for more than a text" if formed else ""

    @property
    def held_because(self) -> str:
        """Why nothing of the attempt may leave, or could; empty where something may, and of an answer that was kept."""
        if self._formed or not self.attempt:
            return self._formed
        return "" if self._chunks is not None else "the model does not stream"

    def hears(self, chunks: Chunks) -> None:
        self._chunks = chunks
        if not (piece := chunks.latest):
            return
        self._unseen += len(piece)
        signed = _SIGN.search(piece) is not None
        if signed or self._unseen >= EVERY or (self._looks and piece.strip()):
            self._looks = LOOKS if signed else max(0, self._looks - 1)
            self._unseen = 0
            self._news.set()

    async def next_window(self, released: str, ended: asyncio.Future[Any]) -> Window | None:
        """The next window, as soon as there is one; None when the answer has ended before.

        Args:
            released: what of the answer was released.
            ended: is done when the answer is, or has failed.
        """
        wake = lambda _: self._news.set()  # noqa: E731 - to be taken off again
        ended.add_done_callback(wake)
        try:
            while not ended.done():
                if (window := self._window(released)) is not None:
                    return window
                self._news.clear()
                await self._news.wait()
        finally:
            ended.remove_done_callback(wake)
        return None

    def _window(self, released: str) -> Window | None:
        chunks = self._chunks
        if chunks is None or self._formed or chunks.calls_a_tool:
            return None
        completion = so_far(chunks, self._messages)
        text = completion.text
        thinking = not completion.reasoning and (self._thinks_aloud or begins_in_words(text))
        if thinking or not text.startswith(released):
            return None
        end = window_end(text, len(released))
        if end is None:
            return None
        message = {**completion.message, "content": text[:end]}
        body = {**completion.body, "choices": [{"index": 0, "message": message, "finish_reason": None}]}
        return Window(self.attempt, text[:end], Completion(body, completion.model), self._messages, self._params)


def _asks(params: Mapping[str, Any], name: str) -> bool:
    value = params.get(name)
    if name == "response_format" and isinstance(value, Mapping) and value.get("type") == "text":
        return False
    return bool(value) and value != ["text"]
