"""The chunks of a streamed answer, joined into the chat body that would have come without a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conscience.messages.completion import Body, Message
from conscience.messages.rendering import content_text
from conscience.messages.thoughts import each_once, is_thought, text_of

STREAMING: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
"""The chat parameters that ask for a stream, and for its usage in a last chunk."""

CHARACTERS_A_TOKEN = 4
"""Of a request, where nobody has counted its tokens."""


class Chunks:
    """What has come so far of one answer.

    Texts are joined by code points: half of a surrogate pair waits for its other half. Only the first choice is kept.

    Attributes:
        pieces: chunks that brought something of the answer: about as many as tokens.
        latest: the text that the last chunk brought; empty where it brought none.
        finish_reason: why the answer ended; empty as long as nothing said so.
        usage: as the server counted; None as long as it did not.
    """

    def __init__(self) -> None:
        self.pieces = 0
        self.latest = ""
        self.finish_reason = ""
        self.usage: Mapping[str, Any] | None = None
        self._about: Body = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: list[dict[str, Any]] = []
        self._logprobs: list[Any] = []
        self._error: Any = None

    def feed(self, chunk: Mapping[str, Any]) -> None:
        """Adds a chunk; what in it is not of a chunk's form is passed by."""
        for name in ("id", "created", "model", "system_fingerprint", "service_tier"):
            if chunk.get(name) is not None:
                self._about[name] = chunk[name]
        if isinstance(usage := chunk.get("usage"), Mapping):
            self.usage = usage
        self.latest = ""
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and choice.get("index") in (0, None):
                self._feed(choice)

    def _feed(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta") or choice.get("message")  # a server that does not stream a short answer
        if isinstance(delta, Mapping):
            said, called = self._text(delta), self._called(delta)
            self.pieces += said or called
        if isinstance(logprobs := choice.get("logprobs"), Mapping) and isinstance(logprobs.get("content"), list):
            self._logprobs += logprobs["content"]
        if choice.get("error"):
            self._error = choice["error"]
        if reason := choice.get("finish_reason"):
            self.finish_reason = str(reason)

    def _text(self, delta: Mapping[str, Any]) -> bool:
        content = delta.get("content")
        heard = [self._part(part) for part in content] if isinstance(content, list) else [self._add("content", content)]
        heard.append(self._add("refusal", delta.get("refusal")))
        heard.append(self._add("reasoning_content", "".join(each_once(delta))))
        return any(heard)

    def _part(self, part: Any) -> bool:
        """A part of a content that is a list, as Mistral's thinking models send it."""
        if is_thought(part):
            return self._add("reasoning_content", text_of(part))
        inner = part.get("text") if isinstance(part, Mapping) else None
        return self._add("content", content_text(inner) if isinstance(inner, str | list) else "")

    def _add(self, field: str, text: Any) -> bool:
        if not isinstance(text, str) or not text:
            return False
        self._texts.setdefault(field, []).append(text)
        if field == "content":
            self.latest += text
        return True

    def _called(self, delta: Mapping[str, Any]) -> bool:
        """A part of a tool's call: by its index, or, from servers that give none, a new one where it is named."""
        calls = delta.get("tool_calls")
        legacy = delta.get("function_call")
        parts: list[Any] = calls if isinstance(calls, list) else [{"index": 0, "function": legacy}] if legacy else []
        for part in (part for part in parts if isinstance(part, Mapping)):
            function = part.get("function") if isinstance(part.get("function"), Mapping) else {}
            call = self._call(part.get("index"), begins=bool(part.get("id") or (function or {}).get("name")))
            call["id"] = part.get("id") or call["id"]
            if isinstance(signed := part.get("provider_specific_fields"), Mapping):
                call["provider_specific_fields"] = dict(signed)
            for name in ("name", "arguments"):
                if isinstance(text := (function or {}).get(name), str):
                    call["function"][name] += text
        return bool(parts)

    def _call(self, index: Any, *, begins: bool) -> dict[str, Any]:
        known = next((call for call in self._calls if index is not None and call["index"] == index), None)
        if known is None and (index is not None or begins or not self._calls):
            known = {"index": index, "id": None, "type": "function", "function": {"name": "", "arguments": ""}}
            self._calls.append(known)
        return known if known is not None else self._calls[-1]

    @property
    def calls_a_tool(self) -> bool:
        """Whether a call of a tool has begun."""
        return bool(self._calls)

    def text(self, field: str = "content") -> str:
        """A field of the message so far; half of a surrogate pair at its end is left out until the other half has come."""
        parts = self._texts.get(field)
        if not parts:
            return ""
        if len(parts) > 1:
            parts[:] = ["".join(parts)]
        text = parts[0]
        if text.isascii():
            return text
        parts[0] = text = _paired(text)
        return text[:-1] if not self.finish_reason and "\ud800" <= text[-1] <= "\udbff" else text

    def body(self) -> Body:
        """The chat body so far."""
        message: Body = {"role": "assistant", "content": self.text() if "content" in self._texts else None}
        for field in ("refusal", "reasoning_content"):
            if text := self.text(field):
                message[field] = text
        if self._calls:
            message["tool_calls"] = [{key: value for key, value in call.items() if key != "index"} for call in self._calls]
        choice: Body = {"index": 0, "message": message, "finish_reason": self.finish_reason or None}
        if self._logprobs:
            choice["logprobs"] = {"content": self._logprobs}
        if self._error:
            choice["error"] = self._error
        return {**self._about, "object": "chat.completion", "choices": [choice], "usage": self.usage}

    def counted(self, messages: Sequence[Message]) -> Mapping[str, Any]:
        """The usage as the server counted it, else estimated: the tokens of what was asked by its characters, those of the
        answer by its pieces."""
        if self.usage is not None:
            return self.usage
        asked = sum(len(content_text(message.get("content"))) for message in messages) // CHARACTERS_A_TOKEN
        return {"prompt_tokens": asked, "completion_tokens": self.pieces, "total_tokens": asked + self.pieces}


def _paired(text: str) -> str:
    """The text with the two halves of each surrogate pair as one character; lone halves stay."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
