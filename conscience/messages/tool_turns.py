"""The form of a chat turn that may call tools: its text, and the calls beside it, as OpenAI's chat message has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from conscience.messages.completion import Completion, Message
from conscience.messages.rendering import called_tools, value_text

CALLS = "tool_calls"
"""The output field that holds the calls."""

_BESIDE = frozenset({"id", "index", "type", "provider_specific_fields", "extra_content"})
"""What a call holds beside its function; the last two are a provider's signatures."""

_WORDS = re.compile(r"\s|\\[nrtf]")
"""A signature or an id is one word."""


class ToolTurn:
    """The answer is a text, calls of tools, or both; a revision is one, too, and is asked with the same tools.

    Args:
        name: the output field of the text.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def request(self) -> str:
        """Nothing: the tools go with the request, in a parameter of their own."""
        return ""

    def read(self, text: str) -> dict[str, Any]:
        """A turn that is all text."""
        return {self.name: text}

    def write(self, outputs: Mapping[str, Any]) -> str:
        """The turn as a reviewer reads it."""
        calls = "\n".join(map(call_text, outputs.get(CALLS) or ()))
        return "\n\n".join(filter(None, (value_text(outputs.get(self.name)), calls)))

    def fields(self, text: str, message: Message) -> dict[str, Any]:
        """The outputs of a model's message; there is a text, be it empty, and calls only where there are some."""
        calls = message.get(CALLS)
        return {self.name: text, **({CALLS: calls} if calls else {})}


def tools_text(tools: Any) -> str:
    """The tools that a turn could call, for a reviewer: their names and what they are said to do."""
    functions = [tool.get("function") for tool in tools or () if isinstance(tool, Mapping)]
    lines = [
        f"- {function.get('name')}: {value_text(function.get('description'))}".removesuffix(": ")
        for function in functions
        if isinstance(function, Mapping)
    ]
    return "\n".join(["tools that could be called:", *lines]) if lines else ""


def turn_of(completion: Completion, outputs: Mapping[str, Any], params: Mapping[str, Any]) -> ToolTurn | None:
    """The form of outputs that are one model's chat turn, of one that could call tools; None where they are not.

    Args:
        completion: what the model answered.
        outputs: what was made of it.
        params: what it was asked with.
    """
    names = [name for name in outputs if name != CALLS]
    if len(names) != 1 or not (params.get("tools") or CALLS in outputs):
        return None
    same = outputs[names[0]] == completion.text and outputs.get(CALLS) == (completion.message.get(CALLS) or None)
    return ToolTurn(names[0]) if same else None


def call_text(call: Any) -> str:
    """One call of a tool, with its name and arguments, and with whatever else it says; one of another form as it is."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return f"called tool {_written(call)}"
    beside = {name: value for name, value in call.items() if name != "function"}
    more = {name: value for name, value in function.items() if name not in ("name", "arguments")}
    (shown,) = called_tools({CALLS: [call]})
    says_more = more or not beside.keys() <= _BESIDE or _WORDS.search(_written(beside))
    return f"{shown} {_written({**beside, **more})}" if says_more else shown


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
