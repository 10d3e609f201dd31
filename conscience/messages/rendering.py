"""How a request and a draft are shown to a reviewer: whole, in order, and as data that cannot speak to it.

Text is data here. Chat-control tokens in it are broken, and delimiters carry a mark computed from the text itself, so a
draft can neither end its own quotation nor open a turn of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from conscience._base.files import digest
from conscience.messages.completion import Message
from conscience.messages.values import plain_value

Request = str | Sequence[Message]
"""What the user asked: a text, or chat messages."""


class Form(Protocol):
    """How output fields stand in a text."""

    def request(self) -> str:
        """What asks for a text in this form."""

    def read(self, text: str) -> dict[str, Any]:
        """The fields in a text of this form; raises ValueError where it is not in it."""

    def write(self, outputs: Mapping[str, Any]) -> str:
        """These outputs in this form."""


_ESCAPED = re.compile(r"\\\\|((?:\\u[0-9a-fA-F]{4})+)")
"""A backslash that is one, or letters by their numbers."""

_CONTROL = re.compile(
    r"<(?=[|｜])"  # ChatML, Llama 3, Phi, GPT, Cohere (<|END_OF_TURN_TOKEN|>), DeepSeek (full-width bars)
    r"|<(?=/?s>)|\[(?=/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT|THINK|IMG)\])"  # Llama 2, Mistral
    r"|<(?=<\s*/?SYS\s*>>)"
    r"|<(?=/?(?:start|end)_of_turn>|/?(?:start|end)_of_image>|[be]os>)"  # Gemma
    r"|<(?=/?(?:think|thinking|thought|reasoning|system|assistant|user|human|tool|tool_call|tool_response|tools|function)\s*>)"
    r"|<(?=extra_id_\d+>)"  # Nemotron
    r"|(?<=\n)(?=(?:Human|Assistant|System|User):)",  # completion prompts
    re.IGNORECASE,
)


MARK_LENGTH = 32
"""Hexadecimal digits of a mark, 128 bits: with 32 bits, a text that holds its own mark is found in a second."""


def as_data(text: str) -> str:
    """The text with the control tokens of common chat templates (``<|im_end|>``, ``[INST]``, …) broken by a space: no server
    obeys them."""
    return _CONTROL.sub(lambda match: match.group() + " ", text)


def quoted(**parts: str) -> str:
    """Named parts between unforgeable marks, in order; empty ones are left out.

    The mark is a digest of all the parts: a text that wanted to close its own mark would have to contain its own hash.
    """
    shown = {name: as_data(text).strip() for name, text in parts.items() if text.strip()}
    mark = digest(shown, MARK_LENGTH)
    return "\n\n".join(f"[{name} {mark}]\n{text}\n[end of {name} {mark}]" for name, text in shown.items())


def request_text(request: Request) -> str:
    """A request as one text: a single user turn as it is, a conversation with every turn and tool call named."""
    if isinstance(request, str):
        return request
    messages = list(request)
    if len(messages) == 1 and messages[0].get("role") == "user":
        return content_text(messages[0].get("content"))
    return turns_text(messages)


def turns_text(messages: Sequence[Message]) -> str:
    """Turns as one text, each under its role, tool calls and results named."""
    return "\n".join(_turn(message) for message in messages)


def content_text(content: Any) -> str:
    """The text of a message's content; parts that are not text are named."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(map(_part_text, content))


def _part_text(part: Any) -> str:
    if not isinstance(part, Mapping):
        return f"({type(part).__name__})"
    for name in ("text", "refusal"):
        if isinstance(part.get(name), str):
            return str(part[name])
    if part.get("type") == "tool_result":  # Anthropic's shape of both
        return f"A tool returned: {content_text(part.get('content'))}"
    if part.get("type") == "tool_use":
        return f"called tool {part.get('name', '')}({json.dumps(part.get('input'), ensure_ascii=False, default=str)})"
    return f"({part.get('type', 'part')})"


def _turn(message: Message) -> str:
    role = str(message.get("role", "user"))
    lines = []
    text = content_text(message.get("content"))
    if role in ("tool", "function"):
        name = message.get("name") or message.get("tool_call_id") or "tool"
        return f"Tool {name} returned: {text}"
    if text:
        lines.append(f"{role.capitalize()}: {text}")
    lines += [f"{role.capitalize()} {call}" for call in called_tools(message)]
    return "\n".join(lines) or f"{role.capitalize()}:"


def called_tools(message: Message) -> list[str]:
    """The calls of tools in a turn, each as ``called tool name(arguments)``; ``function_call`` is what they once were. The
    arguments are shown as the tool will read them, with the letters that JSON may write as ``\\u0042``."""
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    if isinstance(message.get("function_call"), Mapping):
        calls.append(message["function_call"])
    return [f"called tool {function.get('name', '')}({_spelled_out(function.get('arguments', ''))})" for function in calls]


def _spelled_out(arguments: Any) -> str:
    return _ESCAPED.sub(_letters, str(arguments))


def _letters(escaped: re.Match[str]) -> str:
    """What JSON's escapes stand for; they stay where that is no letter by itself, or would end the text that it is in."""
    if not escaped[1]:
        return escaped[0]
    letters = str(json.loads(f'"{escaped[1]}"'))
    return "".join(one if one.isprintable() and one not in '"\\' else json.dumps(one)[1:-1] for one in letters)


def outputs_text(outputs: Mapping[str, Any]) -> str:
    """Output fields as text: a single text field as it is, several with their names, structured values as JSON."""
    if len(outputs) == 1:
        return value_text(next(iter(outputs.values())))
    return "\n".join(f"{name}: {value_text(value)}" for name, value in outputs.items())


def value_text(value: Any) -> str:
    """One value as text: a text as it is, structured values as JSON, media by their kind."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        plain = plain_value(value)
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # what holds itself, or a key that JSON has no form for
        return str(value)
