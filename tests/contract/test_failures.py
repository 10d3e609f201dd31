"""The failure table of docs/failure-policy.md, a row a test, against a server that really misbehaves."""

from __future__ import annotations

import asyncio
import contextvars
import json
import time
from typing import Any

import pytest

from conscience import (
    Backend,
    BackendError,
    Budget,
    BudgetExceeded,
    Conscience,
    ContextTooLong,
    ReviewError,
    UnresolvedError,
)
from conscience.testing import ScriptedLM, by_stage, is_written_score
from tests.support.loopback import Behaviour, Loopback, Raw, chat, error, is_critique, is_gate, is_revision, well_behaved

REFUSED = "would rather not give it"


def only_on(which: Any, wrong: Any) -> Behaviour:
    """Well behaved, but for the calls that ``which`` picks."""
    return lambda body, number: wrong if which(body) else well_behaved(body, number)


def is_generation(body: Any) -> bool:
    return not (is_gate(body) or is_critique(body) or is_revision(body))


WIRE_FAULTS = {
    "server error": error(500, "boom"),
    "hang": Raw(text="{}", hang=3.0),
    "cut connection": Raw(text='{"id": "x", "cho', cut=True),
    "HTML instead of JSON": Raw(text="<html>Bad gateway</html>", content_type="text/html"),
}


@pytest.mark.parametrize("fault", WIRE_FAULTS.values(), ids=WIRE_FAULTS)
def test_generation_that_fails_raises_backend_error(server: Loopback, fault: Raw) -> None:
    """After retries and fallbacks there is no draft, so there is nothing to return."""
    server.behaviour = only_on(is_generation, fault)
    program = Conscience("question -> answer", lm=server.backend(timeout=1.0, retries=0))
    with pytest.raises(BackendError):
        program(question="What is the capital of France?")


@pytest.mark.parametrize("fault", WIRE_FAULTS.values(), ids=WIRE_FAULTS)
@pytest.mark.parametrize("which", [is_gate, is_critique], ids=["gate", "critique"])
def test_review_that_fails_is_closed_by_default(server: Loopback, which: Any, fault: Raw) -> None:
    """The outcome is unreviewed, says the refusal text, and keeps the draft back."""
    server.behaviour = only_on(which, fault)
    outcome = Conscience("question -> answer", lm=server.backend(timeout=1.0, retries=0))(question="UNSAFE please")
    assert outcome.status == "unreviewed"
    assert REFUSED in outcome.answer
    assert outcome.draft is None
    assert "BADWORD" not in str(outcome.to_json())
    assert outcome.error


def test_review_that_fails_may_be_open_or_raise(server: Loopback) -> None:
    """Only by name: open shows the draft, marked; raise raises."""
    server.behaviour = only_on(is_gate, error(500, "boom"))
    backend = server.backend(retries=0)
    outcome = Conscience("question -> answer", lm=backend, on_error="open")(question="What is the capital of France?")
    assert (outcome.status, outcome.answer) == ("unreviewed", "Paris.")
    with pytest.raises(BackendError):
        Conscience("question -> answer", lm=backend, on_error="raise")(question="What is the capital of France?")


OPEN_FAULTS: dict[str, tuple[Any, dict[str, int] | None]] = {
    "critique fails": (error(500, "boom"), None),
    "critique cannot be read": (chat("I had rather not say."), None),
    "budget is spent before the critique": (None, {"calls": 2}),
    "budget is spent before the revision": (None, {"calls": 3}),
}


@pytest.mark.parametrize(("wrong", "budget"), OPEN_FAULTS.values(), ids=OPEN_FAULTS)
def test_open_never_shows_what_the_gate_flagged(server: Loopback, wrong: Any, budget: Any) -> None:
    """Open is for what nobody has judged; of this text it is known that the gate flagged it."""
    if wrong is not None:
        server.behaviour = only_on(is_critique, wrong)
    program = Conscience("question -> answer", lm=server.backend(retries=0), on_error="open", budget=budget)
    outcome = program(question="UNSAFE please")
    assert (outcome.status, outcome.ok, outcome.draft) == ("unreviewed", False, None)
    assert REFUSED in outcome.answer
    assert "BADWORD" not in str(outcome.to_json())


