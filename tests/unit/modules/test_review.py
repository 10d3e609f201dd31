"""Review: gate and critique together, on drafts and on texts from anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from conscience import Conscience, InputError, Review, areview, review
from conscience.gate.settings import one_question
from conscience.testing import ScriptedLM, by_stage, is_critique
from tests.support.scripts import bad_then_good


def test_review_judges_a_text_from_anywhere() -> None:
    """As a function, and as a module."""
    lm = bad_then_good()
    verdict = review("Say something.", "Bad.", lm=lm)
    assert verdict.flagged
    assert [finding.principle for finding in verdict.findings] == ["honesty"]
    assert verdict.findings[0].grounded
    prediction = Review("general", lm=lm)(request="", response="Bad.")
    assert prediction.flagged
    assert prediction.usage.by_role["review"].calls == 2
    with pytest.raises(InputError):
        review("q", " ", lm=lm)


@pytest.mark.parametrize("request_", ["", "  ", [], None])
def test_an_absent_request_sends_no_empty_turn(request_: Any) -> None:
    """Nor does a chat begin with an answer: gate, critique and revision show the response as what it is."""
    lm = bad_then_good()
    assert review(request_, "Bad.", lm=lm).flagged
    assert Conscience("question -> answer", lm=lm).correct(request_, "Bad.").status == "revised"
    for messages, _ in lm.calls:
        assert all(str(message["content"]).strip() for message in messages)
        assert next(message["role"] for message in messages if message["role"] != "system") == "user"
        assert any("Bad." in str(message["content"]) or "Good." in str(message["content"]) for message in messages)


async def test_areview_comes_to_the_same() -> None:
    """Asked on an event loop."""
    lm = bad_then_good()
    assert await areview("Say something.", "Bad.", lm=lm) == review("Say something.", "Bad.", lm=lm)


@pytest.mark.parametrize(
    ("critique", "status", "critiques"), [("votes", "cleared", 1), ("explains", "refused", 1), ("off", "refused", 0)]
)
def test_critique_modes(critique: Any, status: str, critiques: int) -> None:
    """votes may clear, explains may not, off does not ask."""
    lm = ScriptedLM(by_stage("text", gate=0.9))
    settings = one_question("Bad?").model_copy(update={"critique": critique})
    assert Conscience(lm=lm, review=settings, max_revisions=0)("q").status == status
    assert sum(is_critique(messages) for messages, _ in lm.calls) == critiques


@pytest.mark.parametrize(("probability", "status"), [(0.2, "clean"), (0.7, "cleared"), (0.95, "refused")])
def test_critique_decides_doubtful_drafts_only(probability: float, status: str) -> None:
    """From ``override_threshold`` on it explains, although it votes below."""
    lm = ScriptedLM(by_stage("A draft.", gate=probability))
    settings = one_question("Is it bad?").model_copy(update={"override_threshold": 0.9})
    assert Conscience("question -> answer", lm=lm, review=settings, max_revisions=0)(question="hello").status == status


def test_conversation_is_shown_whole() -> None:
    """Chat messages with tool calls go to the model as they are, and to the critique as a transcript."""
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Look it up."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42 hits"},
        {"role": "user", "content": "So?"},
    ]
    lm = bad_then_good()
    outcome = Conscience(lambda request: "Bad.", lm=lm)(request=messages)
    assert outcome.status == "revised"
    critique = next(str(prompt) for prompt, _ in lm.calls if is_critique(prompt))
    assert "called tool find({})" in critique
    assert "Tool 1 returned: 42 hits" in critique
