"""A reply's body of any shape ends in an answer or in one of our errors, over both wires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import dspy
import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Backend, BackendError
from conscience._dspy.lm import litellm
from conscience.backends.wire import transport
from conscience.backends.wire.connection import Reply
from tests.support.loopback import Loopback, Raw, chat

WHOLE = chat("hi", yes=0.9, tool_calls=[{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}])
NAMES = (
    *("choices", "message", "content", "logprobs", "top_logprobs", "usage", "error", "tool_calls", "function", "model"),
    *("token", "logprob", "finish_reason", "prompt_tokens", "prompt_tokens_details", "reasoning_content", "id"),
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "\ud800", "a\0", 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A good body in which some values are others, or bytes of any kind."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    body = json.loads(json.dumps(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
                place = inner
                continue
            place[key] = draw(ODD)
            break
    text = json.dumps(body).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 19)) == 0 else text


class Below:
    """What answers below the clients of either wire."""

    content, status = b"", 200

    def httpx(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, content=self.content, headers={"content-type": "application/json"})

    def post(self, url: str, headers: Any, content: bytes, seconds: float) -> Reply:
        return Reply(self.status, {"content-type": "application/json"}, self.content)


@pytest.fixture(params=["wire", "litellm"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Below, Backend]]:
    below = Below()
    monkeypatch.setattr(transport, "post", below.post)
    options = {"cache": False, "retries": 0, "engine": request.param}
    backend = Backend("openai/any", api_base="http://127.0.0.1:9", api_key="k", **options)
    if request.param == "wire":
        yield below, backend
        return
    litellm().client_session = httpx.Client(transport=httpx.MockTransport(below.httpx))
    try:
        yield below, backend
    finally:
        litellm().client_session = None  # as it was; what is left there turns every later call into LiteLLM's


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(body=bodies(), status=st.sampled_from([200, 200, 200, 201, 400, 500]), logprobs=st.booleans())
def test_any_body_is_an_answer_or_an_error(asked: tuple[Below, Backend], body: bytes, status: int, logprobs: bool) -> None:
    """An answer can be read in every part, and stored."""
    below, backend = asked
    below.content, below.status = body, status
    params = {"logprobs": True, "top_logprobs": 5} if logprobs else {}
    try:
        completion = backend.complete([{"role": "user", "content": "hi"}], params)
    except BackendError:
        return
    assert all(isinstance(text, str) for text in (completion.text, completion.reasoning, completion.finish_reason))
    assert all(isinstance(logprob, float) for _, logprob in completion.first_token)
    assert all(count >= 0 for count in completion.tokens())
    assert orjson.loads(orjson.dumps(completion.body)) == completion.body


@pytest.mark.parametrize("message", [3.5, {"content": None}, [1], float("inf")], ids=str)
def test_errors_of_odd_shapes_are_errors_of_a_users_lm_too(message: Any) -> None:
    """DSPy's own engine hands the message on as it is, or trips over it."""
    with Loopback(lambda body, number: Raw(400, json.dumps({"error": {"message": message, "type": {}}}))) as server:
        lm = dspy.LM("openai/any", api_base=server.url, api_key="k", cache=False, num_retries=0)
        with pytest.raises(BackendError):
            Backend(lm, retries=0).complete([{"role": "user", "content": "hi"}], {"temperature": 0.0})