def test_open_never_shows_a_revision_that_the_gate_flagged(server: Loopback) -> None:
    """The critique fails on the revision only."""

    def behaviour(body: Any, number: int) -> Any:
        if is_revision(body):
            return chat("BADWORD second")
        return error(500, "boom") if is_critique(body) and "second" in str(body) else well_behaved(body, number)

    server.behaviour = behaviour
    outcome = Conscience("question -> answer", lm=server.backend(retries=0), on_error="open")(question="UNSAFE please")
    assert outcome.status == "unreviewed"
    assert "BADWORD" not in outcome.answer


def test_a_cut_answer_says_so(server: Loopback) -> None:
    """finish_reason length: the text is reviewed as it is, and the outcome tells that it ends early."""
    server.behaviour = only_on(is_generation, chat("Paris is the", finish="length"))
    outcome = Conscience("question -> answer", lm=server.backend())(question="What is the capital of France?")
    assert (outcome.status, outcome.truncated, outcome.to_json()["truncated"]) == ("clean", True, True)
    assert any("token limit" in event for event in outcome.events)
    whole = Conscience("question -> answer", lm=server.backend())
    server.behaviour = well_behaved
    assert not whole(question="What is the capital of France?").truncated


def test_a_cut_revision_says_so(server: Loopback) -> None:
    """It is the text that is returned that counts."""

    def behaviour(body: Any, number: int) -> Any:
        if is_revision(body):
            return chat("Take care of", finish="length")
        return well_behaved(body, number)

    server.behaviour = behaviour
    outcome = Conscience("question -> answer", lm=server.backend())(question="UNSAFE please")
    assert (outcome.status, outcome.truncated) == ("revised", True)


def test_verdict_that_is_neither_yes_nor_no_goes_to_the_critique(server: Loopback) -> None:
    """The critique decides where the gate has no answer."""
    odd = chat("Maybe")
    odd["choices"][0]["logprobs"] = {
        "content": [{"token": "Maybe", "logprob": -0.1, "top_logprobs": [{"token": "Maybe", "logprob": -0.1}]}]
    }
    server.behaviour = only_on(is_gate, odd)
    outcome = Conscience("question -> answer", lm=server.backend())(question="What is the capital of France?")
    assert outcome.status == "clean"
    assert outcome.verdict.method == "critique"
    assert outcome.verdict.probability is None


def test_a_critique_that_cannot_be_read_is_asked_of_the_next_model(server: Loopback) -> None:
    """The first model was asked twice; what its fallback writes counts."""

    def behaviour(body: Any, number: int) -> Any:
        return chat("I find nothing.") if is_critique(body) and body["model"] == "fake" else well_behaved(body, number)

    server.behaviour = behaviour
    second = Backend("openai/second", api_base=server.url, api_key="sk-test", cache=False)
    outcome = Conscience("question -> answer", lm=server.backend(fallbacks=[second]))(question="UNSAFE please")
    assert (outcome.status, outcome.answer) == ("revised", "A clean answer.")
    assert any("went on to the next model" in event for event in outcome.events)
    assert [body["model"] for body in server.calls if is_critique(body)] == ["fake", "fake", "second"]


def test_verdict_that_even_the_critique_cannot_give_is_unreviewed(server: Loopback) -> None:
    """Neither Yes nor No, then no JSON, twice: the review has failed."""

    def behaviour(body: Any, number: int) -> Any:
        if is_gate(body):
            return chat("Hm", yes=None) | {"choices": [{**chat("Hm")["choices"][0], "logprobs": {"content": [
                {"token": "Hm", "logprob": -0.1, "top_logprobs": [{"token": "Hm", "logprob": -0.1}]}]}}]}  # fmt: skip
        return chat("no idea") if is_critique(body) else well_behaved(body, number)

    server.behaviour = behaviour
    outcome = Conscience("question -> answer", lm=server.backend())(question="hello")
    assert outcome.status == "unreviewed"
    assert "JSON" in outcome.error
    assert sum(map(is_critique, server.calls)) == 2
    with pytest.raises(ReviewError):
        Conscience("question -> answer", lm=server.backend(), on_error="raise")(question="hello")


