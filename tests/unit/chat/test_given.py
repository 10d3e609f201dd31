"""Completions from anywhere: what passes comes back as it was, and nothing that nobody reviewed comes back at all."""

from __future__ import annotations

import json
from typing import Any

from conscience import Conscience
from conscience.chat import acorrect, correct
from conscience.testing import ScriptedLM, by_stage
from tests.unit.chat.test_answering import BAD, FINDING, TOOLS, flags

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}


def program(gate: Any = 0.05, revise: Any = "It may fail.") -> Conscience:
    return Conscience(lm=ScriptedLM(by_stage("not asked", gate=gate, critique=FINDING, revise=revise)))


def completion(*messages: Any, **more: Any) -> dict[str, Any]:
    choices = [
        {"index": n, "message": {"role": "assistant", **message}, "finish_reason": "stop", "logprobs": None}
        for n, message in enumerate(messages)
    ]
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **more}


def call(arguments: str) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "remove", "arguments": arguments}}


def test_what_passes_comes_back_as_it_was() -> None:
    given = completion(
        {"content": "Fine.", "annotations": [{"type": "url_citation", "title": "A"}]}, usage={"total_tokens": 3}
    )
    body = correct(program(), ASKED, given)
    report = body.pop("conscience")
    assert (body, report["status"]) == (given, "clean")


def test_what_nobody_reviewed_does_not_come_back() -> None:
    given = completion({"content": "Fine.", "audio": {"transcript": "SECRET"}, "x": "SECRET"}, y="SECRET")
    given["choices"][0]["text"] = "SECRET"
    assert "SECRET" not in json.dumps(correct(program(), ASKED, given))
    both = completion(
        {"content": "Fine.", "refusal": "SECRET", "reasoning_content": "seen", "reasoning": {"text": "SECRET"}}
    )
    body = correct(program(), ASKED, both)
    assert "SECRET" not in json.dumps(body)
    assert body["choices"][0]["message"]["reasoning_content"] == "seen"


def test_thinking_in_the_text_and_annotations_are_reviewed() -> None:
    for message in (
        {"content": "<think>It cannot be.</think>Fine."},
        {"content": "Fine.", "reasoning_content": "It cannot be."},
        {"content": "Fine.", "reasoning_content": "Calm.", "reasoning": "It cannot be."},
        {"content": "Fine.", "reasoning_content": "Calm.", "reasoning_details": [{"summary": "It cannot be."}]},
        {"content": "Fine.", "annotations": [{"title": "It cannot be."}]},
    ):
        asked: list[str] = []

        def gate(messages: list[dict[str, Any]], params: dict[str, Any], asked: list[str] = asked) -> float:
            asked.append(json.dumps(messages))
            return 0.05

        correct(program(gate), ASKED, completion(message))
        assert "It cannot be." in asked[0]


async def test_each_choice_is_reviewed_and_keeps_its_place() -> None:
    body = await acorrect(
        program(flags("cannot")), ASKED, completion({"content": BAD}, {"content": None}, {"content": "Fine."})
    )
    contents = [choice["message"]["content"] for choice in body["choices"]]
    assert contents == ["It may fail.", "", "Fine."]
    assert [choice["conscience"]["status"] for choice in body["choices"]] == ["revised", "unreviewed", "clean"]
    assert "cannot" not in json.dumps(body)


def test_a_call_of_a_tool_is_revised_to_a_text() -> None:
    given = completion({"content": None, "tool_calls": [call('{"path": "cannot"}')]})
    body = correct(program(flags("cannot")), {**ASKED, "tools": TOOLS}, given)
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "It may fail.", "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"


def test_a_call_of_another_form_is_reviewed_whole() -> None:
    odd = {"id": "c1", "type": "custom", "custom": {"name": "run", "input": "it cannot be"}}
    body = correct(program(flags("cannot"), revise="No."), ASKED, completion({"content": None, "tool_calls": [odd]}))
    assert body["conscience"]["status"] == "revised"
