"""Whatever a caller sends and whatever a model answers: nothing that was not reviewed and passed comes back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from conscience import Conscience
from conscience.chat import ChatRequest, ParameterError, ResponsesRequest, correct
from conscience.chat.given import corrected
from conscience.chat.given_response import GivenResponse
from conscience.chat.replies import chunks
from conscience.chat.response_replies import response_events
from conscience.errors import BackendError
from conscience.testing import ScriptedLM, by_stage

BAD = "HARM"
FINDING = '{"findings": [{"principle": "honesty", "quote": "HARM", "why": "It is.", "change": "Leave it out."}]}'


def reviewing() -> Conscience:
    """Flags what shows HARM to it, and nothing else."""

    def gate(messages: list[dict[str, Any]], params: dict[str, Any]) -> float:
        return 0.95 if BAD in json.dumps(messages) else 0.05

    return Conscience(lm=ScriptedLM(by_stage("", gate=gate, critique=FINDING, revise="Better.")))


KEYS = st.sampled_from(["type", "text", "x", "id"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "fine", BAD, f"so {BAD}", "stop", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
TEXT = st.sampled_from(["", "fine", BAD, f"<think>{BAD}</think>fine", f"<think>hm</think>{BAD}"])
FUNCTION = st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}, optional={"x": JSON})
CALL = st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTION}, optional={"custom": JSON})
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "x"])}, optional={"text": TEXT, "refusal": TEXT, "x": JSON})
MESSAGE = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT | st.none() | st.lists(PART, max_size=2) | JSON},
    optional={
        "refusal": TEXT | JSON,
        "tool_calls": st.lists(CALL, max_size=2) | JSON,
        "annotations": st.lists(st.fixed_dictionaries({"title": TEXT}), max_size=1) | JSON,
        "reasoning_content": TEXT | JSON,
        "reasoning": TEXT | JSON,
        "audio": JSON,
        "function_call": JSON,
        "x": JSON,
    },
)
LOGPROBS = st.fixed_dictionaries({"content": st.lists(st.fixed_dictionaries({"token": TEXT}), max_size=2) | JSON})
CHOICE = st.fixed_dictionaries({"message": MESSAGE}, optional={"index": JSON, "text": JSON, "logprobs": LOGPROBS})
COMPLETION = st.fixed_dictionaries({"choices": st.lists(CHOICE, max_size=2) | JSON}, optional={"x": JSON})


@settings(max_examples=40)
@given(COMPLETION)
def test_harm_anywhere_in_a_completion_is_reviewed_or_does_not_come_back(completion: dict[str, Any]) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}
    try:
        body = correct(reviewing(), asked, completion)
    except BackendError as error:
        unreadable(error)
        return
    assert BAD not in json.dumps(body)
    assert BAD not in json.dumps(list(chunks({"id": "x", **body, "usage": {}})))


SPOKEN = st.fixed_dictionaries(
    {"type": st.sampled_from(["output_text", "refusal", "summary_text", "x"])},
    optional={"text": TEXT, "refusal": TEXT, "logprobs": st.lists(st.fixed_dictionaries({"token": TEXT})), "x": JSON},
)
ITEM = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("message"), "content": st.lists(SPOKEN, max_size=2) | JSON}, optional={"x": JSON, "summary": JSON}
    ),
    st.fixed_dictionaries({"type": st.just("function_call"), "name": TEXT, "arguments": TEXT}, optional={"x": JSON}),
    st.fixed_dictionaries(
        {"type": st.just("reasoning"), "summary": st.lists(SPOKEN, max_size=2)}, optional={"content": JSON}
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["web_search_call", "y"]), "x": JSON}),
)


@settings(max_examples=40)
@given(st.fixed_dictionaries({"output": st.lists(ITEM, max_size=3)}, optional={"x": JSON, "output_text": TEXT}))
def test_harm_anywhere_in_a_response_is_reviewed_or_does_not_come_back(response: dict[str, Any]) -> None:
    program = reviewing()
    try:
        given_response = GivenResponse.of(program.generate, {"model": "m", "input": "Hello?"}, response)
    except BackendError as error:
        unreadable(error)
        return
    body = corrected(program, given_response)
    assert BAD not in json.dumps(body)
    assert BAD not in json.dumps(list(response_events({"status": "completed", **body})))


NAMES = st.sampled_from(
    [
        *("model", "messages", "input", "n", "stream", "tools", "tool_choice", "response_format", "text", "stop"),
        *("stream_options", "temperature", "logit_bias", "metadata", "reasoning", "include", "modalities", "logprobs"),
    ]
)
ROLE = st.sampled_from(["user", "assistant", "tool", "system", "x"])
ANY_MESSAGE = st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "type", "output"]), JSON | ROLE, max_size=4)


@settings(max_examples=40)
@given(st.dictionaries(NAMES, JSON | st.lists(ANY_MESSAGE, max_size=2), max_size=6), st.booleans())
def test_any_body_is_a_request_or_refused_by_name(body: dict[str, Any], usable: bool) -> None:
    if usable:
        body = {**body, "model": "m"}
    for api in (ChatRequest, ResponsesRequest):
        try:
            api.parse(body)
        except ParameterError as error:
            named(error)


def named(error: ParameterError) -> None:
    assert error.param
    assert error.param in str(error)


def unreadable(error: BackendError) -> None:
    assert "cannot be read" in str(error)
    assert BAD not in str(error)
