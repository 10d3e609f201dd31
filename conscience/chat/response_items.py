"""The input of OpenAI's Responses API as chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience.chat.checks import NAME, OBJECT, TEXT, ParameterError, is_list, kind, one_of
from conscience.messages.rendering import value_text

_ROLES = one_of("system", "developer", "user", "assistant")
_TEXTS = ("input_text", "output_text", "text")


def input_messages(value: Any, *, strict: bool = True) -> list[dict[str, Any]]:
    """The conversation in an input: a text, or items of messages, calls and what they returned.

    Items of reasoning are left out: thinking of earlier turns is no part of a chat.

    Args:
        value: the input.
        strict: refuse what is none of these; otherwise it becomes a text: a part by its name, an item as JSON.

    Raises:
        ParameterError: names the item that is none of these.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not is_list(value):
        raise ParameterError("input", f"{kind(value)} is not a text or a list of items")
    messages: list[dict[str, Any]] = []
    for number, item in enumerate(value):
        at = f"input[{number}]"
        OBJECT.check(at, item)
        sort = item.get("type") or "message"
        if sort == "message":
            messages.append(_message(at, item, strict))
        elif sort == "function_call":
            _add_call(at, item, messages)
        elif sort == "function_call_output":
            messages.append(_returned(at, item, strict))
        elif sort != "reasoning" and strict:
            raise ParameterError(f"{at}.type", "is no item that can be read here")
        elif sort != "reasoning":
            messages.append({"role": "assistant", "content": value_text(item)})
    return messages


def _message(at: str, item: Mapping[str, Any], strict: bool) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    _ROLES.check(f"{at}.role", role)
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not is_list(content):
        raise ParameterError(f"{at}.content", f"{kind(content)} is not a text or a list of parts")
    parts = [_part(f"{at}.content[{number}]", part, strict) for number, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts) and (role != "user" or len(parts) == 1):
        return {"role": role, "content": "\n".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _part(at: str, part: Any, strict: bool) -> dict[str, Any]:
    try:
        return _chat_part(at, part)
    except ParameterError:
        if strict:
            raise
        return {"type": "text", "text": f"({part.get('type')})" if isinstance(part, Mapping) else str(part)}


def _chat_part(at: str, part: Any) -> dict[str, Any]:
    OBJECT.check(at, part)
    sort = part.get("type")
    if sort in _TEXTS:
        TEXT.check(f"{at}.text", part.get("text"))
        return {"type": "text", "text": part["text"]}
    if sort == "refusal":
        TEXT.check(f"{at}.refusal", part.get("refusal"))
        return {"type": "text", "text": part["refusal"]}
    if sort == "input_image":
        if part.get("file_id") is not None:
            raise ParameterError(f"{at}.file_id", "no files are stored here", hint="send image_url")
        NAME.check(f"{at}.image_url", part.get("image_url"))
        image = {"url": part["image_url"], **({"detail": part["detail"]} if part.get("detail") else {})}
        return {"type": "image_url", "image_url": image}
    if sort == "input_file":
        for name in ("file_id", "file_url"):
            if part.get(name) is not None:
                raise ParameterError(f"{at}.{name}", "no files are stored or fetched here", hint="send file_data")
        NAME.check(f"{at}.file_data", part.get("file_data"))
        return {"type": "file", "file": {k: part[k] for k in ("filename", "file_data") if part.get(k) is not None}}
    raise ParameterError(f"{at}.type", "is no part that can be read here")


def _add_call(at: str, item: Mapping[str, Any], messages: list[dict[str, Any]]) -> None:
    """A call belongs to the assistant's turn before it, with the others that it made at once."""
    NAME.check(f"{at}.call_id", item.get("call_id"))
    NAME.check(f"{at}.name", item.get("name"))
    TEXT.check(f"{at}.arguments", item.get("arguments"))
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    function = {"name": item["name"], "arguments": item["arguments"]}
    messages[-1].setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": function})


def _returned(at: str, item: Mapping[str, Any], strict: bool) -> dict[str, Any]:
    NAME.check(f"{at}.call_id", item.get("call_id"))
    output = item.get("output")
    if is_list(output):
        content: Any = [_part(f"{at}.output[{number}]", part, strict) for number, part in enumerate(output)]
    else:
        TEXT.check(f"{at}.output", output)
        content = output
    return {"role": "tool", "tool_call_id": item["call_id"], "content": content}
