"""The answers that a LiteLLM proxy returns, as turns: where each stands in its response, and how another one is put there.

An answer is changed in place: what the proxy makes of it afterwards is made of what was shown.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.utils import (
    ChatCompletionMessageToolCall,
    Choices,
    Delta,
    EmbeddingResponse,
    ImageResponse,
    ModelResponse,
    ModelResponseStream,
    RerankResponse,
    StreamingChoices,
    TextCompletionResponse,
    TranscriptionResponse,
)

from conscience.integrations._responses import output_items, output_turn
from conscience.integrations._turns import ReviewedTurn, ToolCall, Turn, other_tokens, part_text, tokens_of

NOT_GENERATED = (EmbeddingResponse, ImageResponse, RerankResponse, TranscriptionResponse)
"""Answers in which no model says anything of its own."""

SAYS = frozenset({"text", "content", "arguments", "input", "output", "message", "transcript", "parts", "delta"})
"""Names under which an answer of an unknown kind may say something; one without them is a file, a batch or the like."""


@dataclass(frozen=True)
class Said:
    """One answer in a response: what it says, and what puts another in its place."""

    turn: Turn
    put: Callable[[ReviewedTurn], None]


def answers(response: Any) -> list[Said] | None:
    """The answers in a response; None of a kind that is not known, of which nobody can say that it was reviewed."""
    if isinstance(response, ModelResponse):
        return [_choice(choice) for choice in response.choices]
    if isinstance(response, TextCompletionResponse):
        return [_completion(choice) for choice in response.choices]
    if isinstance(response, ResponsesAPIResponse):
        return [_response(response)]
    if isinstance(response, Mapping) and response.get("type") == "message" and isinstance(response.get("content"), list):
        return [_anthropic(response)]
    return [] if isinstance(response, NOT_GENERATED) or not _says_something(_dumped(response)) else None


def _says_something(value: Any, named: bool = False) -> bool:
    if isinstance(value, Mapping):
        return any(_says_something(inner, named or name in SAYS) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return any(_says_something(inner, named) for inner in value)
    return named and isinstance(value, str) and bool(value.strip())


def _response(response: ResponsesAPIResponse) -> Said:
    def put(reviewed: ReviewedTurn) -> None:
        response.output = output_items(reviewed.turn)

    return Said(output_turn(response.output), put)


def _choice(choice: Choices) -> Said:
    message = choice.message

    def put(reviewed: ReviewedTurn) -> None:
        calls = [ChatCompletionMessageToolCall(**call.to_message()) for call in reviewed.turn.calls]
        choice.message = type(message)(content=reviewed.turn.text or None, role="assistant", tool_calls=calls or None)
        choice.finish_reason = finish_reason(reviewed)
        for name in ("logprobs", "provider_specific_fields"):
            if getattr(choice, name, None) is not None:
                setattr(choice, name, None)

    turn, beside = _message_turn(message), getattr(choice, "provider_specific_fields", None)
    more = (part_text(beside) if beside else "") + other_tokens(getattr(choice, "logprobs", None), turn.text)
    return Said(replace(turn, reasoning=turn.reasoning + more), put)


def finish_reason(reviewed: ReviewedTurn) -> str:
    """Of an answer that took the place of another."""
    if reviewed.outcome is not None and not reviewed.outcome.ok:
        return "content_filter"
    return "tool_calls" if reviewed.turn.calls else "stop"


def _completion(choice: Any) -> Said:
    def put(reviewed: ReviewedTurn) -> None:
        choice.text, choice.finish_reason, choice.logprobs = reviewed.turn.text, finish_reason(reviewed), None

    text = choice.text or ""
    return Said(Turn(text, other_tokens(getattr(choice, "logprobs", None), text)), put)


def _anthropic(response: Any) -> Said:
    def put(reviewed: ReviewedTurn) -> None:
        text = [{"type": "text", "text": reviewed.turn.text}] if reviewed.turn.text else []
        calls = [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments_object()}
            for call in reviewed.turn.calls
        ]
        reason = {"content_filter": "refusal", "tool_calls": "tool_use", "stop": "end_turn"}[finish_reason(reviewed)]
        response.update(content=[*text, *calls], stop_reason=reason, stop_sequence=None)

    return Said(content_turn(response["content"]), put)


def content_turn(content: Sequence[Any]) -> Turn:
    """What the blocks of one of Anthropic's messages say."""
    texts, thoughts, calls = [], [], []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            texts.append(block.get("text") or "")
            beside = {name: value for name, value in block.items() if name not in ("type", "text") and value}
            thoughts += [part_text(beside)] if beside else []
        elif kind == "tool_use":
            calls.append(ToolCall.of(block.get("name"), block.get("input"), block.get("id")))
        else:
            thoughts.append(part_text(block))
    return Turn("".join(texts), "\n".join(thoughts), tuple(calls))


