"""The light wire and LiteLLM, side by side over servers' habits: what callers send and see is the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Backend, BackendError
from conscience._dspy.lm import LMError
from conscience.backends.models import table as model_table
from conscience.backends.transports import LiteLLMTransport
from conscience.backends.wire import transport as openai_wire
from conscience.backends.wire.transport import wire_transport
from conscience.messages.chunks import STREAMING, Chunks
from conscience.messages.completion import Completion, clean
from tests.support.loopback import Body, Loopback, Raw, Streamed, chat, chunk, stream
from tests.support.quirks import ANSWERS, BETTER, FAILURES

KEY = "sk-test-secret-0123"
DONE = b"data: [DONE]\n\n"
ASKED = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def quirky() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


def options(server: Loopback, model: str) -> dict[str, Any]:
    if model.startswith("azure/"):
        return {"api_base": server.url.removesuffix("/v1"), "api_key": KEY, "api_version": "2024-06-01"}
    return {"api_base": server.url, "api_key": KEY}


def light(server: Loopback, model: str = "openai/fake", **more: Any) -> openai_wire.OpenAIWireTransport:
    transport = wire_transport(model, {**options(server, model), **more})
    assert isinstance(transport, openai_wire.OpenAIWireTransport)
    return transport


def heavy(server: Loopback, model: str = "openai/fake", **more: Any) -> LiteLLMTransport:
    return LiteLLMTransport(model, {**options(server, model), **more})


def over_the_wire(transport: openai_wire.OpenAIWireTransport, params: dict[str, Any] | None = None) -> Any:
    """The answer of a call that must not be LiteLLM's."""
    answer = transport.try_call(ASKED, params or {}, 20.0)
    assert answer is not None, "the call was left to LiteLLM"
    return answer


def seen(body: Body, dollars: float | None) -> dict[str, Any]:
    """What callers see of an answer."""
    reply = Completion(clean(body), "m", dollars)
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in reply.message.get("tool_calls") or ()]
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "finish": reply.finish_reason,
        "first token": list(reply.first_token),
        "tokens": reply.tokens(),
        "calls": calls,
        "function call": reply.message.get("function_call"),
        "refusal": reply.message.get("refusal"),
        "choices": len(body["choices"]),
        "dollars": dollars,
    }


def failure(transport: Any) -> LMError:
    with pytest.raises(LMError) as caught:
        transport.call(ASKED, {}, 20.0) if isinstance(transport, LiteLLMTransport) else None
    return caught.value


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_reads_the_same_over_both_wires(quirky: Loopback, name: str) -> None:
    quirky.behaviour = lambda body, number: ANSWERS[name]
    assert seen(*over_the_wire(light(quirky))) == seen(*heavy(quirky).call(ASKED, {}, 20.0))


@pytest.mark.parametrize("name", ["plain", "tool calls", "logprobs", "429 with seconds", "half a body"])
async def test_async_and_sync_are_one(quirky: Loopback, name: str) -> None:
    quirky.behaviour = lambda body, number: {**ANSWERS, **FAILURES}[name]
    transport = light(quirky)
    if name in ANSWERS:
        answer = await transport.atry_call(ASKED, {}, 20.0)
        assert answer is not None
        assert seen(*answer) == seen(*await asyncio.to_thread(over_the_wire, transport))
    else:
        with pytest.raises(LMError) as caught:
            await transport.atry_call(ASKED, {}, 20.0)
        assert type(caught.value) is type(await asyncio.to_thread(failure, transport))


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_the_same_over_both_wires(quirky: Loopback, name: str) -> None:
    quirky.behaviour = lambda body, number: FAILURES[name]
    ours, theirs = failure(light(quirky)), failure(heavy(quirky))
    assert type(ours) is type(theirs)
    assert ours.provider_code == theirs.provider_code or theirs.provider_code is None
    if isinstance(FAILURES[name], Raw) and FAILURES[name].status >= 300:  # type: ignore[union-attr]
        assert ours.status == theirs.status
    if theirs.retry_after is None:
        assert ours.retry_after is None
    else:
        assert ours.retry_after == pytest.approx(theirs.retry_after, abs=5.0)
    words = FAILURES[name]
    if isinstance(words, Raw) and words.text.startswith('{"error"'):
        assert json.loads(words.text)["error"]["message"] in ours.message


