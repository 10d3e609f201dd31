"""Decision models as backends: names, roles, both wires, and answers that say nothing."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Backend, BackendError, ConfigurationError, Conscience
from conscience._dspy.lm import LMError
from conscience.backends.decisions.answers import decision_body, names, read_probabilities
from conscience.backends.decisions.transport import DecisionsTransport
from conscience.backends.roles import Roles
from conscience.backends.storage.journal import Journal
from conscience.messages.completion import Completion
from conscience.testing import ScriptedLM
from conscience.usage import Budget, CallContext, UsageTracker
from tests.support.decisions import KEY, decided, deciding, decision_backend, is_decision
from tests.support.loopback import Loopback, Raw, error

LUNA = "decisions:openai/gpt-6-luna"
ASKED = [{"role": "user", "content": "a text"}]
QUESTIONS = {"questions": ["Is it bad?", "Is it good?"]}
SERVED = ["openai/gpt-6-luna", "hosted_vllm/x", "lm_studio/x", "ollama/x"]


@pytest.fixture(scope="module")
def decider() -> Iterator[Loopback]:
    with Loopback(deciding(lambda text, words: 0.75 if "bad" in words else 0.25)) as server:
        yield server


def transport(server: Loopback, model: str, *, wire: bool = True, **more: Any) -> DecisionsTransport:
    return DecisionsTransport(model, {"api_base": server.url, "api_key": KEY, **more}, wire=wire)


# Names and roles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("decisions:", "names no model"),
        ("decisions:openai/", "names no model"),
        ("decisions:local", "has no route for decisions"),
        ("decisions:anthropic/claude-sonnet-4-5", "anthropic serves no decision models"),
        ("decisions:nobody/x", "nobody serves no decision models"),
    ],
)
def test_a_wrong_name_is_refused_at_once(name: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        Backend(name)
    assert caught.value.hint


def test_sampling_parameters_are_refused() -> None:
    """They would do nothing."""
    with pytest.raises(ConfigurationError, match="takes no temperature"):
        Backend(LUNA, temperature=0.2)


@pytest.mark.parametrize("role", ["generate", "revise", "judge", "propose"])
def test_it_takes_the_role_review_alone(role: Any) -> None:
    """Whatever else it is named for is refused in one line, with what to write."""
    for lm in ({role: LUNA}, {"review": "openai/fake", role: [LUNA, "decisions:ollama/x"]}):
        with pytest.raises(ConfigurationError, match="writes nothing") as caught:
            Conscience(lm=lm)
        assert '"review"' in caught.value.hint
        assert "\n" not in str(caught.value)


def test_a_program_wants_a_model_that_writes() -> None:
    """One for every role is refused; so is DSPy's, and so is a DSPy module's."""
    with pytest.raises(ConfigurationError, match="cannot generate"):
        Conscience(lm=LUNA)
    with dspy.context(lm=Backend(LUNA).lm), pytest.raises(ConfigurationError, match="cannot generate"):
        Conscience("question -> answer")(question="hi")
    with pytest.raises(ConfigurationError, match="cannot answer a chat"):
        Backend(LUNA, api_key=KEY).complete(ASKED, {})


def test_fallbacks_are_of_a_kind() -> None:
    """What the one is asked, the other cannot answer."""
    for models in ([LUNA, "openai/fake"], ["openai/fake", LUNA]):
        with pytest.raises(ConfigurationError, match="no fallbacks of each other"):
            Backend.of(models)
    with pytest.raises(ConfigurationError, match="no fallbacks of each other"):
        Backend("openai/fake", fallbacks=[LUNA])
    assert Backend.of([LUNA, "decisions:ollama/x"]).decides


def test_roles_pass_it_by() -> None:
    """Judge and critique are the generating model's; without one, nobody revises."""
    roles = Roles.of({"generate": ScriptedLM([], name="w"), "review": LUNA})
    assert [roles.backend(role).name for role in ("review", "judge", "revise", "propose")] == [LUNA, "w", "w", "w"]
    bound = roles.bound("review", CallContext(UsageTracker(), "review"))
    assert bound.writer is not None
    assert (bound.name, bound.writer.name, bound.writer.ctx.role) == (LUNA, "w", "review")
    alone = Roles.of({"review": LUNA})
    assert alone.writer("review") is None
    with pytest.raises(ConfigurationError, match="cannot revise"):
        alone.backend("revise")
    with pytest.raises(ConfigurationError, match="cannot revise"):
        Conscience(lambda request: "fine", lm={"review": LUNA})("hi")


