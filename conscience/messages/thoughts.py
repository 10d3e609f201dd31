"""The thinking that a server shows beside an answer: in fields of its message, or in parts of its content.

Each provider has names of its own for them, and some say the same in several: all that was thought is read, each thing once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
"""Of a message, or of a delta of one, likeliest first."""

PARTS = frozenset({"thinking", "reasoning", "reasoning_content", "redacted_thinking"})
"""Types of a content's parts."""

_TEXTS = ("thinking", "reasoning", "reasoning_content", "text", "summary", "content")
"""Where a part has its text, or parts that have."""

DEEPEST = 8
"""Parts in parts that are read; what is deeper is nobody's form."""


def is_thought(part: Any) -> bool:
    """Whether a part of a content is thinking."""
    return isinstance(part, Mapping) and part.get("type") in PARTS


def thought_of(message: Mapping[str, Any]) -> str:
    """All that the fields of a message say was thought."""
    return "\n".join(filter(str.strip, each_once(message)))


def each_once(message: Mapping[str, Any]) -> list[str]:
    """What the fields of a message, or of a delta, say was thought, as it stands there; what another field says too is left
    out."""
    return _distinct(text_of(message.get(name)) for name in FIELDS)


def text_of(value: Any, deepest: int = DEEPEST) -> str:
    """All text in a part, or in a list of parts; these may be objects, as SDKs have them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "".join(text_of(item, deepest - 1) for item in value) if deepest else ""
    inner = value if isinstance(value, Mapping) else getattr(value, "__dict__", None)
    if not isinstance(inner, Mapping) or not deepest:
        return ""
    return "\n".join(_distinct(text_of(inner.get(name), deepest - 1) for name in _TEXTS))


def _distinct(texts: Iterator[str]) -> list[str]:
    kept: dict[str, str] = {}
    for text in filter(None, texts):
        bare = "".join(text.split())
        if not any(bare in other for other in kept):
            kept[bare] = text
    return list(kept.values())
