"""OpenAI's Responses API in and out of a program."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conscience import Conscience
from conscience.chat import ParameterError, ResponsesRequest, astream, complete
from conscience.testing import ScriptedLM, by_stage
from tests.unit.chat.test_answering import BAD, FINDING, called, flags

TOOLS = [{"type": "function", "name": "remove", "parameters": {"type": "object"}, "strict": False}]


def asked(given: Any = "Hello?", **more: Any) -> ResponsesRequest:
    return ResponsesRequest.parse({"model": "m", "input": given, **more})


def test_an_answer_is_a_response() -> None:
    body = complete(Conscience(lm=ScriptedLM(by_stage("Hi."))), asked(instructions="Be kind.", temperature=0.2))
    assert (body["object"], body["status"], body["instructions"]) == ("response", "completed", "Be kind.")
    assert body["output"][0]["content"][0]["text"] == "Hi."
    assert body["conscience"]["status"] == "clean"


def test_items_are_turns_calls_and_what_they_returned() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": "http://x/a.png"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
        {"type": "function_call_output", "call_id": "c2", "output": "a dog"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A cat.", "annotations": []}]},
        {"role": "user", "content": "Sure?"},
    ]  # fmt: skip
    messages = asked(items, instructions="Be kind.").chat.messages
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["c1", "c2"]
    assert messages[1]["content"][1] == {"type": "image_url", "image_url": {"url": "http://x/a.png"}}


def test_a_call_of_a_tool_is_an_item_of_its_own() -> None:
    body = complete(Conscience(lm=ScriptedLM(by_stage(called(path="/tmp/x")))), asked(tools=TOOLS))
    (item,) = body["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "remove", '{"path": "/tmp/x"}')
    assert item["call_id"] == "call_1"


async def test_events_hold_what_was_reviewed_and_nothing_of_the_draft() -> None:
    lm = ScriptedLM(by_stage(BAD, gate=flags("cannot"), critique=FINDING, revise="It may  fail."))
    events = [event async for event in astream(Conscience(lm=lm), asked(stream=True))]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "It may  fail."
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["conscience"]["status"] == "revised"
    assert "cannot" not in json.dumps(events)


PICTURE_BY_THE_ASSISTANT = {"role": "assistant", "content": [{"type": "input_image", "image_url": "http://x/a.png"}]}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": 3}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
        ({"instructions": "Be kind.", "input": [PICTURE_BY_THE_ASSISTANT]}, "input[0].content[0].type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"include": ["web_search_call.results"]}, "include[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"truncation": "auto"}, "truncation"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"n": 2}, "n"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    with pytest.raises(ParameterError) as caught:
        ResponsesRequest.parse({"model": "m", "input": "hi", **more})
    assert caught.value.param == param
