"""LiteLLM's guardrail hooks by themselves: however a stream is cut, nothing of it goes out unreviewed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience import BackendError, ConfigurationError, Conscience
from tests.support import wires
from tests.support.loopback import Raw
from tests.unit.integrations.reviewers import BAD, DOWN, MENDED, REFUSED, program, scripted

pytest.importorskip("fastapi", reason="litellm[proxy] is not installed")
pytestmark = pytest.mark.long  # by what it imports

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Help me."}]}


def guardrail(judge: Conscience | None = None) -> Any:
    from conscience.integrations.litellm import ConscienceGuardrail

    return ConscienceGuardrail(program=judge or program(), guardrail_name="g", default_on=True, event_hook="post_call")


def stream(chunks: Sequence[Any], judge: Conscience | None = None, asked: dict[str, Any] = ASKED) -> list[Any]:
    """What the hook lets out of a stream."""

    async def upstream() -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk

    async def read() -> list[Any]:
        hook = guardrail(judge).async_post_call_streaming_iterator_hook
        return [chunk async for chunk in hook(user_api_key_dict=None, response=upstream(), request_data=dict(asked))]

    return asyncio.run(read())


def whole(response: Any, judge: Conscience | None = None, asked: dict[str, Any] = ASKED) -> Any:
    hook = guardrail(judge).async_post_call_success_hook
    return asyncio.run(hook(data=dict(asked), user_api_key_dict=None, response=response))


def chat_chunks(deltas: Sequence[tuple[int, dict[str, Any]]]) -> list[Any]:
    from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices

    return [
        ModelResponseStream(id="x", model="m", choices=[StreamingChoices(index=index, delta=Delta(**delta))])
        for index, delta in deltas
    ]


def test_what_fails_ends_the_reviews_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is paid for that nobody waits for."""
    from litellm.types.utils import Choices, Message, ModelResponse

    from conscience.integrations import litellm as guarded

    done = []

    async def areview(program: Any, conversation: Any, turn: Any, **asked: Any) -> Any:
        if turn.text == "fails":
            raise BackendError("down")
        await asyncio.sleep(0.05)
        done.append(turn.text)

    async def read() -> None:
        choices = [Choices(index=n, message=Message(content=text)) for n, text in enumerate(("fails", "goes on"))]
        hook = guardrail().async_post_call_success_hook
        with pytest.raises(Exception, match="down"):
            await hook(data=dict(ASKED), user_api_key_dict=None, response=ModelResponse(choices=choices))
        await asyncio.sleep(0.2)

    monkeypatch.setattr(guarded, "areview", areview)
    asyncio.run(read())
    assert not done


def spoken(chunks: Sequence[Any]) -> str:
    """All that a client would put together, by choice."""
    texts: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            said = texts.setdefault(choice.index, [])
            told = choice.delta.model_dump(exclude_none=True)
            said += [str(told.get(name, "")) for name in ("content", "reasoning_content", "refusal")]
            said += [call["function"]["arguments"] or "" for call in told.get("tool_calls") or ()]
    return "|".join("".join(said) for said in texts.values())


def cut(text: str, places: Sequence[int]) -> list[str]:
    """A text in pieces."""
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(edges)]


ODD = st.sampled_from(["", "é", "\u2028", "日本"])
PLACES = st.lists(st.integers(0, 60), max_size=12)


@settings(max_examples=60)
@given(PLACES, PLACES, st.sampled_from(["content", "reasoning_content", "arguments"]), st.booleans())
def test_no_cut_of_a_chat_stream_gets_by(first: list[int], second: list[int], where: str, flagged: bool) -> None:
    """In any of the choices, interleaved, in a text, a thought or a call's arguments."""
    text = f"Do {BAD} now." if flagged else "Do be kind now."
    pieces = cut(text, first)
    if where == "arguments":
        said = [
            {
                "tool_calls": [
                    {"index": 0, "id": "c", "type": "function", "function": {"name": "act", "arguments": '{"x": "'}}
                ]
            }
        ]
        said += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in [*pieces, '"}']]
    else:
        said = [{where: piece} for piece in pieces] + ([] if where == "content" else [{"content": "Fine."}])
    others = [{"content": piece} for piece in cut("All is fine.", second)]
    deltas = [(1, delta) for delta in said]
    for number, delta in enumerate(others):
        deltas.insert(min(2 * number, len(deltas)), (0, delta))
    chunks = chat_chunks(deltas)
    before = spoken(chunks)
    seen = stream(chunks, asked={**ASKED, "tools": [wires.TOOL]})
    assert BAD not in spoken(seen)
    assert "All is fine." in spoken(seen)
    assert flagged or spoken(seen) == before


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 2000), max_size=20), st.booleans(), st.booleans(), st.sampled_from(["", "é", "\u2028", "日本"])
)
def test_no_cut_of_a_message_stream_gets_by(places: list[int], flagged: bool, calls: bool, odd: str) -> None:
    """Bytes may be cut anywhere, within a letter too."""
    word = BAD if flagged else "kind"
    raw = wires.answer({"model": "claude", "stream": True}, f"Do {odd}{word} now.", {"what": word} if calls else None)
    assert isinstance(raw, Raw)
    sent = raw.text.encode() if not odd else raw.text.replace(json.dumps(odd)[1:-1], odd).encode()
    edges = sorted({0, len(sent), *(place % len(sent) for place in places)})
    chunks = [sent[start:end] for start, end in pairwise(edges)]
    seen = stream(chunks)
    if flagged:
        events = [json.loads(line[6:]) for line in b"".join(seen).decode().split("\n") if line.startswith("data: ")]
        deltas = [event.get("delta", {}) for event in events]
        told = "".join(delta.get("text", "") + delta.get("partial_json", "") for delta in deltas)
        assert BAD not in told
        assert MENDED in told
    else:
        assert seen == chunks


