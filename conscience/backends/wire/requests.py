"""Which requests are handed on as they are: parameters, tools and messages that LiteLLM would not change either."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from conscience.backends.models import table as model_table
from conscience.backends.models.table import Route
from conscience.messages.completion import Message

_MESSAGE_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})


def thinking_refuses(params: Mapping[str, Any], to: Route) -> list[str] | None:
    """Of these parameters, the ones that a model that thinks refuses; None where LiteLLM must say."""
    effort = params.get("reasoning_effort")
    if effort is not None and not isinstance(effort, str):
        return None
    if model_table.is_o_series(to):
        return ["temperature"] if params.get("temperature", 1) != 1 else []
    if effort is not None:
        said = (to.entry or {}).get(f"supports_{effort}_reasoning_effort")
        if said is False or (effort == "xhigh" and said is not True):
            return ["reasoning_effort"]
    plain = effort == "none" if effort is not None else not model_table.thinks_by_default(to)
    plain = plain and (to.entry or {}).get("supports_none_reasoning_effort") is True
    sampling = sorted(params.keys() & {"logprobs", "top_logprobs", "top_p"})
    return [] if plain else sampling + (["temperature"] if params.get("temperature", 1) != 1 else [])


def has_plain_values(params: Mapping[str, Any], to: Route) -> bool:
    """Whether the parameters' values are such as LiteLLM hands on untouched."""
    form = params.get("response_format")
    if form is not None:
        if not isinstance(form, dict):
            return False
        if form.get("type") == "json_schema":
            if to.provider == "groq" and "schema" not in model_table.features(to):
                return False
            if "json_schema" not in form:
                return False
    if (tools := params.get("tools")) is not None:
        newer = re.match(r"gpt-(5\.[4-9]|5\.\d\d|[6-9])", to.model)
        if newer or not isinstance(tools, list) or not all(map(_is_plain_tool, tools)):
            return False
    return not (to.provider == "openrouter" and params.get("reasoning_effort") == "max")


def _is_plain_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict) or "cache_control" in tool:
        return False
    schema = function.get("parameters", {})
    combined = {"oneOf", "anyOf", "allOf", "enum", "const", "not"}
    try:
        return isinstance(schema, dict) and not combined & schema.keys() and b'"pattern"' not in orjson.dumps(schema)
    except orjson.JSONEncodeError:
        return False


def plain_messages(messages: Sequence[Message], to: Route) -> list[dict[str, Any]] | None:
    """The messages as they are sent; None where LiteLLM must turn them into something else first."""
    sent = []
    for message in messages:
        kept = {name: value for name, value in message.items() if value is not None}
        if not kept.keys() <= _MESSAGE_KEYS or not _is_plain(kept, to):
            return None
        sent.append(kept)
    if to.provider == "mistral" and sent and sent[-1]["role"] == "assistant":
        return None
    if model_table.is_o_series(to) and not (to.entry or {}).get("supports_system_messages"):
        return [{"content": m["content"], "role": "user"} if m["role"] == "system" else m for m in sent]
    return sent


def _is_plain(message: Mapping[str, Any], to: Route) -> bool:
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant", "tool") or ("name" in message and not to.dialect.names):
        return False
    if not isinstance(content, str):
        if role == "user" and to.dialect.parts and isinstance(content, list):
            return bool(content) and all(map(_is_plain_part, content))
        if not (content is None and role == "assistant" and message.get("tool_calls")):
            return False
    called = "tool_calls" in message or "tool_call_id" in message or role == "tool"
    return not called or (to.provider == "openai" and not model_table.is_o_series(to))


def _is_plain_part(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    if part.get("type") == "text":
        return part.keys() == {"type", "text"} and isinstance(part["text"], str)
    image = part.get("image_url")
    return (
        part.get("type") == "image_url"
        and part.keys() == {"type", "image_url"}
        and isinstance(image, dict)
        and image.keys() <= {"url", "detail"}
    )
