"""Streams that release what has passed: what a client sees while an answer is still generated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from conscience import Conscience
from conscience.server import Policy
from conscience.testing import ScriptedLM, by_stage
from tests.bench.many_streams import run
from tests.support.serving import FINDING, HARM, Serving, serving

SAFE = " ".join(f"This is sentence number {number} of a longer answer." for number in range(20))
TURNS = SAFE.replace("sentence number 12", f"{HARM} number 12")
KEYS = {name: Policy(name, f"key-of-{name}", release=name) for name in ("hold", "window")}  # type: ignore[arg-type]


def story() -> Conscience:
    """An answer of many sentences, one of which is flagged where the request asks for it."""
    script = by_stage(
        lambda messages, params: TURNS if "turn" in str(messages) else SAFE,
        gate=lambda messages, params: 0.95 if HARM in str(messages[-2:-1]) else 0.05,
        critique=json.dumps({"findings": [FINDING]}),
        revise="And that is all.",
    )
    return Conscience(lm=ScriptedLM(script, seconds=0.1))


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with serving({"m": story()}, policies=list(KEYS.values())) as running:
        yield running


def client(served: Serving, release: str = "window") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEYS[release].key, max_retries=0)


def turn(text: str) -> Any:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("asked", ["go on", "turn"])
def test_a_chat_is_released_as_it_passes(served: Serving, asked: str) -> None:
    """In windows, none of them flagged; and put together, it is the answer that a client gets that does not stream."""
    chunks = list(client(served).chat.completions.create(**turn(asked), stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert any(len(text) > 40 for text in texts)  # windows, not words
    assert HARM not in "".join(texts)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens > 0
    if asked == "turn":
        assert "".join(texts).startswith("This is sentence number 0 of a longer answer. ")
        assert "And that is all." in "".join(texts)
    else:
        assert "".join(texts) == SAFE


@pytest.mark.parametrize("asked", ["go on", "turn"])
def test_a_response_is_released_as_it_passes(served: Serving, asked: str) -> None:
    """Its events are a whole response's: numbered in order, and under the same ids."""
    events = list(client(served).responses.create(model="m", input=asked, stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    final = events[-1].response
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (final.output_text, final.id) == (text, events[0].response.id)
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {final.output[0].id}
    types = [event.type for event in events]
    assert types[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert types[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert HARM not in str(events)
    with client(served).responses.stream(model="m", input=asked) as stream:
        said = stream.get_final_response().output_text  # how much was released by then depends on the time
    assert said.startswith(SAFE[:40])
    assert said.endswith(text[-20:])
    assert HARM not in said


def test_each_key_streams_as_its_policy_says(served: Serving) -> None:
    held = list(client(served, "hold").chat.completions.create(**turn("go on"), stream=True))
    assert max(len(chunk.choices[0].delta.content or "") for chunk in held) < 20  # words, once it is over


@pytest.mark.parametrize("more", [{"response_format": {"type": "json_object"}}, {"logprobs": True}, {"n": 2}])
def test_what_is_told_of_an_answer_as_a_whole_is_held(served: Serving, more: dict[str, Any]) -> None:
    said = httpx.post(
        f"{served.url}/v1/chat/completions",
        json={**turn("turn"), **more, "stream": True},
        headers={"authorization": f"Bearer {KEYS['window'].key}"},
        timeout=30,
    )
    assert said.text.endswith("data: [DONE]\n\n")
    assert "sentence" not in said.text or "logprobs" in more  # all of it was revised
    assert HARM not in said.text


@pytest.mark.long
async def test_many_streams_at_once() -> None:
    """tests/bench/many_streams.py runs 200 for a minute: no byte that did not pass, no answer lost or crossed."""
    seen = await run(clients=100, seconds=8.0)
    assert seen.faults() == []
    assert seen.revised > 0
    assert seen.windows > seen.answers
    assert seen.growth < 60
