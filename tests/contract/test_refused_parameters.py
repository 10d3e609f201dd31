"""A backend that refuses a parameter costs one further call, once: the answer is reviewed, the outcome tells of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest

from conscience import Backend, BackendError, Conscience
from conscience.backends.habits.memory import LONGEST
from conscience.testing import is_written_score
from tests.support.loopback import Loopback, Raw, chat, is_critique, is_gate, well_behaved


def refusing(message: str, refuses: Callable[[Any], bool]) -> Callable[[Any, int], Any]:
    """A server that refuses some requests."""

    def behaviour(body: Any, number: int) -> Any:
        if refuses(body):
            return Raw(400, json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": None}}))
        if is_written_score(body["messages"]):
            return chat("Score: 95" if "BADWORD" in json.dumps(body) else "Score: 3")
        return well_behaved(body, number)

    return behaviour


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


def lm_of(kind: str, server: Loopback, **options: Any) -> Any:
    if kind.startswith("dspy"):
        engine = kind.partition(" ")[2]
        return dspy.LM("openai/fake", api_base=server.url, api_key="k", engine=engine, cache=False, num_retries=0, **options)
    return server.backend(engine=kind, **options)


KINDS = ("wire", "litellm", "dspy auto", "dspy litellm")


def tokens(body: Any) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 100)


REFUSED = {
    "temperature": ("'temperature' does not support 0.0 with this model.", lambda body: "temperature" in body, {}),
    "logprobs": ("logprobs is not supported with this model", lambda body: "logprobs" in body, {}),
    "20 candidates": ("top_logprobs must be at most 5", lambda body: body.get("top_logprobs", 0) > 5, {}),
    "one token": ("Invalid 'max_tokens'. Expected a value >= 16, but got 1.", lambda body: tokens(body) < 16, {}),
    "seed": ("Unknown parameter: 'seed'.", lambda body: "seed" in body, {"seed": 7}),
}
CASES = [(kind, name) for name in REFUSED for kind in (KINDS if name == "20 candidates" else KINDS[:1])]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_refused_parameter_is_learned(server: Loopback, kind: str, name: str) -> None:
    """The first answer is reviewed, and the next request is sent right at once."""
    refused: list[Any] = []
    message, refuses, options = REFUSED[name]

    def noted(body: Any) -> bool:
        refused.extend([body] if refuses(body) else [])
        return refuses(body)

    server.behaviour = refusing(message, noted)
    lm = lm_of(kind, server, **options)
    program = Conscience("question -> answer", lm=lm)
    outcome = program(question="What is the capital of France?")
    assert (outcome.status, len(refused)) == ("clean", 1)
    assert any("refused" in event for event in outcome.events), outcome.events
    assert program(question="UNSAFE").status == "revised"
    assert len(refused) == 1
    Backend.of(lm).transports[0].habits.clock = lambda: 2 * LONGEST + time.monotonic()
    assert program(question="And later?").status == "clean"
    assert len(refused) == 2, "it is tried again after a while"


@pytest.mark.parametrize("kind", ["wire", "litellm"])
def test_token_limits_of_another_name_and_a_schema_that_is_refused(server: Loopback, kind: str) -> None:
    """A model that no table knows, which refuses one thing after the other."""

    def behaviour(body: Any, number: int) -> Any:
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
        elif body.get("temperature", 1) != 1:
            message = "Unsupported value: 'temperature' does not support 0.0. Only the default (1) value is supported."
        elif "response_format" in body:
            message = "This response_format type is unavailable now"
        else:
            return well_behaved(body, number)
        return Raw(400, json.dumps({"error": {"message": message}}))

    server.behaviour = behaviour
    backend = server.backend(engine=kind, max_tokens=50, temperature=0.5)
    backend.transports[0].supports = lambda feature: feature in ("logprobs", "schema")
    program = Conscience("question -> answer", lm=backend)
    assert program(question="UNSAFE").status == "revised"
    calls = len(server.calls)
    assert program(question="UNSAFE too").status == "revised"
    assert len(server.calls) - calls == 5, "generate, gate, critique, revise, gate"


@pytest.mark.parametrize("kind", ["wire", "litellm"])
def test_an_error_that_quotes_the_request_teaches_nothing(server: Loopback, kind: str) -> None:
    """Whatever the request says: the next one is sent as ever."""
    said = "Unsupported parameter: 'temperature' is not supported with this model"

    def behaviour(body: Any, number: int) -> Any:
        text = body["messages"][-1]["content"]
        return (
            Raw(400, json.dumps({"error": {"message": f"Blocked: {text}"}})) if said in text else well_behaved(body, number)
        )

    server.behaviour = behaviour
    backend = server.backend(engine=kind, temperature=0.3)
    with pytest.raises(BackendError, match="InvalidRequest 400"):
        Conscience("question -> answer", lm=backend)(question=said)
    assert len(server.calls) == 1
    assert not backend.transports[0].habits.legal()


ANSWER_ONLY: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_object"},
    "n": 2,
    "stop": ["\n"],
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"5": 1},
    "max_completion_tokens": 70,
}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_the_answer_do_not_reach_the_review(server: Loopback, kind: str) -> None:
    """Gate and critique ask with their own, the revision with the draft's limits."""
    lm = lm_of(kind, server, **ANSWER_ONLY)
    assert Conscience("question -> answer", lm=lm)(question="UNSAFE").status == "revised"
    generate, gate, critique, revise, _ = server.calls
    assert generate["stop"] == ["\n"]
    if not kind.startswith("dspy"):
        assert ANSWER_ONLY.keys() - {"n"} <= generate.keys()
    others = {"tools", "tool_choice", "response_format", "stop", "logit_bias"}
    for call in (gate, critique):
        assert not call.keys() & others, call
        assert call.get("n", 1) == 1
        assert len(call.keys() & {"max_tokens", "max_completion_tokens"}) == 1
    assert is_gate(gate)
    assert (gate["top_logprobs"], tokens(gate)) == (20, 1)
    assert is_critique(critique)
    for call in (critique, revise):
        assert not call.keys() & {"logprobs", "top_logprobs"}
    assert not revise.keys() & {"tools", "tool_choice", "response_format"}
    assert (revise.get("n", 1), revise["stop"]) == (1, ["\n"])