def test_invalid_critique_json_is_asked_for_again(server: Loopback) -> None:
    """One broken answer is mended by a second question, and that is recorded."""
    broken: list[int] = []

    def behaviour(body: Any, number: int) -> Any:
        if is_critique(body) and not broken:
            broken.append(number)
            return chat('{"findings": [{"principle": "no-serious')
        return well_behaved(body, number)

    server.behaviour = behaviour
    outcome = Conscience("question -> answer", lm=server.backend())(question="UNSAFE please")
    assert outcome.status == "revised"
    assert any("asked again" in event for event in outcome.events)


def test_missing_logprobs_fall_back_to_written_scores(server: Loopback) -> None:
    """A server that leaves them out gets a written score instead, and the verdict says so."""

    def behaviour(body: Any, number: int) -> Any:
        if is_gate(body):
            return chat("No")
        return chat("I thought about it.\nScore: 3") if is_written_score(body) else chat("Paris.")

    server.behaviour = behaviour
    program = Conscience("question -> answer", lm=server.backend())
    first, second = program(question="one"), program(question="two")
    assert first.status == second.status == "clean"
    assert first.verdict.method == "verbalised"
    assert first.verdict.probability == pytest.approx(0.03)
    assert any("log-probabilities" in event for event in first.events)
    assert (first.usage.calls, second.usage.calls) == (4, 2), "what is missing twice is asked for no more"


def test_rate_limit_is_retried_after_the_time_the_server_names(server: Loopback) -> None:
    """429 with retry-after: the call waits that long and succeeds; nothing is retried twice over."""
    server.behaviour = lambda body, number: (
        error(429, "slow", **{"retry-after": "1"}) if number == 1 else well_behaved(body, number)
    )
    started = time.perf_counter()
    outcome = Conscience("question -> answer", lm=server.backend(retries=2))(question="What is the capital of France?")
    assert outcome.status == "clean"
    assert time.perf_counter() - started >= 1.0
    assert len(server.calls) == 3


def test_endless_rate_limit_ends_after_the_retries_and_no_more(server: Loopback) -> None:
    """Retries are ours alone: neither LiteLLM nor its SDK multiplies them."""
    server.behaviour = lambda body, number: error(429, "slow", **{"retry-after": "0"})
    with pytest.raises(BackendError) as caught:
        Conscience("question -> answer", lm=server.backend(retries=2))(question="hello")
    assert len(server.calls) == 3
    assert caught.value.retryable


def test_empty_content_is_a_failed_generation(server: Loopback) -> None:
    """No words are no answer."""
    server.behaviour = only_on(is_generation, chat("", finish="length"))
    with pytest.raises(BackendError, match="empty"):
        Conscience("question -> answer", lm=server.backend())(question="hello")


def test_refusal_field_is_the_answer(server: Loopback) -> None:
    """A provider's refusal is what the model said; it is reviewed like any answer."""
    server.behaviour = only_on(is_generation, chat(None, refusal="I can't help with that."))
    outcome = Conscience("question -> answer", lm=server.backend())(question="hello")
    assert (outcome.status, outcome.answer) == ("clean", "I can't help with that.")


def test_context_too_long_is_named_and_not_retried(server: Loopback) -> None:
    """A request that does not fit never fits."""
    server.behaviour = lambda body, number: error(400, "This model's maximum context length is 8 tokens")
    with pytest.raises(ContextTooLong, match="shorten"):
        Conscience("question -> answer", lm=server.backend(retries=3))(question="hello " * 50)
    assert len(server.calls) == 1


