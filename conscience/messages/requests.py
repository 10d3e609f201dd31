"""What may be sent: requests as chat messages, and what no provider can receive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience.errors import InputError
from conscience.messages.completion import Message
from conscience.messages.rendering import Request, request_text, value_text


def check_request(inputs: Mapping[str, Any]) -> Request:
    """The request that the inputs make: one input as it is (text or chat messages), several with their names.

    Raises:
        InputError: it is empty, or holds what no provider can receive.
    """
    for name, value in inputs.items():
        if isinstance(value, str):
            check_string(value, f"input {name!r}")
    values = [value for value in inputs.values() if value is not None]
    request: Request
    if len(values) == 1 and is_conversation(values[0]):
        request = tuple(values[0])
        check_text(request)
    elif len(values) == 1:
        request = value_text(values[0])
    else:
        request = "\n".join(f"{name}: {value_text(value)}" for name, value in inputs.items() if value is not None)
    if not request_text(request).strip():
        raise InputError("the request is empty", hint="say what is asked")
    return request


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
    if isinstance(value, str):
        check_string(value, "the request")
    elif isinstance(value, Mapping):
        check_text(list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            check_text(inner)


def check_string(text: str, what: str) -> None:
    """Refuses NUL bytes and lone surrogates, in one line.

    Raises:
        InputError: names the position.
    """
    if "\0" in text:
        raise InputError(f"{what} holds a NUL byte at position {text.index(chr(0))}", hint="remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{what} holds a lone surrogate at position {error.start}", hint="repair the text's encoding first"
            ) from None
