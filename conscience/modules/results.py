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
from itertools import takewhile
from typing import Any, NamedTuple

import dspy

from conscience.errors import ConfigurationError
from conscience.messages.answers import settled
from conscience.messages.completion import Completion, Message, clean
from conscience.messages.rendering import content_text, value_text
from conscience.messages.thinking import split_thinking
from conscience.messages.thoughts import FIELDS, is_thought, text_of, thought_of

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
        return Returned(_agent(result), agent_turns(result.all_messages()))
    if (fields := _own_fields(result)) is not None:
        return Returned(_cleaned(fields))
    raise ConfigurationError(
        f"generate returned {_named(result)}",
        hint="return a text, a mapping of fields, a dspy.Prediction, a pydantic model, a dataclass or a chat completion",
    )


def as_turn(message: Any) -> Message:
    """A LangChain message as a chat message, without what the model thought; a chat message as it is."""
    if isinstance(message, Mapping) or not _is_message(message):
        return message  # type: ignore[no-any-return]
    role = _ROLES.get(message.type, "user")
    content = _message(message)["response"] if role == "assistant" else message.content
    turn: dict[str, Any] = {"role": role, "content": content}
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
        return Returned(_cleaned({**_graph(messages), **others}), tuple(map(as_turn, messages[:-1])))
    choices = result.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) and "message" in choices[0]:
        return Returned(_spoken(choices[0]["message"]))
    return Returned(_cleaned(result))


def _is_completion(result: Any) -> bool:
    choices = getattr(result, "choices", None)
    return isinstance(choices, list) and bool(choices) and hasattr(choices[0], "message")


def _completion(result: Any) -> dict[str, Any]:
    message = result.choices[0].message
    return _spoken({name: getattr(message, name, None) for name in ("content", "refusal", "tool_calls", *FIELDS)})


def _spoken(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a chat message says, whose parts may be objects."""
    said = {name: _plain(value) for name, value in message.items()}
    reply = Completion(settled({"choices": [{"message": said}]}, ()), "")
    return _fields(reply.text, reply.reasoning, said.get("tool_calls"))


def _plain(value: Any) -> Any:
    return [_dumped(item) for item in value] if isinstance(value, list | tuple) else _dumped(value)


def _response(result: Any) -> dict[str, Any]:
    """The openai SDK's Responses API."""
    thoughts, calls, refusals = [], [], []
    for item in result.output:
        kind = getattr(item, "type", "")
        if kind == "reasoning":
            thoughts.append(text_of(item))
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
    thoughts = [thought_of(getattr(message, "additional_kwargs", None) or {})]
    if isinstance(content, list):
        thoughts += [text_of(part) for part in content if is_thought(part)]
        content = "".join(
            part if isinstance(part, str) else content_text([part]) for part in content if not is_thought(part)
        )
    return _fields(str(content), "\n".join(filter(None, thoughts)), getattr(message, "tool_calls", None))


def _graph(messages: Sequence[Any]) -> dict[str, Any]:
    """The last message of a graph's state, and what the model thought since it was asked."""
    said = _message(messages[-1])
    steps = takewhile(lambda message: getattr(message, "type", "") != "human", reversed(messages[:-1]))
    thoughts = [_message(step).get("reasoning") for step in steps if _is_message(step) and _ROLES[step.type] == "assistant"]
    thought = "\n".join(filter(None, [*reversed(thoughts), said.get("reasoning")]))
    return {**said, "reasoning": thought} if thought else said


def _agent(result: Any) -> dict[str, Any]:
    """What an agent put out, and what its model thought in this run."""
    said = getattr(result, "new_messages", result.all_messages)()
    parts = [part for message in said for part in getattr(message, "parts", ())]
    thoughts = [str(part.content) for part in parts if getattr(part, "part_kind", "") == "thinking" and part.content]
    output = _inner(result.output)
    return {**output, "reasoning": "\n".join(thoughts)} if thoughts and "reasoning" not in output else output


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
