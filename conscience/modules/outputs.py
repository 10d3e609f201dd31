"""What a module returned: the fields of the answer, and the written reasoning beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from conscience.messages.rendering import value_text

REASONING_FIELDS = ("reasoning", "rationale", "trajectory")
"""Output fields that hold written reasoning: reviewed like the answer, but not part of it."""


def text_field(signature: type[dspy.Signature] | None) -> str | None:
    """The last text output of a signature, its reasoning aside: what a given answer or a refusal replaces; or None."""
    if signature is None:
        return None
    texts = [name for name, field in signature.output_fields.items() if field.annotation is str and name != "reasoning"]
    return texts[-1] if texts else None


def split_reasoning(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer's fields, and those that hold written reasoning. A field that is all there is stays the answer, whatever
    its name."""
    answer = dict(fields)
    written = {name: answer.pop(name) for name in REASONING_FIELDS if answer.get(name) and len(answer) > 1}
    return answer, written


def whole_reasoning(written: Mapping[str, Any], thoughts: Iterable[str]) -> str:
    """All reasoning behind an answer, as one text: what was thought on the way to it, each thing once, and what its fields
    hold."""
    said = reasoning_text(written)
    kept: list[str] = []
    for thought in thoughts:
        if not any(thought in other for other in (said, *kept)):
            kept.append(thought)
    return "\n\n".join(filter(None, [*kept, said]))


def reasoning_text(written: Mapping[str, Any]) -> str:
    """The written reasoning as one text."""
    return "\n".join(value_text(value) for value in written.values() if value)