def streamed_content(chunks: Sequence[str | bytes]) -> list[dict[str, Any]] | None:
    """The blocks of one of Anthropic's streams, put together from its events as they are on the wire; None where these
    cannot be read."""
    sent = b"".join(chunk.encode() if isinstance(chunk, str) else chunk for chunk in chunks)
    blocks: dict[int, dict[str, Any]] = {}
    try:
        for line in re.split("\r\n|\n|\r", sent.decode()):
            if not line.startswith("data:"):
                continue
            event = json.loads(line.removeprefix("data:"))
            if event["type"] == "message_start" and event["message"].get("content"):
                return None  # it says something before it begins
            if event["type"] == "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            elif event["type"] == "content_block_delta":
                _grow(blocks[event["index"]], event["delta"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return [block for _, block in sorted(blocks.items())]


def _grow(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        if name != "type":
            field = "input" if name == "partial_json" else name
            known = block.get(field)
            added = value if isinstance(value, str) else part_text(value)
            block[field] = known + added if isinstance(known, str) else added


READ = frozenset({"role", "content", "tool_calls", "function_call", "reasoning_content", "thinking_blocks"})


def _message_turn(message: Any) -> Turn:
    """What a chat message says, or what one delta of it does; all that it has beside its text and calls led to these."""
    content = getattr(message, "content", None) or ""
    asked = getattr(message, "tool_calls", None) or ()
    calls = [_call(call) for call in asked]
    if (old := getattr(message, "function_call", None)) is not None:
        calls.append(ToolCall.of(_field(old, "name"), _field(old, "arguments") or ""))
    thoughts = [getattr(message, "reasoning_content", None) or ""]
    thoughts += [str(_field(block, "thinking") or "") for block in getattr(message, "thinking_blocks", None) or ()]
    beside = {name: value for name, value in message.model_dump(exclude_none=True).items() if name not in READ}
    beside["provider_specific_fields"] = {
        name: value for name, value in (beside.get("provider_specific_fields") or {}).items() if name not in READ and value
    }
    told = {name: value for name, value in beside.items() if value}
    if more := list(filter(None, map(_beside_function, asked))):
        told["tool_calls"] = more
    return Turn(
        content if isinstance(content, str) else "".join(map(part_text, content)),
        "".join([*dict.fromkeys(thoughts), part_text(told) if told else ""]),
        tuple(calls),
    )


OF_A_CALL = frozenset({"id", "index", "type", "function"})
"""What a call of a function holds; whatever else is there led to the answer."""


def _beside_function(call: Any) -> dict[str, Any]:
    """What a call says beside its function; a custom tool's is read as a whole."""
    told = _dumped(call) if _field(call, "function") is not None else {}
    return {name: value for name, value in told.items() if name not in OF_A_CALL and value}


def _call(call: Any) -> ToolCall:
    function = _field(call, "function")
    if function is None:  # of a custom tool
        return ToolCall.of(_field(call, "type"), part_text(_dumped(call)), _field(call, "id"))
    return ToolCall.of(_field(function, "name"), _field(function, "arguments") or "", _field(call, "id"))


def _dumped(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


@dataclass
class _Choice:
    """A choice of a stream, put together from its deltas."""

    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=lambda: defaultdict(lambda: ["", "", ""]))

    def add(self, delta: Any, logprobs: Any) -> None:
        said = _message_turn(delta)
        self.tokens += tokens_of(logprobs)
        self.text.append(said.text)
        self.thoughts.append(said.reasoning)
        positions = [_field(call, "index") or 0 for call in getattr(delta, "tool_calls", None) or ()]
        for position, call in zip((*positions, -1), said.calls, strict=False):
            known = self.calls[position]
            self.calls[position] = [known[0] + call.name, known[1] + call.arguments, known[2] or call.id]

    def turn(self) -> Turn:
        calls = (ToolCall(*parts) for _, parts in sorted(self.calls.items()))
        text = "".join(self.text)
        return Turn(text, "".join([*self.thoughts, other_tokens(self.tokens, text)]), tuple(calls))


def streamed_turns(chunks: Sequence[ModelResponseStream]) -> dict[int, Turn]:
    """What each choice of a chat stream says."""
    choices: dict[int, _Choice] = defaultdict(_Choice)
    for chunk in chunks:
        for choice in chunk.choices:
            choices[choice.index].add(choice.delta, getattr(choice, "logprobs", None))
    return {index: choice.turn() for index, choice in sorted(choices.items())}


def stream_with(chunks: Sequence[ModelResponseStream], changed: Mapping[int, ReviewedTurn]) -> Iterator[ModelResponseStream]:
    """A chat stream with other turns in the place of some choices; the others, and the usage, as they came."""
    kept = [(chunk, [choice for choice in chunk.choices if choice.index not in changed]) for chunk in chunks]
    last = [chunk for chunk, _ in kept if not chunk.choices]
    for chunk, choices in kept:
        if choices:
            chunk.choices = choices
            yield chunk
    first = chunks[0]
    for index, reviewed in changed.items():
        calls = [{"index": number, **call.to_message()} for number, call in enumerate(reviewed.turn.calls)]
        said = Delta(role="assistant", content=reviewed.turn.text or None, tool_calls=calls or None)
        ends = StreamingChoices(index=index, delta=Delta(), finish_reason=finish_reason(reviewed))
        for choice in (StreamingChoices(index=index, delta=said), ends):
            yield ModelResponseStream(id=first.id, created=first.created, model=first.model, choices=[choice])
    yield from last


def streamed_texts(chunks: Sequence[TextCompletionResponse]) -> dict[int, Turn]:
    """What each choice of a stream of text completions says."""
    texts: dict[int, list[str]] = defaultdict(list)
    tokens: dict[int, list[Any]] = defaultdict(list)
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index].append(choice.text or "")
            tokens[choice.index] += tokens_of(getattr(choice, "logprobs", None))
    said = {index: "".join(pieces) for index, pieces in sorted(texts.items())}
    return {index: Turn(text, other_tokens(tokens[index], text)) for index, text in said.items()}


def texts_with(
    chunks: Sequence[TextCompletionResponse], changed: Mapping[int, ReviewedTurn]
) -> Sequence[TextCompletionResponse]:
    """Such a stream with other texts in the place of some choices, each in its first piece."""
    begun: set[int] = set()
    for choice in (choice for chunk in chunks for choice in chunk.choices if choice.index in changed):
        choice.text = "" if choice.index in begun else changed[choice.index].turn.text
        choice.logprobs = None
        if choice.finish_reason:
            choice.finish_reason = finish_reason(changed[choice.index])
        begun.add(choice.index)
    return chunks