@pytest.mark.parametrize("name", ["402", "429 out of quota", "redirected", "an error inside of an answer"])
def test_what_no_caller_can_help_is_not_the_callers_fault(quirky: Loopback, name: str) -> None:
    """An account without money, a wrong address: any other call would meet the same."""
    others = {"redirected": Raw(307, "{}"), "an error inside of an answer": {"error": "the runner was killed"}}
    quirky.behaviour = lambda body, number: {**FAILURES, **others}[name]
    with pytest.raises(BackendError) as caught:
        quirky.backend(cache=False, retries=0).complete(ASKED, {})
    assert caught.value.gone
    assert caught.value.retryable == (name == "an error inside of an answer")


def test_a_body_that_is_not_read_is_not_quoted(quirky: Loopback) -> None:
    """Its words may be the model's answer, which nobody has reviewed."""
    quirky.behaviour = lambda body, number: {"message": "Take two parts of it."}
    assert "parts" not in failure(light(quirky)).message


@pytest.mark.parametrize("name", BETTER)
def test_what_litellm_cannot_read_is_read(quirky: Loopback, name: str) -> None:
    quirky.behaviour = lambda body, number: BETTER[name]
    if "error" in name or name == "cut off":
        error = failure(light(quirky))
        assert any(words in error.message for words in ("bad things", "ends too soon", "broken off"))
        return
    view = seen(*over_the_wire(light(quirky)))
    assert view["text"] in ("hi", "ab")
    assert all(0 <= count < 2**53 for count in view["tokens"])
    assert view["first token"] == ([("a", -1.0), ("b", -2.0)][: 1 if "without" in name else 2] if "of old" in name else [])


def test_no_answer_and_no_server_are_transport_errors(quirky: Loopback) -> None:
    from conscience._dspy.lm import lm_errors, retryable

    quirky.behaviour = lambda body, number: Raw(hang=5.0, text="{}")
    with pytest.raises(lm_errors.LMTimeoutError, match=r"within 0\.3 seconds"):
        light(quirky).call(ASKED, {}, 0.3)
    gone = wire_transport("openai/fake", {"api_base": "http://127.0.0.1:9/v1", "api_key": KEY})
    error = failure(gone)
    assert isinstance(error, lm_errors.LMTransportError)
    assert retryable(error)
    assert "refused" in error.message


# What is sent ----------------------------------------------------------------------------------------------------------

MODELS = [
    "gpt-4o-mini",
    "openai/gpt-4o-mini",
    "openai/fake",
    "openai/o3-mini",
    "openai/gpt-5",
    "openai/gpt-5.1",
    "azure/gpt-4o-mini",
    "hosted_vllm/x",
    "groq/llama-3.3-70b-versatile",
    "deepseek/deepseek-chat",
    "openrouter/openai/gpt-4o-mini",
    "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "fireworks_ai/accounts/fireworks/models/gpt-oss-120b",
    "xai/grok-3",
    "xai/grok-4",
    "mistral/mistral-small-latest",
    "lm_studio/x",
]
SCHEMA = {"name": "a", "strict": True, "schema": {"type": "object", "properties": {"x": {"type": "string"}}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PARAMS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a gate": {"temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20},
    "sampling": {"temperature": 1, "max_completion_tokens": 5, "seed": 3, "stop": ["a"], "top_p": 0.5, "n": 1},
    "temperature": {"temperature": 0.3, "max_tokens": 7},
    "json_object": {"response_format": {"type": "json_object"}},
    "json_schema": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    "effort": {"reasoning_effort": "low"},
    "penalties": {"presence_penalty": 0.1, "frequency_penalty": 0.1},
    "user": {"user": "u"},
    "extras": {"top_k": 3, "min_p": 0.1, "extra_body": {"z": 1}},
    "tools": {"tools": [TOOL], "tool_choice": "auto"},
    "a choice of no tool": {"tool_choice": "auto"},
    "nulls": {"stop": None, "seed": None, "temperature": 1},
}
TALK = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "é\u2028 hi"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "and?"},
]

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
PARTS = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}]


def answered(body: Body, number: int) -> Body:
    return {**chat("hi"), "service_tier": "default"}  # LiteLLM fails on Groq's answers without it


def sent(server: Loopback, call: Any) -> Any:
    """The path, body and price of a call, or the class of its error."""
    begun = len(server.calls)
    try:
        _, dollars = call()
    except LMError as error:
        return type(error)
    assert len(server.calls) == begun + 1
    return server.paths[-1], server.calls[-1], dollars