def response_events(deltas: Sequence[str], end: str | None) -> list[Any]:
    """A stream of the Responses API that says these pieces and ends with this text."""
    from litellm.types.llms.openai import (
        OutputTextDeltaEvent,
        ResponseCompletedEvent,
        ResponseCreatedEvent,
        ResponsesAPIResponse,
        ResponsesAPIStreamEvents,
    )

    def response(text: str | None) -> Any:
        body = wires.answer({"input": "x"}, text or "")
        assert isinstance(body, dict)
        return ResponsesAPIResponse(**{**body, **({"output": []} if text is None else {})})

    at = {"item_id": "item", "output_index": 0, "content_index": 0}
    kind = ResponsesAPIStreamEvents
    said = [OutputTextDeltaEvent(type=kind.OUTPUT_TEXT_DELTA, delta=delta, **at) for delta in deltas]
    ends = [] if end is None else [ResponseCompletedEvent(type=kind.RESPONSE_COMPLETED, response=response(end))]
    return [ResponseCreatedEvent(type=kind.RESPONSE_CREATED, response=response(None)), *said, *ends]


def test_a_response_stream_is_judged_by_its_end_and_shows_nothing_else() -> None:
    """What it said on the way has to stand there."""
    asked = {"model": "m", "input": "Help me."}
    fine = response_events(["All is ", "fine."], "All is fine.")
    assert stream(fine, asked=asked) == fine
    for deltas, end in [([f"Do {BAD}"], f"Do {BAD}"), ([f"Do {BAD}"], "All is fine."), (["All is fine."], f"Do {BAD}")]:
        seen = stream(response_events(deltas, end), asked=asked)
        assert BAD not in repr(seen)
        assert seen[-1].type == "response.completed"


def test_what_cannot_be_read_is_kept_back() -> None:
    """A stream that breaks off, one of another kind, an answer of a route that is not known."""
    from fastapi import HTTPException

    asked = {"model": "m", "input": "Help me."}
    for chunks in (response_events([f"Do {BAD}"], None), [b"data: {oops\n\n"], [object()], [{"candidates": [BAD]}]):
        with pytest.raises(HTTPException) as raised:
            stream(chunks, asked=asked)
        assert raised.value.status_code == 501
        assert BAD not in str(raised.value.detail)
    with pytest.raises(HTTPException):
        whole({"candidates": [{"content": BAD}]})
    assert stream([]) == []


def test_a_stream_that_fails_shows_nothing() -> None:
    """The error of the model's server is told, and none of its words."""
    seen: list[Any] = []

    async def upstream() -> AsyncIterator[Any]:
        for chunk in chat_chunks([(0, {"content": "All is"})]):
            yield chunk
        raise ConnectionError("cut")

    async def read() -> None:
        hook = guardrail().async_post_call_streaming_iterator_hook
        async for chunk in hook(user_api_key_dict=None, response=upstream(), request_data=dict(ASKED)):
            seen.append(chunk)

    with pytest.raises(ConnectionError):
        asyncio.run(read())
    assert seen == []


def test_all_that_a_message_says_is_reviewed() -> None:
    """Wherever a provider puts it; and nothing of it stays beside a revision."""
    from litellm.types.utils import Choices, Message, ModelResponse

    call = {"id": "c", "type": "function", "function": {"name": "act", "arguments": json.dumps({"x": BAD})}}
    for said in (
        {"content": f"Do {BAD}."},
        {"content": "Fine.", "reasoning_content": BAD},
        {"content": "Fine.", "thinking_blocks": [{"type": "thinking", "thinking": BAD, "signature": "s"}]},
        {"content": None, "tool_calls": [call]},
        {"content": None, "function_call": {"name": "act", "arguments": BAD}},
        {
            "content": "Fine.",
            "annotations": [{"type": "url_citation", "url_citation": {"title": BAD, "url": "https://x.org"}}],
        },
        {"content": "Fine.", "provider_specific_fields": {"searched": BAD}},
    ):
        message = Message(role="assistant", **said)
        answer = whole(ModelResponse(choices=[Choices(message=message)]), program(max_revisions=0))
        assert BAD not in repr(answer.model_dump()), said
        assert REFUSED in answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "content_filter"
        assert answer.conscience["status"] == "refused"


