"""What a signature tells the model, and when a plain chat turn tells it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import dspy

from conscience._dspy.lm import settings
from conscience.errors import ConfigurationError
from conscience.messages.completion import Message
from conscience.messages.requests import check_request, check_string, is_conversation, turns

SAY_NOTHING = (frozenset({"request", "question"}), frozenset({"response", "answer"}))
"""Names of an input and of an output that tell a model no more than a chat turn does: the user's turn *is* the request or
question, the assistant's *is* the response or answer. Any other name ("english -> french") is the task itself."""


def as_signature(value: Any) -> type[dspy.Signature]:
    """A signature from its string or its class.

    Raises:
        ConfigurationError: the string is none.
    """
    try:
        signature: type[dspy.Signature] = dspy.Signature(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError) as error:
        raise ConfigurationError(f"{value!r} is no DSPy signature: {error}", hint='write "question -> answer"') from None
    return signature


def is_plain(signature: type[dspy.Signature]) -> bool:
    """Whether a plain chat turn loses nothing of this signature: one text in, one text out, under names that say nothing
    more, and no description, constraint or default. Instructions may be there: they become the system turn."""
    ins, outs = signature.input_fields, signature.output_fields
    if len(ins) != 1 or len(outs) != 1 or any(map(says_something, signature.fields.items())):
        return False
    return SAY_NOTHING[0].issuperset(ins) and SAY_NOTHING[1].issuperset(outs)


def says_something(named: tuple[str, Any]) -> bool:
    """Whether a field, its name aside, has anything to tell a model: a type, a description, a constraint, a default."""
    name, field = named
    extra = field.json_schema_extra or {}
    described = extra.get("desc") not in (None, "", f"${{{name}}}")
    return field.annotation is not str or described or bool(extra.get("constraints")) or not field.is_required()


def asks_plainly(signature: type[dspy.Signature], inputs: Mapping[str, Any]) -> bool:
    """Whether a plain chat turn loses nothing of this call: the signature is plain, its input a text or chat messages, and
    nobody has configured an adapter of DSPy's, whose format would then be theirs to choose."""
    if settings.adapter is not None or not is_plain(signature):
        return False
    (name,) = signature.input_fields
    value = inputs.get(name)
    return isinstance(value, str) or is_conversation(value)


def plain_messages(
    signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A plain chat: instructions the user wrote as the system turn, demos as earlier turns, then the request."""
    (name,), (output,) = signature.input_fields, signature.output_fields
    messages: list[Message] = []
    if instructions := own_instructions(signature):
        messages.append({"role": "system", "content": instructions})
    for demo in demos:
        if demo.get(name) and demo.get(output):
            messages += turns(check_request({name: demo[name]}))
            messages.append({"role": "assistant", "content": str(demo[output])})
    value = inputs[name]
    if isinstance(value, str):
        check_string(value, f"input {name!r}")
        messages.append({"role": "user", "content": value})
    else:
        messages += turns(check_request({name: value}))
    return [dict(message) for message in messages]


def own_instructions(signature: type[dspy.Signature]) -> str:
    """The instructions that somebody wrote; empty where DSPy wrote its own, which only repeat the names."""
    written = str(signature.instructions)
    return "" if written == _default_instructions(tuple(signature.input_fields), tuple(signature.output_fields)) else written


def task_text(signature: type[dspy.Signature]) -> str:
    """The task in words, for a reviewer: instructions, names and descriptions; empty where they say nothing."""
    silent = SAY_NOTHING[0].issuperset(signature.input_fields) and SAY_NOTHING[1].issuperset(signature.output_fields)
    lines = [own_instructions(signature) if silent else str(signature.instructions)]
    for name, field in signature.fields.items():
        description = (field.json_schema_extra or {}).get("desc")
        if description and description != f"${{{name}}}":
            lines.append(f"{name}: {description}")
    return "\n".join(line for line in lines if line)


@lru_cache(maxsize=256)
def _default_instructions(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    return str(dspy.Signature(f"{', '.join(inputs)} -> {', '.join(outputs)}").instructions)
