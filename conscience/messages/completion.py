"""One answer of a model: the OpenAI chat body as plain JSON, and typed views of the parts that this library reads.

Every backend's answer is brought to this form first, so caching, capabilities and accounting are written once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Message = Mapping[str, Any]
"""A chat message: ``{"role": …, "content": …}`` and whatever else its role needs (tool_calls, tool_call_id, name)."""

Body = dict[str, Any]
"""An OpenAI chat completion as plain JSON types."""


def clean(value: Any) -> Any:
    """A JSON value in which every text can be stored and sent on: lone surrogates become U+FFFD, NUL bytes are dropped."""
    try:
        return value if b"\\u0000" not in orjson.dumps(value) else _cleaned(value)
    except TypeError:  # half of a surrogate pair, whole numbers beyond 64 bits
        return _cleaned(value)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        plain = value.isascii() and "\0" not in value  # as most are
        return value if plain else re.sub("[\ud800-\udfff]", "\ufffd", value.replace("\0", ""))
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(inner) for key, inner in value.items()}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value


def storable(value: Any) -> Any:
    """A clean JSON value in which every number can be stored too: what JSON has no form for is null, and whole numbers of
    more than 64 bits are fractions."""
    if isinstance(value, dict):
        return {_cleaned(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [storable(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return float(value) if abs(value) < 10**300 else None
    return _cleaned(value)


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer.

    Attributes:
        body: the whole answer, JSON types only.
        model: the backend that gave it, as the user named it.
        dollars: its price, or None where the model has none on LiteLLM's list.
        cached: whether it came from the response cache.
        fallback: whether another model than the backend's first gave it.
        key: what it is kept under in a cache or journal; None where it is not.
    """

    body: Body
    model: str
    dollars: float | None = None
    cached: bool = False
    fallback: bool = False
    key: str | None = None

    @property
    def _choice(self) -> Mapping[str, Any]:
        choices: Sequence[Mapping[str, Any]] = self.body.get("choices") or [{}]
        return choices[0]

    @property
    def message(self) -> Mapping[str, Any]:
        """The message of the first choice; empty where there is none."""
        message: Mapping[str, Any] = self._choice.get("message") or {}
        return message

    @property
    def text(self) -> str:
        """The written answer; a provider's refusal field counts as what the model said."""
        content = self.message.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
        return str(content or self.message.get("refusal") or "")

    @property
    def reasoning(self) -> str:
        """The provider's own reasoning content, where it shows any."""
        return str(self.message.get("reasoning_content") or self.message.get("reasoning") or "")

    @property
    def finish_reason(self) -> str:
        """Why the answer ended: stop, length, tool_calls, …; empty where the backend does not say."""
        return str(self._choice.get("finish_reason") or "")

    @property
    def first_token(self) -> Sequence[tuple[str, float]]:
        """The candidates for the first token with their log-probabilities (nats), likeliest first; may be empty."""
        content = (self._choice.get("logprobs") or {}).get("content") or []
        top = (content[0].get("top_logprobs") or ()) if content else ()
        if isinstance(top, Mapping):  # thousands, see ``compact``
            return sorted(((token, value) for token, value in top.items() if value is not None), key=lambda item: -item[1])
        shown = [content[0], *top] if content else []
        known = [entry for entry in shown if entry.get("token") is not None and entry.get("logprob") is not None]
        candidates = {str(entry["token"]): float(entry["logprob"]) for entry in known}
        return sorted(candidates.items(), key=lambda item: -item[1])

    def tokens(self) -> tuple[int, int, int]:
        """Input, output and reused input tokens."""
        usage = self.body.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        return (
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            int(details.get("cached_tokens") or 0),
        )
