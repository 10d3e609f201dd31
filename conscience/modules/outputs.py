"""What a module returned: the fields of the answer, the written reasoning beside them, and the exchange they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dspy

from conscience.backends.bound import BoundBackend
from conscience.messages.completion import Completion, Message
from conscience.messages.rendering import value_text

REASONING_FIELDS = ("reasoning", "rationale", "trajectory")
"""Output fields that hold written reasoning: reviewed like the answer, but not part of it."""


def text_field(signature: type[dspy.Signature] | None) -> str | None:
    """The last text output of a signature, its reasoning aside: what a given answer or a refusal replaces; or None."""
    if signature is None:
        return None
    texts = [name for name, field in signature.output_fields.items() if field.annotation is str and name != "reasoning"]
    return texts[-1] if texts else None


def without_reasoning(fields: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The answer's fields, and the written reasoning. A field that is all there is stays the answer, whatever its name."""
    answer = dict(fields)
    written = [value_text(answer.pop(name)) for name in REASONING_FIELDS if answer.get(name) and len(answer) > 1]
    return answer, "\n".join(written)


def exchange_of(outputs: Mapping[str, Any], model: BoundBackend) -> tuple[tuple[Message, ...], Completion] | None:
    """The last exchange whose answer holds every text among the outputs: what was said is what is returned. None where a
    module made its outputs of more than that."""
    texts = [value.strip() for value in outputs.values() if isinstance(value, str)]

    def holds(said: str) -> bool:
        return all(text in said or json.dumps(text)[1:-1] in said for text in texts)

    return next(((messages, reply) for messages, reply in reversed(model.exchanges) if holds(reply.text)), None)