def test_embeddings_and_the_like_say_nothing() -> None:
    """They go on as they are, without a review."""
    from litellm.types.utils import EmbeddingResponse

    for response in (
        EmbeddingResponse(model="m", data=[]),
        {"id": "file-1", "object": "file", "bytes": 3, "filename": "a.txt", "purpose": "batch"},
        {"id": "batch-1", "object": "batch", "output_file_id": "file-2", "status": "completed"},
    ):
        assert whole(response, program(gate=DOWN)) is response


def test_a_guardrail_without_a_model_is_told_when_the_proxy_starts() -> None:
    """Not with the first request."""
    from conscience.integrations.litellm import ConscienceGuardrail

    with pytest.raises(ConfigurationError, match="no model"):
        ConscienceGuardrail(guardrail_name="g")


def test_a_class_of_ones_own_has_the_hooks_itself() -> None:
    """LiteLLM looks for them in the last class alone."""
    from conscience.integrations.litellm import HOOKS, ConscienceGuardrail

    class Mine(ConscienceGuardrail):
        pass

    class Mine2(Mine):
        async def async_post_call_success_hook(self, *args: Any, **kwargs: Any) -> Any:
            return None

    for name in HOOKS:
        assert name in vars(Mine)
        assert name in vars(Mine2)
    assert vars(Mine2)["async_post_call_success_hook"] is not vars(Mine)["async_post_call_success_hook"]


@pytest.mark.parametrize("route", ["chat", "messages", "responses", "completions"])
def test_an_answer_is_judged_in_the_light_of_its_request(route: str) -> None:
    """Of every route: instructions, earlier turns, what tools returned."""
    from litellm.types.llms.openai import ResponsesAPIResponse
    from litellm.types.utils import Choices, Message, ModelResponse, TextCompletionResponse

    call = {"id": "c1", "type": "function", "function": {"name": "act", "arguments": '{"what": "look"}'}}
    asked: dict[str, dict[str, Any]] = {
        "chat": {
            "messages": [
                {"role": "system", "content": "You are a vet."},
                {"role": "user", "content": "Umbrella?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "It rains."},
            ]
        },
        "messages": {
            "system": "You are a vet.",
            "max_tokens": 10,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Umbrella?"}]},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c1", "name": "act", "input": {"what": "look"}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "It rains."}]},
            ],
        },
        "responses": {
            "instructions": "You are a vet.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Umbrella?"}]},
                {"type": "function_call", "call_id": "c1", "name": "act", "arguments": '{"what": "look"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "It rains."},
            ],
        },
        "completions": {"prompt": "You are a vet. It rains. Umbrella?"},
    }
    said: dict[str, Any] = {
        "chat": ModelResponse(choices=[Choices(message=Message(role="assistant", content="Take one."))]),
        "messages": wires.answer({"model": "claude"}, "Take one."),
        "responses": ResponsesAPIResponse(**wires.answer({"input": ""}, "Take one.")),  # type: ignore[arg-type]
        "completions": TextCompletionResponse(**wires.answer({"prompt": ""}, "Take one.")),  # type: ignore[arg-type]
    }
    lm = scripted()
    whole(said[route], program(lm=lm), {"model": "m", **asked[route]})
    seen = repr(lm.calls[0][0])
    for text in ("You are a vet.", "Umbrella?", "It rains.", "Take one."):
        assert seen.count(text) == 1, (text, seen)


def choice_of(content: str, tokens: Sequence[str] = (), **call: Any) -> Any:
    from litellm.types.utils import ChoiceLogprobs, Choices, Message

    asked = [{"id": "1", "type": "function", "function": {"name": "act", "arguments": "{}"}, **call}] if call else None
    told = ChoiceLogprobs(content=[{"token": token, "logprob": -0.1, "top_logprobs": []} for token in tokens])
    return Choices(message=Message(content=content, tool_calls=asked), logprobs=told)


def test_what_stands_beside_a_text_and_a_call_is_reviewed() -> None:
    """Tokens of thoughts that a server has taken out, and further fields of a call."""
    from litellm.types.utils import ModelResponse

    for choice in (choice_of("Fine.", [BAD, " Fine."]), choice_of("Fine.", extra=BAD), choice_of("Fine.", ["Fi", "ne."])):
        shown = whole(ModelResponse(choices=[choice]), program(max_revisions=0)).model_dump_json()
        assert BAD not in shown
    assert '"token":"Fi"' in shown  # those of the answer itself stay