# Both wires ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", SERVED)
def test_both_wires_send_and_see_the_same(decider: Loopback, model: str) -> None:
    """Body, address and key; probabilities, usage and price."""
    seen = []
    for wire in (True, False):
        body, dollars = transport(decider, model, wire=wire, extra_headers={"X-Tenant": "a"}).call(ASKED, QUESTIONS, 60.0)
        last = max(n for n, call in enumerate(decider.calls) if is_decision(call))  # LiteLLM asks Ollama what it serves, too
        heard = {name: decider.headers[last].get(name) for name in ("authorization", "content-type", "x-tenant")}
        seen.append((decider.paths[last], decider.calls[last], heard, Completion(body, "m").text, body["usage"], dollars))
    assert seen[0] == seen[1]
    assert json.loads(seen[0][3]) == [0.75, 0.25]
    assert (dollars is not None) is (model == "openai/gpt-6-luna")


def test_a_bare_name_is_openais(server: Loopback) -> None:
    """As in a chat model's string; it goes over the light wire, too."""
    server.behaviour = deciding()
    named, bare = transport(server, "openai/gpt-6-luna"), transport(server, "gpt-6-luna")
    assert bare.call(ASKED, QUESTIONS, 20.0) == named.call(ASKED, QUESTIONS, 20.0)
    assert server.calls[0] == server.calls[1]


async def test_async_comes_to_the_same(decider: Loopback) -> None:
    for wire in (True, False):
        body, _ = await transport(decider, "hosted_vllm/x", wire=wire).acall(ASKED, QUESTIONS, 60.0)
        assert read_probabilities(Completion(body, "m").text, 2) == [0.75, 0.25]


def test_a_key_or_an_address_is_missing() -> None:
    """Said before anything is sent, also where LiteLLM says it."""
    for model, says in (
        ("openai/gpt-6-luna", "no credentials"),
        ("hosted_vllm/x", "no address"),
        ("perplexity/pplx-decider-latest", "no credentials"),
        ("azure_ai/Microsoft-Decision-1", "no address"),
        ("laya/english", "no address"),
    ):
        with pytest.raises(ConfigurationError, match=says) as caught:
            Backend(f"decisions:{model}").complete(ASKED, QUESTIONS)
        assert caught.value.hint


def test_a_server_of_ones_own_needs_no_key(server: Loopback) -> None:
    server.behaviour = deciding()
    DecisionsTransport("ollama/x", {"api_base": server.url}, wire=True).call(ASKED, QUESTIONS, 20.0)
    assert "authorization" not in server.headers[-1]


