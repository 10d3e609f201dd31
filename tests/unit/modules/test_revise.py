"""Revise: which fields are rewritten, and what the model is shown."""

from __future__ import annotations

import json

import pytest

from conscience import Conscience, Constitution, Draft, Finding
from conscience.gate.choosing import BY_LETTER
from conscience.gate.questions import WRITTEN_SCORE
from conscience.gate.rules import RulesQuestion
from conscience.messages.wordings import AGAIN, WORDINGS
from conscience.modules.critique import INSTRUCTIONS as CRITIQUE
from conscience.modules.revise import IN_ONE_BLOCK, problems_text
from conscience.testing import ScriptedLM, by_stage, is_revision
from tests.support.scripts import FINDING, bad_then_good, fields, flagged_unless


def test_signature_fields_and_types_survive_a_revision() -> None:
    """A structured answer is revised through its own signature."""
    script = by_stage(
        fields(answer="Bad", degrees="400"),
        gate=flagged_unless("sunny"),
        critique=FINDING,
        revise=fields(answer="sunny", degrees="21"),
    )
    outcome = Conscience("question -> answer, degrees: int", lm=ScriptedLM(script))(question="weather?")
    assert (outcome.status, outcome.answer, outcome.degrees) == ("revised", "sunny", 21)


def test_only_texts_are_rewritten() -> None:
    """A callable's number stays a number; without a text there is nothing to rewrite."""
    outcome = Conscience(lambda request: {"answer": "Bad.", "score": 3}, lm=bad_then_good())(request="q")
    assert dict(outcome.items()) == {"answer": "Good.", "score": 3}
    refused = Conscience(lambda request: {"score": 3}, lm=bad_then_good())(request="q")
    assert (refused.status, refused.score) == ("refused", None)


def test_an_input_called_draft_stays_the_users() -> None:
    """The draft that is revised is a turn of its own."""
    lm = bad_then_good(generate=fields(improved="Bad.", note="n"), revise=fields(improved="Good.", note="n"))
    outcome = Conscience("draft -> improved, note", lm=lm)(draft="MY OWN ESSAY")
    assert (outcome.status, outcome.improved) == ("revised", "Good.")
    (prompt,) = [str(messages) for messages, _ in lm.calls if is_revision(messages)]
    assert "MY OWN ESSAY" in prompt
    assert {"role": "assistant", "content": fields(improved="Bad.", note="n")} in next(
        messages for messages, _ in lm.calls if is_revision(messages)
    )


def test_problems_are_the_findings_or_the_principles() -> None:
    """The model is told what to change, or what it may have broken; the worst comes first."""
    general = Constitution.load("general")
    honesty, privacy = general.principle("honesty"), general.principle("privacy")
    written = Finding("honesty", "a lie", "It is.", "Say so.")
    told = f'Rule: {honesty.text}\nIn the answer: "a lie"\nIt is.\nInstead: Say so.'
    assert problems_text([written], general) == told
    chosen = Finding("privacy", "", "", "", severity="low")
    assert problems_text([chosen, written], general) == (f"1. {told}\n\n2. Rule: {privacy.text}\nInstead: {privacy.change}")
    assert honesty.text in problems_text([], general)


@pytest.mark.parametrize(("model", "told"), [("scripted/lm", 2), ("scripted/lm-0.5b", 1)])
def test_a_small_model_is_told_one_rule(model: str, told: int) -> None:
    """Of several it would repeat the list."""
    findings = [{"principle": id, "quote": "Bad", "why": "w", "change": "c"} for id in ("privacy", "honesty")]
    lm = bad_then_good(critique=json.dumps({"findings": findings}))
    reviser = ScriptedLM({"": "Good."}, name=model)
    assert Conscience(lm={"generate": lm, "revise": reviser})("q").status == "revised"
    ((messages, _),) = reviser.calls
    assert messages[-1]["content"].count("Rule: ") == told
    assert Constitution.load("general").principle("honesty").text in messages[-1]["content"]


def test_the_turn_ends_with_the_request() -> None:
    """The last user turn is said again, a long one is not; the block of code is asked for where the draft has one."""
    lm = bad_then_good(generate="Bad.\n```python\n1\n```")
    conversation = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Yes?"}]
    for asked, said in (("Write it.", True), ("x" * 2001, False)):
        Conscience(lm=lm)([*conversation, {"role": "user", "content": asked}])
        turn = next(messages[-1]["content"] for messages, _ in reversed(lm.calls) if is_revision(messages))
        assert turn.endswith(f"{IN_ONE_BLOCK}\n\nThe request again:\n{asked}" if said else IN_ONE_BLOCK)
        assert "Hello." not in turn


def test_wordings_are_told_apart_from_all_else() -> None:
    """None is part of a question, a critique, or a principle, so that a revision can be told by it."""
    general = Constitution.load("general")
    others = [
        CRITIQUE,
        BY_LETTER,
        WRITTEN_SCORE,
        general.render(),
        RulesQuestion.of(general, "x").messages(Draft.of("q", "a")),
    ]
    assert not any(wording in str(other) for wording in WORDINGS.values() for other in others)
    assert WORDINGS["again"] == AGAIN == Conscience().revise.predict.signature.instructions