def is_sent(transport: openai_wire.OpenAIWireTransport, params: dict[str, Any]) -> bool:
    """Whether a call goes over the light wire, or is refused by it."""
    try:
        return transport._request(TALK, params) is not None
    except LMError:
        return True


@pytest.mark.parametrize("model", MODELS)
def test_the_same_request_is_sent_for_the_same_price(quirky: Loopback, model: str) -> None:
    quirky.behaviour = answered
    ours, theirs = light(quirky, model), heavy(quirky, model)
    over_litellm = []
    for name, params in PARAMS.items():
        if not is_sent(ours, params):
            over_litellm.append(name)
            continue
        wire = sent(quirky, lambda params=params: ours.try_call(TALK, params, 20.0))
        assert wire == sent(quirky, lambda params=params: theirs.call(TALK, params, 20.0)), name
    if ours._to.dialect.parts:
        wire = sent(quirky, lambda: ours.try_call(PARTS, {}, 20.0))
        assert wire == sent(quirky, lambda: theirs.call(PARTS, {}, 20.0))
    assert {"nothing", "a gate", "sampling", "temperature"}.isdisjoint(over_litellm)
    assert ours.identity({}) == theirs.identity({})
    assert {f for f in FEATURES if f in model_table.features(ours._to)} == {f for f in FEATURES if theirs.supports(f)}


FEATURES = ("logprobs", "schema", "tools", "reasoning", "parallel")


def test_headers_are_the_same(quirky: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    quirky.behaviour = answered
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org-2")
    for more in ({}, {"extra_headers": {"x-a": "b"}}, {"headers": {"x-a": "b"}, "organization": "org-1"}):
        light(quirky, **more).call(ASKED, {}, 20.0)
        ours = quirky.headers[-1]
        heavy(quirky, **more).call(ASKED, {}, 20.0)
        for name in ("authorization", "content-type", "accept", "openai-organization", "x-a"):
            assert ours.get(name) == quirky.headers[-1].get(name), name


PRICED = ["openai/gpt-4o", "openai/gpt-5.1", "deepseek/deepseek-chat", "groq/openai/gpt-oss-120b", "xai/grok-3"]
USAGES = [(1000, 100, 0), (1000, 100, 400), (250_000, 50, 1000), (300_000, 50, 0), (0, 0, 0)]


@pytest.mark.parametrize("model", PRICED)
@pytest.mark.parametrize("tier", ["default", "priority", "flex"])
def test_prices_are_litellms(quirky: Loopback, model: str, tier: str) -> None:
    for prompt, completion, cached in USAGES:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        usage["prompt_tokens_details"] = {"cached_tokens": cached}  # type: ignore[assignment]
        quirky.behaviour = lambda body, number, usage=usage: {**answered(body, number), "usage": usage, "service_tier": tier}
        ours, theirs = light(quirky, model).call(ASKED, {}, 20.0)[1], heavy(quirky, model).call(ASKED, {}, 20.0)[1]
        assert ours == (theirs if theirs is None else pytest.approx(theirs, rel=1e-9)), (prompt, cached)


# Any body --------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "message": st.fixed_dictionaries(
                        {}, optional=dict.fromkeys(("content", "tool_calls", "refusal", "reasoning", "role"), JSON)
                    )
                    | JSON,
                    "logprobs": st.fixed_dictionaries({"content": JSON}) | JSON,
                    "finish_reason": JSON,
                },
            )
            | JSON,
            max_size=2,
        )
        | JSON,
        "usage": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("prompt_tokens", "completion_tokens", "prompt_tokens_details"), JSON)
        )
        | JSON,
        "error": JSON,
        "service_tier": JSON,
    },
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=FIELDS | JSON, raw=st.binary(max_size=40), as_json=st.booleans(), status=st.sampled_from([200, 200, 400, 429, 503])
)
def test_any_body_ends_in_an_answer_or_an_error_of_ours(body: Any, raw: bytes, as_json: bool, status: int) -> None:
    from conscience.backends.wire.http_client import Reply

    content = json.dumps(body).encode() if as_json else raw
    transport = wire_transport("openai/gpt-4o-mini", {"api_key": KEY})
    assert isinstance(transport, openai_wire.OpenAIWireTransport)
    try:
        answer = transport._answer(Reply(status, {"content-type": "application/json"}, content))
    except LMError:
        return
    view = seen(*answer) if answer[0]["choices"] else {"text": ""}
    assert isinstance(view["text"], str)


