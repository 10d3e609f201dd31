"""The messages of a chat request: which shapes a conversation may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience.chat.checks import NAME, OBJECT, TEXT, ParameterError, is_list, kind, one_of
from conscience.messages.completion import Message

_ROLES = one_of("system", "developer", "user", "assistant", "tool")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file", "video_url"),
    "assistant": ("text", "refusal"),
    "tool": ("text", "image_url"),
}


def checked_messages(value: Any) -> tuple[Message, ...]:
    """A conversation as it was sent.

    Raises:
        ParameterError: it is empty, or a message of it has no shape that a chat can have.
    """
    if not is_list(value):
        raise ParameterError("messages", f"{kind(value)} is not a list of messages")
    if not value:
        raise ParameterError("messages", "there is no message", hint="send at least one")
    for number, message in enumerate(value):
        _check(f"messages[{number}]", message)
    if not any(_says_something(message) for message in value):
        raise ParameterError("messages", "the request is empty", hint="say what is asked")
    return tuple(dict(message) for message in value)


def _check(at: str, message: Any) -> None:
    OBJECT.check(at, message)
    role = message.get("role")
    _ROLES.check(f"{at}.role", role)
    content = message.get("content")
    if role == "tool":
        NAME.check(f"{at}.tool_call_id", message.get("tool_call_id"))
    if message.get("name") is not None:
        TEXT.check(f"{at}.name", message["name"])
    if message.get("tool_calls") is not None:
        _check_calls(f"{at}.tool_calls", role, message["tool_calls"])
    if message.get("function_call") is not None:
        raise ParameterError(f"{at}.function_call", "is the old form of tool_calls", hint="use tool_calls")
    if content is None:
        if role != "assistant":
            raise ParameterError(f"{at}.content", "is missing")
    elif is_list(content):
        for number, part in enumerate(content):
            _check_part(f"{at}.content[{number}]", role, part)
    elif not isinstance(content, str):
        raise ParameterError(f"{at}.content", f"{kind(content)} is not a text or a list of parts")


def _check_calls(at: str, role: str, calls: Any) -> None:
    if role != "assistant":
        raise ParameterError(at, f"a {role} calls no tools")
    if not is_list(calls):
        raise ParameterError(at, f"{kind(calls)} is not a list")
    for number, call in enumerate(calls):
        OBJECT.check(f"{at}[{number}]", call)
        function = call.get("function")
        OBJECT.check(f"{at}[{number}].function", function)
        NAME.check(f"{at}[{number}].function.name", function.get("name"))
        TEXT.check(f"{at}[{number}].function.arguments", function.get("arguments"))


def _check_part(at: str, role: str, part: Any) -> None:
    OBJECT.check(at, part)
    one_of(*_PARTS[role]).check(f"{at}.type", part.get("type"))
    sort = part["type"]
    if sort in ("text", "refusal"):
        TEXT.check(f"{at}.{sort}", part.get(sort))
    elif sort == "image_url":
        image = part.get("image_url")
        OBJECT.check(f"{at}.image_url", image)
        NAME.check(f"{at}.image_url.url", image.get("url"))
    else:
        OBJECT.check(f"{at}.{sort}", part.get(sort))


def _says_something(message: Message) -> bool:
    content = message.get("content")
    if isinstance(content, str):
        return bool(content.strip())
    parts = content if is_list(content) else ()
    return any(part.get("type") != "text" or part["text"].strip() for part in parts or ())
