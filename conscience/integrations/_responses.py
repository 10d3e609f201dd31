"""A turn in the form of OpenAI's Responses API: output items, and the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from openai.types.responses import (
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)
from pydantic import BaseModel

from conscience._dspy.streams import words
from conscience.integrations._turns import ToolCall, Turn, other_tokens, part_text


def output_turn(output: Sequence[Any]) -> Turn:
    """What a response says. What the provider ran by itself, such as a search, is part of what led to the answer."""
    texts, thoughts, calls = [], [], []
    for item in output:
        item = _plain(item)
        kind = item.get("type")
        if kind == "message":
            for part in item.get("content") or ():
                texts.append(part.get("text") or part.get("refusal") or "")
                thoughts.append(other_tokens(part.get("logprobs"), texts[-1]))
        elif kind == "reasoning":
            thoughts += [part.get("text", "") for name in ("summary", "content") for part in item.get(name) or ()]
        elif kind == "function_call":
            calls.append(ToolCall(item["name"], item["arguments"], item["call_id"]))
        else:  # run by the provider, or of a kind that a revision could not write
            thoughts.append(part_text({name: value for name, value in item.items() if name != "result"}))
    return Turn("\n".join(texts), "\n".join(filter(None, thoughts)), tuple(calls))


def output_items(turn: Turn) -> list[Any]:
    """The output that says a turn: a message, calls of functions."""
    items: list[Any] = []
    if turn.text:
        text = ResponseOutputText(text=turn.text, type="output_text", annotations=[], logprobs=[])
        name = f"msg_{uuid4().hex}"
        items.append(ResponseOutputMessage(id=name, type="message", role="assistant", status="completed", content=[text]))
    return items + [
        ResponseFunctionToolCall(
            id=f"fc_{uuid4().hex}", call_id=call.id, type="function_call", name=call.name, arguments=call.arguments
        )
        for call in turn.calls
    ]


ENDS = ("response.completed", "response.incomplete", "response.failed")
"""Events that end a stream, with the whole response."""


def streamed_response(events: Sequence[Any]) -> Any:
    """The whole response that a stream ends with; None of a stream that broke off before."""
    whole = [event.response for event in events if getattr(event, "type", "") in ENDS]
    return whole[-1] if whole else None


def agree(events: Sequence[Any], output: Sequence[Any]) -> bool:
    """Whether all that the events of a stream say stands in the output that they end with: that is what is reviewed."""
    whole = [text for item in output for text in _texts(_plain(item))]
    pieces: dict[tuple[str, Any, Any], str] = {}
    said: list[str] = []
    for event in events:
        told = _plain(event)
        if isinstance(told.get("delta"), str):
            key = (str(told.get("type")), told.get("output_index"), told.get("content_index", told.get("summary_index")))
            pieces[key] = pieces.get(key, "") + told["delta"]
        elif getattr(event, "response", None) is None:
            said += _texts(told)
    return all(any(text in one for one in whole) for text in (*pieces.values(), *said))


SAYS = frozenset({"text", "refusal", "arguments", "input", "code", "delta"})
"""Names of fields in which a model speaks."""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in SAYS and isinstance(inner, str):
                yield inner
            else:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _plain(value: Any) -> dict[str, Any]:
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else dict(value)


def stream_events(events: Sequence[Any], turn: Turn) -> list[Any]:
    """A stream that says another turn: its first and last events are those of the stream given, which are changed in place.

    Args:
        events: of the stream; the last with a whole response ends it.
        turn: what is said instead.
    """
    items = output_items(turn)
    begun = [event for event in events if event.type in ("response.created", "response.in_progress")]
    for event in begun:
        event.response.output = []
    (*_, end) = (event for event in events if event.type in ENDS)
    end.response.output = items
    stream = [*begun, *(event for index, item in enumerate(items) for event in _item_events(item, index)), end]
    for number, event in enumerate(stream):
        event.sequence_number = number
    return stream


def _item_events(item: Any, index: int) -> Iterator[Any]:
    at: dict[str, Any] = {"sequence_number": 0, "output_index": index}
    if isinstance(item, ResponseOutputMessage):
        part = {**at, "item_id": item.id, "content_index": 0}
        text = item.content[0]
        assert isinstance(text, ResponseOutputText)  # as ``output_items`` makes them
        blank = text.model_copy(update={"text": ""})
        empty = item.model_copy(update={"content": []})
        yield ResponseOutputItemAddedEvent.construct(type="response.output_item.added", item=empty, **at)
        yield ResponseContentPartAddedEvent.construct(type="response.content_part.added", part=blank, **part)
        for word in words(text.text):
            yield ResponseTextDeltaEvent.construct(type="response.output_text.delta", delta=word, logprobs=[], **part)
        yield ResponseTextDoneEvent.construct(type="response.output_text.done", text=text.text, logprobs=[], **part)
        yield ResponseContentPartDoneEvent.construct(type="response.content_part.done", part=text, **part)
    else:
        yield ResponseOutputItemAddedEvent.construct(type="response.output_item.added", item=item, **at)
    yield ResponseOutputItemDoneEvent.construct(type="response.output_item.done", item=item, **at)
