"""What came back from whatever generates, as output fields. Types of other packages are told by their shape, not imported:

| returned | fields |
|---|---|
| text | ``response`` |
| mapping, ``dspy.Prediction``, ``dspy.Example`` | its own |
| chat completion (an object, or its JSON), ``Response`` of the openai SDK | ``response``, ``reasoning``, ``tool_calls`` |
| LangChain message; the state of a graph, ``{"messages": […]}`` | the same, of the last message |
| pydantic-ai's ``AgentRunResult`` | of its ``output`` |
| pydantic model, dataclass | its own |

Anything else (a tuple, a number, a generator) is refused by the name of its type.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import dspy

from conscience.errors import ConfigurationError
from conscience.messages.completion import Completion, Message, clean
from conscience.messages.rendering import content_text, value_text
from conscience.messages.thinking import split_thinking

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
_PARTS = {"system-prompt": "system", "user-prompt": "user", "text": "assistant", "tool-return": "tool"}


class Returned(NamedTuple):
    """Output fields, and the conversation that the result carries with it: turns, tool calls and what tools returned."""

    fields: dict[str, Any]
    conversation: tuple[Message, ...] = ()


def understood(result: Any) -> Returned:
    """A result as output fields.

    Raises:
        ConfigurationError: its type is none of the above.
    """
    if isinstance(result, str):
        return Returned({"response": clean(result)})
    if isinstance(result, dspy.Example):
        return Returned(_cleaned(dict(result.items())))
    if isinstance(result, Mapping):
        return _mapping(result)
    if _is_completion(result):
        return Returned(_completion(result))
    if isinstance(getattr(result, "output_text", None), str) and isinstance(getattr(result, "output", None), list):
        return Returned(_response(result))
    if _is_message(result):
        return Returned(_message(result))
    if hasattr(result, "output") and callable(getattr(result, "all_messages", None)):
        return Returned(_inner(result.output), agent_turns(result.all_messages()))
    if (fields := _own_fields(result)) is not None:
        return Returned(_cleaned(fields))
    raise ConfigurationError(
        f"generate returned {_named(result)}",
        hint="return a text, a mapping of fields, a dspy.Prediction, a pydantic model, a dataclass or a chat completion",
    )


def as_turn(message: Any) -> Message:
    """A LangChain message as a chat message; a chat message as it is."""
    if isinstance(message, Mapping) or not _is_message(message):
        return message  # type: ignore[no-any-return]
    content = message.content
    turn: dict[str, Any] = {"role": _ROLES.get(message.type, "user"), "content": content}
    if calls := getattr(message, "tool_calls", None):
        turn["tool_calls"] = [
            {"id": call.get("id"), "type": "function", "function": _function(call.get("name"), call.get("args"))}
            for call in calls
        ]
    if turn["role"] == "tool":
        turn |= {"name": getattr(message, "name", None), "tool_call_id": getattr(message, "tool_call_id", None)}
    return turn


def readable(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs in which lists of LangChain messages are chat messages."""
    return {
        name: [as_turn(item) for item in value]
        if isinstance(value, list | tuple) and value and any(map(_is_message, value))
        else value
        for name, value in inputs.items()
    }


def _mapping(result: Mapping[Any, Any]) -> Returned:
    messages = result.get("messages")
    if isinstance(messages, list | tuple) and messages and _is_message(messages[-1]):
        others = {name: value for name, value in result.items() if name != "messages"}
        return Returned(_cleaned({**_message(messages[-1]), **others}), tuple(map(as_turn, messages[:-1])))
    choices = result.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) and "message" in choices[0]:
        return Returned(_spoken(Completion(dict(result), "")))
    return Returned(_cleaned(result))


def _is_completion(result: Any) -> bool:
    choices = getattr(result, "choices", None)
    return isinstance(choices, list) and bool(choices) and hasattr(choices[0], "message")


