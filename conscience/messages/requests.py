"""What may be sent: requests as chat messages, and what no provider can receive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience._base.text import text_fault
from conscience.errors import InputError
from conscience.messages.completion import Message
from conscience.messages.rendering import Request, request_text, value_text


def check_request(inputs: Mapping[str, Any]) -> Request:
    """The request that the inputs make: one input as it is (text or chat messages), several with their names. With a
    ``dspy.History`` among them they are a conversation.

    Raises:
        InputError: it is empty, or holds what no provider can receive.
    """
    for name, value in inputs.items():
        if isinstance(value, str):
            check_string(value, f"input {name!r}")
    inputs = {name: value for name, value in inputs.items() if value is not None}
    values = list(inputs.values())
    request: Request
    if len(values) > 1 and (history := next(filter(_is_history, values), None)) is not None:
        request = _with_history(history, {name: value for name, value in inputs.items() if value is not history})
    elif len(values) == 1 and is_conversation(values[0]):
        request = tuple(values[0])
    elif len(values) == 1:
        request = value_text(values[0])
    else:
        request = _named(inputs)
    check_text(request)
    if not request_text(request).strip():
        raise InputError("the request is empty", hint="say what is asked")
    return request


def _named(fields: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value_text(value)}" for name, value in fields.items())


def _is_history(value: Any) -> bool:
    """Whether it is a ``dspy.History`` with turns in it, told by its shape: each is a mapping of a signature's fields."""
    turns = getattr(value, "messages", None)
    return type(value).__name__ == "History" and isinstance(turns, list) and bool(turns)


def _with_history(history: Any, now: Mapping[str, Any]) -> Request:
    """A history's turns, and what is asked now: the fields that are inputs now were the user's then, too."""
    said: list[Message] = []
    for turn in history.messages:
        asked = {name: value for name, value in turn.items() if name in now}
        answered = {name: value for name, value in turn.items() if name not in now}
        said += [{"role": role, "content": _one_or_named(fields)}
                 for role, fields in (("user", asked), ("assistant", answered)) if fields]  # fmt: skip
    request = _one_or_named(now)
    return (*said, {"role": "user", "content": request}) if said else request


def _one_or_named(fields: Mapping[str, Any]) -> str:
    return value_text(next(iter(fields.values()))) if len(fields) == 1 else _named(fields)


def turns(request: Request) -> tuple[Message, ...]:
    """A request as chat messages."""
    return ({"role": "user", "content": request},) if isinstance(request, str) else tuple(request)


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of chat messages."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in value)
    )


def check_text(value: Any) -> None:
    """Refuses chat messages, or any part of them, that no provider can receive.

    Raises:
        InputError: NUL bytes or lone surrogates in a text of them, however deep.
    """
    _refuse(text_fault(value), "the request")


def check_string(text: str, what: str) -> None:
    """Refuses NUL bytes and lone surrogates, in one line.

    Args:
        text: what was given.
        what: what to call it.

    Raises:
        InputError: names the position.
    """
    _refuse(text_fault(text), what)


def _refuse(fault: str | None, what: str) -> None:
    if fault is not None:
        raise InputError(f"{what} {fault}", hint="remove it" if "NUL" in fault else "repair the text's encoding first")