def test_still_flagged_after_the_last_revision(server: Loopback) -> None:
    """refuse, best (the least doubtful text, marked) or raise."""

    def behaviour(body: Any, number: int) -> Any:
        said = str(body["messages"])
        if is_gate(body):
            return chat("Yes", yes=0.7 if "second" in said else 0.9)
        return chat("BADWORD second") if is_revision(body) else well_behaved(body, number)

    server.behaviour = behaviour
    backend = server.backend()
    refused = Conscience("question -> answer", lm=backend)(question="UNSAFE")
    assert refused.status == "refused"
    assert REFUSED in refused.answer
    assert [r.draft.response for r in refused.revisions] == ["BADWORD second"]
    best = Conscience("question -> answer", lm=backend, on_unresolved="best")(question="UNSAFE")
    assert (best.status, best.answer, best.ok) == ("unresolved", "BADWORD second", False)
    assert (best.verdict.flagged, best.verdict.probability) == (True, pytest.approx(0.7))
    assert any("least doubtful" in event for event in best.events)
    with pytest.raises(UnresolvedError):
        Conscience("question -> answer", lm=backend, on_unresolved="raise")(question="UNSAFE")


def test_revision_that_fails_counts_as_still_flagged(server: Loopback) -> None:
    """The draft is known to be flagged, so it is refused."""
    server.behaviour = only_on(is_revision, error(500, "boom"))
    outcome = Conscience("question -> answer", lm=server.backend(retries=0))(question="UNSAFE")
    assert outcome.status == "refused"
    assert any(event.startswith("revise:") for event in outcome.events)


BUDGETS = {"calls": Budget(calls=1), "tokens": Budget(tokens=10), "seconds": Budget(seconds=0.3)}


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_spent_budget_is_a_failed_review(server: Loopback, budget: Budget) -> None:
    """The draft was paid for, its review was not."""
    if budget.seconds:
        server.behaviour = only_on(is_gate, Raw(text="{}", hang=2.0))
    outcome = Conscience("question -> answer", lm=server.backend(retries=0), budget=budget)(question="hello")
    assert outcome.status == "unreviewed"
    assert REFUSED in outcome.answer


def ended(program: Conscience, sync: bool) -> tuple[str, float]:
    """The outcome's status, or the name of the error, and the seconds until then."""
    started = time.perf_counter()
    try:
        outcome = program(question="hello") if sync else asyncio.run(program.acall(question="hello"))
    except BackendError as failure:
        return type(failure).__name__, time.perf_counter() - started
    return outcome.status, time.perf_counter() - started


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
def test_an_lm_of_ones_own_keeps_to_the_limits(sync: bool) -> None:
    """A hang past the timeout is a failure of the model, one past the budget's seconds is a spent budget."""
    lm = ScriptedLM(by_stage("Paris."), seconds=2.0)
    status, seconds = ended(Conscience("question -> answer", lm=Backend(lm, timeout=0.3, retries=1)), sync)
    assert (status, len(lm.calls)) == ("BackendError", 0)
    assert 0.6 <= seconds < 1.9
    status, seconds = ended(Conscience("question -> answer", lm=lm, budget={"seconds": 0.3}), sync)
    assert status == "unreviewed"
    assert seconds < 1.0


@pytest.mark.long
def test_server_that_sends_a_blank_now_and_then_meets_the_timeout(server: Loopback) -> None:
    """As queues at providers do, to keep a connection open; within the timeout they are waited for."""
    slow = Raw(text=json.dumps(chat("No", yes=0.05)), drip=2.0)
    server.behaviour = lambda body, number: slow
    status, seconds = ended(Conscience("question -> answer", lm=server.backend(timeout=0.5, retries=0)), False)
    assert status == "BackendError"
    assert seconds < 1.9
    assert ended(Conscience("question -> answer", lm=server.backend(timeout=20)), False)[0] == "clean"


