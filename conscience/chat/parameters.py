"""The parameters of a chat request: which of them go to generation, what each has to be, and which make no sense here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from conscience.chat.checks import (
    ANY_WHOLE,
    ANYTHING,
    FLAG,
    NAME,
    NUMBERS,
    OBJECT,
    STOP,
    TEXT,
    TEXTS,
    Expected,
    ParameterError,
    is_list,
    kind,
    number,
    one_of,
    whole,
)

GENERATION: Mapping[str, Expected] = {
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "max_tokens": whole(1),
    "max_completion_tokens": whole(1),
    "seed": ANY_WHOLE,
    "stop": STOP,
    "logit_bias": NUMBERS,
    "logprobs": FLAG,
    "top_logprobs": whole(0, 20),
    "parallel_tool_calls": FLAG,
    "reasoning_effort": NAME,
    "verbosity": NAME,
    "prediction": OBJECT,
    "user": TEXT,
    "safety_identifier": TEXT,
    "prompt_cache_key": TEXT,
    "prompt_cache_retention": TEXT,
    "service_tier": NAME,
    "metadata": TEXTS,
    "web_search_options": OBJECT,
    # What servers other than OpenAI's take beside these.
    "top_k": ANY_WHOLE,
    "min_p": number(0, 1),
    "repetition_penalty": number(0),
    "repeat_penalty": number(0),
    "min_tokens": whole(0),
    "ignore_eos": FLAG,
    "stop_token_ids": ANYTHING,
    "bad_words": ANYTHING,
    "chat_template_kwargs": OBJECT,
    "thinking": OBJECT,
    "guided_json": ANYTHING,
    "guided_regex": TEXT,
    "guided_choice": ANYTHING,
    "guided_grammar": TEXT,
    "structured_outputs": OBJECT,
    "grammar": TEXT,
    "json_schema": ANYTHING,
}
"""Parameter → what it has to be. All of them reach generation; tools, tool_choice and response_format beside them."""

REFUSED: Mapping[str, tuple[str, str]] = {
    "functions": ("is the old form of tools", "use tools"),
    "function_call": ("is the old form of tool_choice", "use tool_choice"),
    "audio": ("a spoken answer cannot be reviewed before it is heard", "ask for text"),
}
"""Parameter → why it is refused, and what to do instead."""

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_.:-]{1,128}")
_FORMATS = one_of("text", "json_object", "json_schema")


def generation_parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request's body goes to generation; null counts as absent.

    Raises:
        ParameterError: a parameter is not what it has to be, or makes no sense here.
    """
    given = {name: value for name, value in body.items() if value is not None}
    for name, (why, instead) in REFUSED.items():
        if name in given:
            raise ParameterError(name, why, hint=instead)
    _check_modalities(given.get("modalities"))
    if given.get("store") not in (None, False):
        raise ParameterError("store", "nothing is stored here", hint="leave it out, and keep the reply")
    kept = {}
    for name, expected in GENERATION.items():
        if name in given:
            expected.check(name, given[name])
            kept[name] = int(given[name]) if expected.schema.get("type") == "integer" else given[name]
    if kept.get("top_logprobs") is not None and not kept.get("logprobs"):
        raise ParameterError("top_logprobs", "needs logprobs", hint="set logprobs to true")
    return kept | _tools(given) | _response_format(given)


def _check_modalities(value: Any) -> None:
    if value is not None and not (is_list(value) and list(value) == ["text"]):
        raise ParameterError("modalities", "only text can be reviewed", hint='leave it out, or set it to ["text"]')


def _tools(given: Mapping[str, Any]) -> dict[str, Any]:
    tools = given.get("tools")
    if tools is None:
        if (choice := given.get("tool_choice")) not in (None, "none", "auto"):
            raise ParameterError("tool_choice", f"{kind(choice)} needs tools", hint="send tools")
        return {}
    if not is_list(tools):
        raise ParameterError("tools", f"{kind(tools)} is not a list")
    names = [_tool_name(number, tool) for number, tool in enumerate(tools)]
    if not names:
        return {}
    kept: dict[str, Any] = {"tools": list(tools)}
    if (choice := given.get("tool_choice")) is not None:
        _check_choice(choice, names)
        kept["tool_choice"] = choice
    return kept


def _tool_name(number: int, tool: Any) -> str:
    at = f"tools[{number}]"
    OBJECT.check(at, tool)
    if tool.get("type") != "function":
        raise ParameterError(f"{at}.type", "only functions can be called", hint='set it to "function"')
    function = tool.get("function")
    OBJECT.check(f"{at}.function", function)
    name = function.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise ParameterError(f"{at}.function.name", "is not a name of letters, digits, _ and -")
    if function.get("parameters") is not None:
        OBJECT.check(f"{at}.function.parameters", function["parameters"])
    if function.get("description") is not None:
        TEXT.check(f"{at}.function.description", function["description"])
    return name


def _check_choice(choice: Any, names: list[str]) -> None:
    if isinstance(choice, str):
        one_of("none", "auto", "required").check("tool_choice", choice)
        return
    OBJECT.check("tool_choice", choice)
    function = choice.get("function")
    named = function.get("name") if isinstance(function, Mapping) else None
    if choice.get("type") == "function" and named not in names:
        raise ParameterError("tool_choice", "names no function among tools")
    if choice.get("type") not in ("function", "allowed_tools"):
        raise ParameterError("tool_choice.type", "is neither function nor allowed_tools")


def _response_format(given: Mapping[str, Any]) -> dict[str, Any]:
    value = given.get("response_format")
    if value is None:
        return {}
    OBJECT.check("response_format", value)
    _FORMATS.check("response_format.type", value.get("type"))
    if value["type"] == "json_schema":
        schema = value.get("json_schema")
        OBJECT.check("response_format.json_schema", schema)
        NAME.check("response_format.json_schema.name", schema.get("name"))
        if schema.get("schema") is not None:
            OBJECT.check("response_format.json_schema.schema", schema["schema"])
    return {} if value["type"] == "text" else {"response_format": value}