def _completion(result: Any) -> dict[str, Any]:
    message = result.choices[0].message
    said = {name: getattr(message, name, None) for name in ("content", "refusal", "reasoning_content", "reasoning")}
    calls = [_dumped(call) for call in getattr(message, "tool_calls", None) or ()]
    return _spoken(Completion({"choices": [{"message": {**said, "tool_calls": calls}}]}, ""))


def _spoken(completion: Completion) -> dict[str, Any]:
    return _fields(completion.text, completion.reasoning, completion.message.get("tool_calls"))


def _response(result: Any) -> dict[str, Any]:
    """The openai SDK's Responses API."""
    thoughts, calls, refusals = [], [], []
    for item in result.output:
        kind = getattr(item, "type", "")
        if kind == "reasoning":
            thoughts += [str(getattr(part, "text", "")) for part in getattr(item, "summary", None) or ()]
        elif kind == "message":
            refusals += [str(part.refusal) for part in item.content if getattr(part, "type", "") == "refusal"]
        else:
            calls.append(_dumped(item))
    return _fields(result.output_text or "\n".join(refusals), "\n".join(thoughts), calls)


def _is_message(value: Any) -> bool:
    return hasattr(value, "content") and isinstance(getattr(value, "type", None), str) and value.type in _ROLES


def _message(message: Any) -> dict[str, Any]:
    """A LangChain message; its content is a text or a list of texts and parts."""
    content = message.content
    thoughts = [str((getattr(message, "additional_kwargs", None) or {}).get("reasoning_content") or "")]
    if isinstance(content, list):
        thoughts += [str(part.get("thinking") or part.get("reasoning") or "") for part in content if _thinks(part)]
        content = "".join(part if isinstance(part, str) else content_text([part]) for part in content if not _thinks(part))
    return _fields(str(content), "\n".join(filter(None, thoughts)), getattr(message, "tool_calls", None))


def _thinks(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("thinking", "reasoning")


def _inner(output: Any) -> dict[str, Any]:
    """What an agent put out: a text, a number or the like, or an object with fields of its own."""
    if isinstance(output, Mapping):
        return _cleaned(output)
    fields = _own_fields(output)
    return _cleaned({"response": output} if fields is None else fields)


def agent_turns(messages: Sequence[Any]) -> tuple[Message, ...]:
    """pydantic-ai's messages, each a list of parts, as chat messages: without the last answer, which is the draft."""
    turns: list[Message] = []
    for part in (part for message in messages for part in getattr(message, "parts", ())):
        kind = getattr(part, "part_kind", "")
        if kind == "tool-call":
            call = {"id": part.tool_call_id, "type": "function", "function": _function(part.tool_name, part.args)}
            turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif kind in _PARTS:
            turn = {"role": _PARTS[kind], "content": value_text(part.content)}
            if kind == "tool-return":
                turn |= {"name": part.tool_name, "tool_call_id": part.tool_call_id}
            turns.append(turn)
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    return tuple(turns)


def _function(name: Any, arguments: Any) -> dict[str, str]:
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
    return {"name": str(name or ""), "arguments": written}


def _own_fields(result: Any) -> dict[str, Any] | None:
    """The fields of a pydantic model or a dataclass; None for anything else."""
    if isinstance(result, type):
        return None
    if hasattr(type(result), "model_fields"):
        return {name: getattr(result, name) for name in type(result).model_fields}
    if dataclasses.is_dataclass(result):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return None


def _fields(text: str, reasoning: str, calls: Iterable[Any] | None) -> dict[str, Any]:
    thought, text = split_thinking(text)
    reasoning = "\n".join(filter(None, (reasoning, thought)))
    fields: dict[str, Any] = {"response": text}
    if reasoning:
        fields["reasoning"] = reasoning
    if calls := list(calls or ()):
        fields["tool_calls"] = calls
    return _cleaned(fields)


def _cleaned(fields: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): clean(value) for name, value in fields.items()}


def _dumped(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def _named(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
