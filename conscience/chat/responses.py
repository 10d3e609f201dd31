"""A request of OpenAI's Responses API, as the chat request that it comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from conscience.chat.checks import FLAG, NAME, OBJECT, TEXT, ParameterError, check_depth, is_list, kind, one_of, whole
from conscience.chat.parameters import GENERATION
from conscience.chat.requests import ChatRequest
from conscience.chat.response_items import input_messages

_SAME = (
    *("temperature", "top_p", "parallel_tool_calls", "user", "safety_identifier", "metadata", "service_tier"),
    *("prompt_cache_key", "prompt_cache_retention", "top_logprobs"),
)
"""Parameters that a chat request has under the same name."""

_OWN = frozenset(
    {"model", "input", "instructions", "max_output_tokens", "tools", "tool_choice", "text", "reasoning", "stream", "store"}
    | {"stream_options", "include", "truncation"}
)

REFUSED: Mapping[str, tuple[str, str]] = {
    "previous_response_id": ("nothing is stored here, so there is no earlier response", "send the turns as input"),
    "conversation": ("nothing is stored here, so there is no earlier conversation", "send the turns as input"),
    "background": ("an answer is given to whoever asked, once it has been reviewed", "leave it out"),
    "prompt": ("no prompts are stored here", "send instructions and input"),
    "max_tool_calls": ("only functions of yours can be called here", "leave it out"),
}
"""Parameter → why it is refused, and what to do instead."""

_MESSAGE = re.compile(r"^messages(?:\[(\d+)\])?")

_INCLUDED = ("message.output_text.logprobs", "reasoning.encrypted_content")
"""What may stand in ``include``. There is no encrypted reasoning here: clients ask for it whatever the model."""


@dataclass(frozen=True)
class ResponsesRequest:
    """A checked request.

    Attributes:
        chat: the same as a chat request.
        told: what of it a response repeats: instructions, tools, temperature, …
    """

    chat: ChatRequest
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stream(self) -> bool:
        """Whether the answer is wanted as events."""
        return self.chat.stream

    @property
    def model(self) -> str:
        """As the caller named it."""
        return self.chat.model

    @classmethod
    def parse(cls, body: Any) -> Self:
        """A request from the JSON of its body.

        Raises:
            ParameterError: an ``InputError`` that names the parameter which is missing, wrong, unknown, or makes no sense.
        """
        if not isinstance(body, Mapping):
            raise ParameterError("body", f"{kind(body)} is not an object")
        check_depth(body)
        given = {name: value for name, value in body.items() if value is not None}
        for name, (why, instead) in REFUSED.items():
            if given.get(name) not in (None, False):
                raise ParameterError(name, why, hint=instead)
        for name in given:
            if name not in _OWN and name not in _SAME and name not in REFUSED:
                raise ParameterError(str(name)[:80], "there is no such parameter")
        NAME.check("model", given.get("model"))
        _check_options(given)
        messages, lead = input_messages(given.get("input")), []
        if "instructions" in given:
            TEXT.check("instructions", given["instructions"])
            lead = [{"role": "system", "content": given["instructions"]}]
        if "stream" in given:
            FLAG.check("stream", given["stream"])
        asked: dict[str, Any] = {"model": given["model"], "stream": given.get("stream", False)}
        asked["messages"] = [*lead, *messages]
        asked |= {name: given[name] for name in _SAME if name in given}
        asked |= (
            _limits(given) | _checked_tools(given) | _checked_format(given.get("text")) | _reasoning(given.get("reasoning"))
        )
        if "top_logprobs" in given or _INCLUDED[0] in given.get("include", ()):
            asked["logprobs"] = True
        try:
            chat = ChatRequest.parse(asked)
        except ParameterError as error:  # in this API's words
            named = _MESSAGE.sub(lambda at: f"input[{int(at[1]) - len(lead)}]" if at[1] else "input", error.param)
            named = named.replace(".function", "")
            raise ParameterError(named, error.message.removeprefix(f"{error.param}: "), hint=error.hint) from None
        return cls(chat, told=_told(given))


def _check_options(given: Mapping[str, Any]) -> None:
    if given.get("store", False) is not False:
        raise ParameterError("store", "nothing is stored here", hint="leave it out, and keep the reply")
    if given.get("truncation", "disabled") != "disabled":
        raise ParameterError("truncation", "no part of a request is left out", hint="leave it out")
    include = given.get("include", [])
    if not is_list(include):
        raise ParameterError("include", f"{kind(include)} is not a list")
    for number, name in enumerate(include):
        one_of(*_INCLUDED).check(f"include[{number}]", name)
    if "stream_options" in given:
        OBJECT.check("stream_options", given["stream_options"])
        if not given.get("stream"):
            raise ParameterError("stream_options", "needs stream", hint="set stream to true")


def _limits(given: Mapping[str, Any]) -> dict[str, Any]:
    if "max_output_tokens" not in given:
        return {}
    whole(1).check("max_output_tokens", given["max_output_tokens"])
    return {"max_tokens": given["max_output_tokens"]}


def _checked_tools(given: Mapping[str, Any]) -> dict[str, Any]:
    tools = given.get("tools", [])
    if not is_list(tools):
        raise ParameterError("tools", f"{kind(tools)} is not a list")
    for number, tool in enumerate(tools):
        OBJECT.check(f"tools[{number}]", tool)
        if tool.get("type") != "function":
            raise ParameterError(f"tools[{number}].type", "only functions can be called here", hint='set it to "function"')
        NAME.check(f"tools[{number}].name", tool.get("name"))
    return chat_tools(given)


def chat_tools(given: Mapping[str, Any]) -> dict[str, Any]:
    """The functions among the tools of a request, and the choice among them, as the chat API writes them: this one writes
    them flat."""
    functions = [
        {"type": "function", "function": {k: v for k, v in tool.items() if k != "type" and v is not None}}
        for tool in given.get("tools") or ()
        if isinstance(tool, Mapping) and tool.get("type") == "function"
    ]
    choice = given.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    asked: dict[str, Any] = {"tools": functions} if functions else {}
    return asked if choice is None else {**asked, "tool_choice": choice}


def _checked_format(text: Any) -> dict[str, Any]:
    if text is None:
        return {}
    OBJECT.check("text", text)
    if text.get("verbosity") is not None:
        GENERATION["verbosity"].check("text.verbosity", text["verbosity"])
    if (shape := text.get("format")) is not None:
        OBJECT.check("text.format", shape)
        one_of("text", "json_object", "json_schema").check("text.format.type", shape.get("type"))
        if shape["type"] == "json_schema":
            NAME.check("text.format.name", shape.get("name"))
            OBJECT.check("text.format.schema", shape.get("schema"))
    return chat_format(text)


def chat_format(text: Any) -> dict[str, Any]:
    """What ``text`` says of an answer's form, as the chat API says it."""
    said = text if isinstance(text, Mapping) else {}
    asked: dict[str, Any] = {} if said.get("verbosity") is None else {"verbosity": said["verbosity"]}
    shape = said.get("format")
    if not isinstance(shape, Mapping) or shape.get("type") == "text":
        return asked
    if shape.get("type") != "json_schema":
        return {**asked, "response_format": {"type": shape.get("type")}}
    schema = {k: v for k, v in shape.items() if k != "type" and v is not None}
    return {**asked, "response_format": {"type": "json_schema", "json_schema": schema}}


def _reasoning(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    OBJECT.check("reasoning", value)
    for name in ("summary", "generate_summary"):
        if value.get(name) is not None:
            raise ParameterError(f"reasoning.{name}", "thinking is reviewed, and not shown", hint="leave it out")
    effort = value.get("effort")
    if effort is None:
        return {}
    NAME.check("reasoning.effort", effort)
    return {"reasoning_effort": effort}


def _told(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a response repeats of its request, with the API's own defaults."""
    return {
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "metadata": given.get("metadata", {}),
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": given.get("reasoning", {"effort": None, "summary": None}),
        "store": False,
        "temperature": given.get("temperature"),
        "text": given.get("text", {"format": {"type": "text"}}),
        "tool_choice": given.get("tool_choice", "auto"),
        "tools": list(given.get("tools", [])),
        "top_p": given.get("top_p"),
        "truncation": "disabled",
    }