# Whose call it is ------------------------------------------------------------------------------------------------------


def test_whoever_hooked_into_litellm_gets_every_call(quirky: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    import litellm

    quirky.behaviour = answered
    transport = light(quirky)
    assert transport.try_call(ASKED, {}, 20.0) is not None
    monkeypatch.setattr(litellm, "success_callback", [print])
    assert transport.try_call(ASKED, {}, 20.0) is None
    monkeypatch.setattr(litellm, "success_callback", [])
    monkeypatch.setenv("USE_LITELLM_PROXY", "true")
    assert transport.try_call(ASKED, {}, 20.0) is None


@pytest.mark.parametrize(
    ("params", "messages"),
    [
        ({"metadata": {"a": 1}}, ASKED),
        ({"drop_params": True}, ASKED),
        ({"response_format": dict}, ASKED),
        ({}, [{"role": "developer", "content": "hi"}]),
        ({}, [{"role": "user", "content": [{"type": "file", "file": {}}]}]),
        ({}, [{"role": "user", "content": "hi", "cache_control": {}}]),
    ],
)
def test_what_litellm_would_change_is_left_to_it(quirky: Loopback, params: Any, messages: Any) -> None:
    assert light(quirky).try_call(messages, params, 20.0) is None


@pytest.mark.parametrize(
    "model", ["anthropic/claude-sonnet-4-5", "ollama/llama3", "gemini/x", "openai/o1-pro", "replicate/x"]
)
def test_other_providers_are_litellms(model: str) -> None:
    assert type(wire_transport(model, {})) is LiteLLMTransport


STREAMS = {
    "text": stream("Par", "is. ", "\u00fc \U0001f600"),
    "thinking beside": Streamed([chunk(None, reasoning_content="Hm."), chunk("Paris."), chunk(finish="stop"), DONE]),
    "a tool's call": Streamed(
        [
            chunk(
                None, tool_calls=[{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]
            ),
            chunk(None, tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
            chunk(finish="tool_calls"),
            DONE,
        ]
    ),
    "cut at its limit": Streamed([chunk("Par"), chunk(finish="length"), chunk(usage=True), DONE]),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_the_same_is_read_of_a_stream(quirky: Loopback, name: str) -> None:
    """Tokens aside, which both estimate where the server counts none."""
    quirky.behaviour = lambda body, number: STREAMS[name]
    read = []
    for transport in (light(quirky), heavy(quirky)):
        chunks = Chunks()
        body, dollars = await transport.acall(ASKED, dict(STREAMING), 20.0, chunks)
        assert chunks.pieces
        read.append({**seen(body, dollars), "tokens": None})
    assert read[0] == read[1]


async def test_litellms_stream_is_closed_upstream(quirky: Loopback) -> None:
    """When its reader leaves, as on the light wire."""
    quirky.behaviour = lambda body, number: Streamed([chunk("one"), chunk(" ")], endless=True)
    before = len(quirky.left)
    answer = quirky.backend(engine="litellm").astream(ASKED, {})
    assert await anext(answer) == "one"
    await answer.aclose()
    for _ in range(100):
        if len(quirky.left) > before:
            break
        await asyncio.sleep(0.02)
    assert len(quirky.left) == before + 1


@pytest.mark.parametrize("engine", ["litellm", "auto"])
async def test_a_dspy_lm_streams_by_each_of_its_engines(quirky: Loopback, engine: str) -> None:
    """What it streams is what it answers."""
    quirky.behaviour = lambda body, number: stream("Par", "is.")
    lm = dspy.LM("openai/fake", api_base=quirky.url, api_key=KEY, engine=engine, cache=False)
    *pieces, completion = [part async for part in Backend(lm, cache=False).astream(ASKED, {})]
    assert ("".join(map(str, pieces)), completion.text) == ("Paris.", "Paris.")
    assert len(pieces) == 2


def test_a_provider_that_knows_no_usage_of_streams_is_not_asked_for_it(quirky: Loopback) -> None:
    """As LiteLLM does not."""
    quirky.behaviour = lambda body, number: stream("Paris.")
    backend = Backend("mistral/mistral-large-latest", api_base=quirky.url, api_key=KEY, cache=False)
    assert next(iter(backend.stream(ASKED, {}))) == "Paris."
    assert quirky.calls[-1]["stream"] is True
    assert "stream_options" not in quirky.calls[-1]
