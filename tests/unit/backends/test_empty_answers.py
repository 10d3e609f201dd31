"""A reply without an answer is a failure: tried again, then the next model, then an error that says which; never kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from conscience import Backend, BackendError, Conscience, EmptyAnswer
from conscience.backends.storage.journal import Journal
from conscience.testing import ScriptedLM, by_stage
from conscience.usage import CallContext, UsageTracker
from tests.support.loopback import Body, Loopback, Raw, chat, error, is_critique, is_gate, well_behaved
from tests.support.quirks import CALL, coded

HELLO = [{"role": "user", "content": "hello"}]
PARTS: Any = [{"type": "thinking", "thinking": [{"type": "text", "text": "mm"}]}]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conscience.backends.retry.wait_random_exponential", lambda **_: lambda state: 0.0)
    from conscience.backends.retry import retry_policy

    retry_policy.cache_clear()
    monkeypatch.setattr("conscience.backends.backend.retry_policy", retry_policy.__wrapped__)


EMPTY: dict[str, tuple[Body, str]] = {
    "null": (chat(None), "nothing"),
    "no text": (chat(""), "nothing"),
    "blank": (chat(" \n\t"), "nothing"),
    "no choices": ({**chat("hi"), "choices": []}, "nothing"),
    "no parts": (chat([]), "nothing"),  # type: ignore[arg-type]
    "only thinking parts": (chat(PARTS), "nothing"),
    "only reasoning": (chat(None, reasoning_content="mm"), "nothing"),
    "only a block": (chat("<think>mm</think>\n"), "nothing"),
    "no tool calls": (chat(None, tool_calls=[]), "nothing"),
    "filtered": (chat(None, finish="content_filter"), "filtered"),
    "filtered after some words": (chat("Take the", finish="content_filter"), "filtered"),
    "Gemini's SAFETY": (chat(None, finish="SAFETY"), "filtered"),
    "Anthropic's refusal": (chat("", finish="refusal"), "filtered"),
    "cut": (chat(None, finish="length"), "cut"),
    "cut while thinking beside": (chat(None, finish="length", reasoning="mm"), "cut"),
    "cut while thinking in the text": (chat("<think>mm", finish="length"), "cut"),
    "cut by another name": (chat("", finish="MAX_TOKENS"), "cut"),
}


@pytest.mark.parametrize(("body", "reason"), EMPTY.values(), ids=EMPTY)
def test_an_empty_answer_is_tried_again_and_the_error_says_why(server: Loopback, body: Body, reason: str) -> None:
    server.behaviour = lambda asked, number: body if number % 3 else chat("hi")
    backend = server.backend(cache=True, retries=2)
    assert backend.complete(HELLO, {}).text == "hi"
    assert len(server.calls) == 3
    server.behaviour = lambda asked, number: body
    with pytest.raises(EmptyAnswer) as caught:
        asyncio.run(backend.acomplete(HELLO, {}, salt=1))
    assert caught.value.reason == reason
    assert not caught.value.gone
    assert len(server.calls) == 6


def test_then_the_next_model_is_asked(server: Loopback) -> None:
    server.behaviour = lambda asked, number: chat("") if asked["model"] == "fake" else chat("hi")
    options = {"api_base": server.url, "api_key": "sk-test-secret-0123"}
    backend = Backend("openai/fake", fallbacks=[Backend("openai/other", **options)], cache=False, retries=1, **options)
    ctx = CallContext(UsageTracker(), "generate")
    assert backend.complete(HELLO, {}, ctx=ctx).text == "hi"
    assert ctx.tracker.events == ["generate: openai/fake failed (EmptyAnswer), went on to the next model"]
    assert ctx.tracker.usage().calls == 3, "what was answered in vain was paid for"


@pytest.mark.parametrize("engine", ["litellm", "auto"])
def test_so_it_is_over_the_other_wires(server: Loopback, engine: str) -> None:
    server.behaviour = lambda asked, number: chat(None) if number == 1 else chat("mm</think>hi")
    backend = Backend("openai/fake", engine=engine, api_base=server.url, api_key="sk-0123456789", cache=False)
    completion = backend.complete(HELLO, {})
    assert (completion.text, completion.reasoning) == ("hi", "mm")


@pytest.mark.parametrize("retries", [0, 3])
def test_so_it_is_with_an_lm_of_the_users(retries: int) -> None:
    """Also where it repeats its own failures: an empty answer is none to it."""
    lm = ScriptedLM(["", "", "mm</think>hi"], retries=retries)
    completion = Backend(lm, retries=2).complete(HELLO, {})
    assert (completion.text, completion.reasoning) == ("hi", "mm")


ANSWERS = {
    "tool calls": chat(None, finish="tool_calls", tool_calls=[CALL]),
    "tool calls beside thinking": chat("<think>mm</think>", tool_calls=[CALL]),
    "function call of old": chat(None, function_call={"name": "f", "arguments": "{}"}),
    "refusal": chat(None, refusal="I cannot."),
    "sound": chat(None, audio={"id": "x", "data": ""}),
    "second choice": {**chat("x"), "choices": [*chat(None)["choices"], *chat("hi")["choices"]]},
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_what_is_said_otherwise_than_in_text_is_an_answer(server: Loopback, body: Body) -> None:
    server.behaviour = lambda asked, number: body
    server.backend(retries=0).complete(HELLO, {})


FILTERS = {
    "Azure": coded(400, "The response was filtered", code="content_filter", param="prompt"),
    "OpenAI": coded(400, "rejected by our safety system", code="content_policy_violation"),
    "in words": error(400, "The prompt triggered Azure OpenAI's content management policy"),
}


@pytest.mark.parametrize("raw", FILTERS.values(), ids=FILTERS)
def test_a_filter_that_refuses_the_request_is_told_as_one(server: Loopback, raw: Raw) -> None:
    server.behaviour = lambda asked, number: raw
    with pytest.raises(EmptyAnswer, match=r"ContentFilter 400.*rephrase") as caught:
        server.backend(retries=2).complete(HELLO, {})
    assert caught.value.reason == "filtered"
    assert len(server.calls) == 1


def test_a_program_says_why_there_is_no_answer(server: Loopback) -> None:
    server.behaviour = lambda asked, number: chat(None, finish="length", reasoning_content="mm")
    with pytest.raises(EmptyAnswer, match=r"while the model was thinking.*raise max_tokens"):
        Conscience("question -> answer", lm=server.backend(retries=0))(question="hi")


def test_an_empty_gate_answer_is_no_verdict(server: Loopback) -> None:
    server.behaviour = lambda asked, number: chat(None) if is_gate(asked) else well_behaved(asked, number)
    outcome = Conscience("question -> answer", lm=server.backend(retries=1))(question="hi")
    assert (outcome.status, outcome.draft) == ("unreviewed", None)
    assert "empty" in outcome.error
    assert len(server.calls) == 3


# What a caller rejects ---------------------------------------------------------------------------------------------------


def twice(lm: ScriptedLM, **options: Any) -> list[Any]:
    """Two calls of one program whose answers are kept."""
    return [Conscience("question -> answer", lm=Backend(lm, cache=True), **options)(question="q") for _ in range(2)]


def test_an_unreadable_critique_is_not_kept() -> None:
    said = iter(["mm", "mm", "mm", '{"findings": []}'])
    lm = ScriptedLM(by_stage("A draft.", gate=0.9, critique=lambda messages, params: next(said)))
    assert [outcome.status for outcome in twice(lm)] == ["unreviewed", "cleared"]


def test_a_score_without_a_number_is_not_kept() -> None:
    said = iter(["I cannot say.", "Score: 3"])
    lm = ScriptedLM(by_stage("A draft.", gate=lambda messages, params: next(said)), logprobs=False)
    methods = [outcome.verdict.method for outcome in twice(lm)]
    assert methods == ["critique", "verbalised"]


def test_an_answer_without_its_fields_is_not_kept(server: Loopback) -> None:
    server.behaviour = lambda asked, number: chat("Paris, twice")
    program = Conscience("question -> answer: str, count: int", lm=server.backend(cache=True))
    with pytest.raises(BackendError, match="fields"):
        program(question="q")
    asked = len(server.calls)
    with pytest.raises(BackendError, match="fields"):
        asyncio.run(program.acall(question="q"))
    assert len(server.calls) == 2 * asked


async def test_what_is_rejected_async_is_not_kept_either(server: Loopback, tmp_path: Path) -> None:
    backend = server.backend(cache=tmp_path)
    await backend.reject(await backend.acomplete(HELLO, {})).arun()
    await asyncio.sleep(0)
    assert not (await backend.acomplete(HELLO, {})).cached


def test_a_journal_forgets_what_was_rejected(server: Loopback, tmp_path: Path) -> None:
    """Also when it is opened again."""
    backend = server.backend().for_run(Journal(tmp_path / "journal"))
    backend.reject(backend.complete(HELLO, {})).run()
    again = server.backend().for_run(Journal(tmp_path / "journal"))
    assert not again.complete(HELLO, {}).cached
    assert server.backend().for_run(Journal(tmp_path / "journal")).complete(HELLO, {}).cached


def test_answers_expire(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = server.backend(cache=True)
    assert [backend.complete(HELLO, {}).cached for _ in range(2)] == [False, True]
    from conscience.backends.storage import cache

    day, now = 24 * 3600, cache.time.time
    monkeypatch.setattr(cache.time, "time", lambda: now() + 29 * day)
    assert backend.complete(HELLO, {}).cached
    monkeypatch.setattr(cache.time, "time", lambda: now() + 31 * day)
    assert not backend.complete(HELLO, {}).cached


def test_a_critique_is_not_asked_for_without_end(server: Loopback) -> None:
    """Cut off each time: three sizes, then the review has failed."""

    def behaviour(asked: Body, number: int) -> Body:
        if is_critique(asked):
            return chat('{"findings": [{"princ', finish="length")
        return chat("Yes", yes=0.9) if is_gate(asked) else chat("A draft.")

    server.behaviour = behaviour
    outcome = Conscience("question -> answer", lm=server.backend())(question="hi")
    assert outcome.status == "unreviewed"
    assert [asked["max_tokens"] for asked in server.calls if is_critique(asked)] == [900, 3600, 14400]
