"""OpenAI's chat shapes in and out of a program: what reaches generation, what comes back, and what never does."""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest
from dspy import lm15

from conscience import ConfigurationError, Conscience
from conscience.chat import ChatRequest, ParameterError, acomplete, astream, complete
from conscience.testing import Fault, ScriptedLM, by_stage, is_critique

BAD = "It cannot fail."
FINDING = '{"findings": [{"principle": "honesty", "quote": "cannot", "why": "It can.", "change": "Say that it can."}]}'
TOOLS = [
    {"type": "function", "function": {"name": "remove", "description": "Removes a file.", "parameters": {"type": "object"}}}
]


def called(name: str = "remove", **arguments: Any) -> Any:
    part = lm15.ToolCallPart(id="call_1", name=name, input=arguments)
    return lm15.Response(
        id="x",
        model="m",
        message=lm15.Message.assistant(part),
        finish_reason="tool_call",
        usage=lm15.Usage(input_tokens=3, output_tokens=2),
    )


def asked(text: str = "Hello?", **more: Any) -> ChatRequest:
    return ChatRequest.parse({"model": "m", "messages": [{"role": "user", "content": text}], **more})


def flags(*bad: str) -> Any:
    return lambda messages, params: 0.95 if any(word in messages[-2]["content"] for word in bad) else 0.05


def test_a_clean_answer_is_a_chat_completion() -> None:
    body = complete(Conscience(lm=ScriptedLM(by_stage("Hi."))), asked())
    assert body["object"] == "chat.completion"
    assert body["model"] == "m"
    assert body["id"].startswith("chatcmpl-")
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hi.", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert body["conscience"]["status"] == "clean"
    assert body["conscience"]["flagged"] is False
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"] > 0


def test_a_draft_that_is_revised_or_refused_is_nowhere_in_the_body() -> None:
    revises = ScriptedLM(by_stage(BAD, gate=flags("cannot"), critique=FINDING, revise="It may fail."))
    body = complete(Conscience(lm=revises), asked())
    assert body["choices"][0]["message"]["content"] == "It may fail."
    assert body["conscience"]["status"] == "revised"
    assert body["conscience"]["principles"] == ["honesty"]
    assert "cannot" not in json.dumps(body)
    refuses = ScriptedLM(by_stage(BAD, gate=flags("cannot"), critique=FINDING, revise=BAD))
    body = complete(Conscience(lm=refuses), asked())
    assert body["conscience"]["status"] == "refused"
    assert body["conscience"]["flagged"] is True
    assert "cannot" not in json.dumps(body)


def test_a_failed_review_is_no_verdict() -> None:
    body = complete(Conscience(lm=ScriptedLM(by_stage(BAD, gate=Fault("auth")))), asked())
    report = body["conscience"]
    assert (report["status"], report["flagged"], report["probability"]) == ("unreviewed", None, None)
    assert report["error"]
    assert "cannot" not in json.dumps(body)


def test_a_call_of_a_tool_is_reviewed_with_its_name_and_arguments() -> None:
    seen: list[str] = []

    def gate(messages: list[dict[str, Any]], params: dict[str, Any]) -> float:
        seen.append(messages[-2]["content"])
        return 0.05

    body = complete(Conscience(lm=ScriptedLM(by_stage(called(path="/etc"), gate=gate))), asked(tools=TOOLS))
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "remove", "arguments": '{"path": "/etc"}'}
    assert "remove" in seen[0]
    assert "/etc" in seen[0]


@pytest.mark.parametrize("instead", ["Which file do you mean?", called(path="/tmp/x")])
def test_an_objectionable_call_is_revised_to_a_text_or_another_call(instead: Any) -> None:
    finding = FINDING.replace("cannot", "/etc")
    lm = ScriptedLM(by_stage(called(path="/etc"), gate=flags("/etc"), critique=finding, revise=instead))
    body = complete(Conscience(lm=lm), asked(tools=TOOLS))
    message = body["choices"][0]["message"]
    assert body["conscience"]["status"] == "revised"
    assert "/etc" not in json.dumps(body)
    if isinstance(instead, str):
        assert message["content"] == instead
        assert "tool_calls" not in message
    else:
        assert message["tool_calls"][0]["function"]["arguments"] == '{"path": "/tmp/x"}'


def test_parameters_reach_generation_and_not_the_review() -> None:
    lm = ScriptedLM(by_stage("Hi.", gate=0.1))
    complete(Conscience(lm=lm), asked(temperature=0.3, max_tokens=7, seed=3))
    (_, generation), (_, gate) = lm.calls
    assert generation["temperature"] == 0.3
    assert generation["max_tokens"] == 7
    assert gate["max_tokens"] == 1
    assert gate["temperature"] == 0.0
    assert "seed" not in gate


async def test_several_answers_are_reviewed_each() -> None:
    answers = iter([BAD, "Fine.", "Fine too."])
    lm = ScriptedLM(by_stage(lambda m, p: next(answers), gate=flags("cannot"), critique=FINDING, revise=BAD))
    body = await acomplete(Conscience(lm=lm), asked(n=3))
    statuses = [choice["conscience"]["status"] for choice in body["choices"]]
    assert sorted(statuses) == ["clean", "clean", "refused"]
    assert body["conscience"]["status"] == "refused"
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert "cannot" not in json.dumps(body)


