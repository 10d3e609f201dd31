"""Revise: which fields are rewritten, and what the model is shown."""

from __future__ import annotations

from conscience import Conscience, Constitution, Finding
from conscience.modules.revise import problems_text
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
    """The model is told what to change, or what it may have broken."""
    general = Constitution.load("general")
    honesty = general.principle("honesty").text
    assert problems_text([Finding("honesty", "a lie", "It is.", "Say so.")], general) == (
        f'1. {honesty} ("a lie") It is. Change: Say so.'
    )
    assert honesty in problems_text([], general)