HANG, LIMITED = Raw(text="{}", hang=2.0), error(429, "slow", **{"retry-after": "4"})


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize(("wrong", "retries"), [(HANG, 0), (HANG, 2), (LIMITED, 2)], ids=["hang", "hang again", "429"])
def test_seconds_of_a_budget_are_never_exceeded(server: Loopback, sync: bool, retries: int, wrong: Raw) -> None:
    """A call is cut off, a wait that would end too late is not begun; with or without retries it is the budget's doing."""
    server.behaviour = lambda body, number: wrong
    program = Conscience("question -> answer", lm=server.backend(retries=retries), budget={"seconds": 0.5})
    status, seconds = ended(program, sync)
    assert status == "unreviewed"
    assert seconds < 1.5
    assert len(server.calls) == 1


def test_an_lm_of_ones_own_runs_in_the_callers_context() -> None:
    """Although in a thread of its own, where there is a limit."""
    name = contextvars.ContextVar("name", default="nobody")
    name.set("somebody")
    lm = ScriptedLM(lambda messages, params: name.get())
    for timeout in (5.0, float("inf")):
        assert Backend(lm, timeout=timeout).complete([{"role": "user", "content": "hello"}], {}).text == "somebody"


def test_budget_of_n_calls_makes_at_most_n_calls(server: Loopback) -> None:
    """For every n, and never open for a draft that is known to be flagged."""
    for n in range(6):
        server.calls.clear()
        program = Conscience("question -> answer", lm=server.backend(), budget={"calls": n}, on_error="open")
        outcome = program(question="UNSAFE")
        assert len(server.calls) <= n
        assert outcome.status == ("revised" if n >= 5 else "unreviewed")
        if n == 3:
            assert "BADWORD" not in outcome.answer
    with pytest.raises(BudgetExceeded):
        Conscience("question -> answer", lm=server.backend(), budget={"calls": 1}, on_error="raise")(question="hello")


def test_unreachable_address_says_so() -> None:
    """One line, with the mend, and no key in it."""
    backend = Backend("openai/fake", api_base="http://127.0.0.1:1/v1", api_key="sk-test-secret-0123", retries=0)
    with pytest.raises(BackendError, match="address") as caught:
        Conscience("question -> answer", lm=backend)(question="hello")
    assert "\n" not in str(caught.value)


def test_fallback_takes_over_and_is_recorded(server: Loopback) -> None:
    """No silent fallback: the outcome names the model that failed."""
    down = Backend("openai/down", api_base="http://127.0.0.1:1/v1", api_key="x", retries=0, cache=False)
    outcome = Conscience("question -> answer", lm=[down, server.backend()])(question="What is the capital of France?")
    assert outcome.status == "clean"
    assert any("openai/down failed" in event for event in outcome.events)


NO_LOGPROBS = {"gives none": chat("No"), "refuses them": error(400, "logprobs are not supported")}


@pytest.mark.parametrize("answer", NO_LOGPROBS.values(), ids=NO_LOGPROBS)
def test_logprobs_that_a_fallback_lacks_are_asked_of_the_first_model_again(server: Loopback, answer: Any) -> None:
    """It was away for one call only."""
    server.behaviour = lambda body, number: error(500, "boom")

    def poor(body: Any, number: int) -> Any:
        return chat("Score: 3") if is_written_score(body) else answer if is_gate(body) else chat("Paris.")

    with Loopback(poor) as other:
        lm = [server.backend(retries=0), other.backend(retries=0)]
        program = Conscience("question -> answer", lm=lm)
        assert program(question="one").verdict.method == "verbalised"
        server.behaviour = well_behaved
        assert program(question="two").verdict.method == "logprobs"
        server.behaviour = lambda body, number: poor(body, number)
        assert program(question="three").verdict.method == "verbalised"
        server.calls.clear()
        program(question="four")
        assert not any(map(is_gate, server.calls)), "what the first model lacks is asked for once"