async def test_chunks_join_to_the_answer_and_end_with_the_report() -> None:
    program = Conscience(lm=ScriptedLM(by_stage("A  long\nanswer. ")))
    request = asked(stream=True, stream_options={"include_usage": True})
    got = [chunk async for chunk in astream(program, request)]
    texts = [choice["delta"].get("content") or "" for chunk in got for choice in chunk["choices"]]
    assert "".join(texts) == "A  long\nanswer. "
    assert {chunk["id"] for chunk in got} == {got[0]["id"]}
    assert got[0]["choices"][0]["delta"]["role"] == "assistant"
    assert got[-2]["choices"][0]["finish_reason"] == "stop"
    assert got[-2]["conscience"]["status"] == "clean"
    assert got[-1]["choices"] == []
    assert got[-1]["usage"]["total_tokens"] > 0


def test_a_refusal_of_a_structured_answer_is_a_refusal_not_an_answer() -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    lm = ScriptedLM(by_stage('{"it": "cannot"}', gate=flags("cannot"), critique=FINDING, revise='{"it": "cannot"}'))
    (choice,) = complete(Conscience(lm=lm), asked(response_format=shape))["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["refusal"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], "body"),
        ({}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["hi"]}, "messages[0]"),
        ({"model": "m", "messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user"}]}, "messages[0].content"),
        ({"model": "m", "messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"model": "m", "messages": [{"role": "user", "content": "a\0"}]}, "messages"),
        ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_all": True}}, "stream_options.include_all"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": []}, "functions"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"store": True}, "store"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"temprature": 1}, "temprature"),
        ({"user": "a\ud800"}, "user"),
        ({"metadata": json.loads('{"a":' * 150 + "1" + "}" * 150)}, "metadata"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(body: Any, param: str) -> None:
    whole = isinstance(body, list) or param in ("model", "body") or "messages" in param
    sent = body if whole else {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}
    with pytest.raises(ParameterError) as caught:
        ChatRequest.parse(sent)
    assert caught.value.param == param
    assert param in str(caught.value)


def test_reviewers_are_told_which_tools_could_be_called() -> None:
    finding = FINDING.replace("cannot", "/etc")
    lm = ScriptedLM(by_stage(called(path="/etc"), gate=flags("/etc"), critique=finding, revise="No."))
    complete(Conscience(lm=lm), asked(tools=TOOLS))
    critique = next(messages for messages, _ in lm.calls if is_critique(messages))
    assert "remove: Removes a file." in critique[-1]["content"]


def test_a_developers_turn_is_a_systems_for_every_model() -> None:
    lm = ScriptedLM(by_stage("Hi."))
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    complete(Conscience(lm=lm), ChatRequest.parse({"model": "m", "messages": messages}))
    assert lm.calls[0][0][0] == {"role": "system", "content": "Be brief."}


def test_a_program_of_another_form_answers_what_it_can_and_refuses_the_rest_by_name() -> None:
    answer = "[[ ## reasoning ## ]]\nSo.\n\n[[ ## answer ## ]]\nParis.\n\n[[ ## completed ## ]]"
    program = Conscience(dspy.ChainOfThought("question -> answer"), lm=ScriptedLM(by_stage(answer)))
    body = complete(program, asked("The capital?", temperature=0.5))
    assert body["choices"][0]["message"]["content"] == "Paris."
    with pytest.raises(ParameterError, match="tools"):
        complete(program, asked(tools=TOOLS))
    with pytest.raises(ParameterError, match="temperature"):
        complete(Conscience(lambda question: "Paris.", lm={"review": ScriptedLM(by_stage())}), asked(temperature=0.5))
    with pytest.raises(ConfigurationError, match="documents, question"):
        complete(Conscience("documents, question -> answer", lm=ScriptedLM(by_stage())), asked())


@pytest.mark.parametrize("release", ["hold", "window"])
async def test_a_stream_that_calls_a_tool_has_no_text_beside_it(release: Any) -> None:
    program = Conscience("question -> answer", lm=ScriptedLM(by_stage(called(path="/tmp/x"))))
    question = [{"role": "user", "content": "Hello?"}]
    events = [event async for event in program.stream(question=question, config={"tools": TOOLS}, release=release)]
    assert [event for event in events if isinstance(event, str)] == []
    assert events[-1].tool_calls[0]["function"]["name"] == "remove"


def test_log_probabilities_are_those_of_the_text_that_comes_back() -> None:
    def worded(*tokens: str) -> Any:
        shown = tuple(lm15.TokenLogprob(token, -0.1, top=(lm15.TopLogprob(token, -0.1),)) for token in tokens)
        message = lm15.Message.assistant("".join(tokens))
        usage = lm15.Usage(input_tokens=3, output_tokens=2)
        return lm15.Response(id="x", model="m", message=message, finish_reason="stop", usage=usage, logprobs=shown)

    wanted = asked(logprobs=True, top_logprobs=1)
    (choice,) = complete(Conscience(lm=ScriptedLM(by_stage(worded("It", " may.")))), wanted)["choices"]
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["It", " may."]
    assert choice["logprobs"]["content"][0]["bytes"] == [73, 116]
    lm = ScriptedLM(by_stage(worded("It", " cannot."), gate=flags("cannot"), critique=FINDING, revise="It may."))
    assert complete(Conscience(lm=lm), wanted)["choices"][0]["logprobs"] is None
    thinks = ScriptedLM(by_stage(worded("<think>", "secret", "</think>", "It may.")))
    body = complete(Conscience(lm=thinks), wanted)
    assert body["choices"][0]["logprobs"] is None
    assert "secret" not in json.dumps(body)