def test_a_pickle_holds_no_key(decider: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = decision_backend(decider)
    data = pickle.dumps(backend)
    assert KEY.encode() not in data
    with pytest.raises(ConfigurationError, match="no credentials"):
        pickle.loads(data).complete(ASKED, QUESTIONS)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert pickle.loads(data).complete(ASKED, QUESTIONS).text == "[0.75, 0.25]"


# As every other call ---------------------------------------------------------------------------------------------------


def test_cache_journal_and_budget(server: Loopback, tmp_path: Path) -> None:
    """Kept and replayed like a chat answer; counted, priced, and limited."""
    server.behaviour = deciding()
    backend = decision_backend(server, cache=tmp_path / "cache")
    tracker = UsageTracker(Budget(calls=3))
    ctx = CallContext(tracker, "review")
    first, again = (backend.complete(ASKED, QUESTIONS, ctx=ctx) for _ in range(2))
    other = backend.complete(ASKED, {"questions": ["Is it bad?"]}, ctx=ctx)
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert first.body == again.body
    usage = tracker.usage().by_role["review"]
    assert (usage.calls, usage.cached, usage.input_tokens, usage.reused_tokens, usage.unpriced) == (2, 1, 200, 80, 0)
    assert usage.dollars == pytest.approx(2 * 6.4e-6)
    run = backend.for_run(Journal(tmp_path / "calls.jsonl"))
    assert [run.complete(ASKED, QUESTIONS).cached for _ in range(2)] == [False, True]
    assert len(server.calls) == 3


@pytest.mark.parametrize("wire", ["wire", "litellm"])
@pytest.mark.parametrize(
    ("failure", "calls", "says"),
    [
        (error(429, f"slow down {KEY}", **{"retry-after": "0"}), 2, "RateLimit 429"),
        (error(401, f"wrong key {KEY}"), 1, "Auth 401"),
        (error(400, "Invalid 'questions': unsupported parameter"), 1, "InvalidRequest 400"),
        (Raw(text="<html>busy</html>"), 2, "Server"),
    ],
)
def test_failures_are_those_of_every_call(server: Loopback, failure: Raw, calls: int, says: str, wire: str) -> None:
    """Retried where it may help, told in one line, without the key that a server echoes."""
    server.behaviour = lambda body, number: failure
    with pytest.raises(BackendError, match=says) as caught:
        decision_backend(server, engine=wire).complete(ASKED, QUESTIONS)
    assert len(server.calls) == calls
    assert KEY not in str(caught.value)


def test_a_passing_failure_costs_a_retry_and_then_the_fallback(server: Loopback) -> None:
    server.behaviour = lambda body, number: error(503, "busy") if "input" in body else decided(body)
    backend = Backend.of([decision_backend(server), decision_backend(server, "hosted_vllm/x")])
    completion = backend.complete(ASKED, QUESTIONS)
    assert (completion.fallback, completion.model, len(server.calls)) == (True, "decisions:hosted_vllm/x", 3)


def test_a_timeout_ends_a_dripping_server(server: Loopback) -> None:
    """Sync and async, on both wires."""
    server.behaviour = lambda body, number: Raw(text="{}", drip=30.0)
    for engine in ("wire", "litellm"):
        backend = decision_backend(server, engine=engine, timeout=0.5, retries=0)
        with pytest.raises(BackendError, match="no answer within"):
            backend.complete(ASKED, QUESTIONS)
        with pytest.raises(BackendError, match="no answer within"):
            asyncio.run(backend.acomplete(ASKED, QUESTIONS))


# Answers that say nothing ------------------------------------------------------------------------------------------------


def answers(*given: Any) -> dict[str, Any]:
    return {"model": "m", "answers": list(given), "usage": {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}}


def one(probability: Any, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "predicate", "name": name, "probability": probability, **more}


UNREADABLE: dict[str, Any] = {
    "too few": answers(one(0.1)),
    "too many": answers(one(0.1), one(0.1), one(0.1)),
    "none": answers(),
    "no list": {"model": "m", "answers": None},
    "no answers": {"model": "m"},
    "above 1": answers(one(0.1), one(1.01)),
    "below 0": answers(one(-0.01), one(0.1)),
    "per cent": answers(one(90), one(4)),
    "NaN": answers(one(math.nan), one(0.1)),
    "infinite": answers(one(0.1), one(math.inf)),
    "null": answers(one(0.1), one(None)),
    "text": answers(one("0.1"), one(0.1)),
    "boolean": answers(one(True), one(0.1)),
    "no number": answers({"type": "predicate"}, one(0.1)),
    "another kind": answers(one(0.1), {"type": "choice", "choice": "no", "probabilities": []}),
    "another order": answers(one(0.1, "q2"), one(0.9, "q1")),
    "another question": answers(one(0.1, "q1"), one(0.9, "q7")),
    "not an object": answers(0.1, 0.1),
    "other names": {"answers": {"a": {"type": "noul", "noul": 0.1}, "b": {"type": "noul", "noul": 0.1}}},
    "a name too many": {"answers": {name: {"type": "noul", "noul": 0.1} for name in ("q1", "q2", "q3")}},
    "a name missing": {"answers": {"q1": {"type": "noul", "noul": 0.1}}},
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.long
def test_what_is_no_probability_for_each_question_is_a_failed_call(server: Loopback, name: str) -> None:
    """It is tried again, and then an error: never a number that somebody reads."""
    server.behaviour = lambda body, number: Raw(text=json.dumps(UNREADABLE[name]))
    with pytest.raises(BackendError):
        decision_backend(server).complete(ASKED, QUESTIONS)
    assert len(server.calls) == 2


def test_a_declined_question_is_a_failure_that_no_retry_mends(server: Loopback) -> None:
    server.behaviour = lambda body, number: answers(one(0.1), {"type": "refusal", "name": "q2"})
    with pytest.raises(BackendError, match="declines to answer 1 of 2"):
        decision_backend(server).complete(ASKED, QUESTIONS)
    assert len(server.calls) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["predicate", "noul", "q1", "refusal"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "name", "probability", "noul", "q1", "q2", "answers", "usage"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(answer=st.dictionaries(st.sampled_from(["model", "answers", "usage"]), JSON))
def test_any_answer_is_probabilities_or_a_failure(answer: dict[str, Any]) -> None:
    """Whatever JSON comes: one number from 0 to 1 for each question, or an error of the tree."""
    try:
        body = decision_body(answer, 2, "m")
    except LMError:
        return
    read = read_probabilities(Completion(body, "m").text, 2)
    assert read is not None
    assert all(0 <= value <= 1 for value in read)
    assert all(count >= 0 for count in Completion(body, "m").tokens())


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_probabilities_come_back_as_they_were_sent(values: list[float]) -> None:
    given_answers = [one(value, name) for name, value in zip(names(len(values)), values, strict=True)]
    body = decision_body(answers(*given_answers), len(values), "m")
    assert read_probabilities(Completion(body, "m").text, len(values)) == values
    assert read_probabilities(Completion(body, "m").text, len(values) + 1) is None
