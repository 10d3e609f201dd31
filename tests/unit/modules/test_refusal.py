"""Refusals: the text goes where people read, and nowhere where programs do."""

from __future__ import annotations

from typing import Any, Literal, Optional

import dspy
import pytest
from pydantic import BaseModel

from conscience import ConfigurationError, Conscience, Constitution, Outcome
from conscience.testing import Fault, ScriptedLM, by_stage
from tests.support.scripts import bad_then_good

REFUSAL = Constitution.load("general").refusal


class Row(BaseModel):
    name: str


def signature(**outputs: Any) -> type[dspy.Signature]:
    fields: dict[str, Any] = {"question": (str, dspy.InputField())}
    for name, kind in outputs.items():
        annotation, field = kind if isinstance(kind, tuple) else (kind, dspy.OutputField())
        fields[name] = (annotation, field)
    made: type[dspy.Signature] = dspy.Signature(fields, "Answer the question.")
    return made


def refused(generate: Any, **options: Any) -> Outcome:
    """An outcome whose every text is the refusal's: nothing was drafted, since the budget was spent before."""
    return Conscience(generate, lm=ScriptedLM({"": "x"}), budget={"calls": 0}, **options)(question="q")


PROSE = """answer response reply final_answer finalAnswer summary text message_text email_body french german_translation
explanation Answer answer_2 customer_reply advice story"""
DATA = """sql_query sql code query python command bash_command regex json_response response_json answer_code code_answer
sql_answer answer_letter label category url file_path response_format answer_type message_id date amount email cypher_query
search_query html json_text xml_output function_body filename country entity patch diff_text yes_no_answer numeric_answer
queryText responseURL SQLText shellScript verdict_label key name title tags"""


@pytest.mark.parametrize("name", PROSE.split())
def test_prose_gets_the_text(name: str) -> None:
    outcome = refused(f"question -> {name}")
    assert (outcome[name], outcome.response) == (REFUSAL, REFUSAL)


@pytest.mark.parametrize("name", DATA.split())
def test_data_never_does(name: str) -> None:
    """None in its place; the text is the outcome's response all the same."""
    outcome = refused(f"question -> {name}")
    assert (outcome[name], outcome.response) == (None, REFUSAL)


TYPED: list[Any] = [
    int, float, bool, bytes, list[str], dict[str, Any], Literal["yes", "no"], Literal["yes"] | None, Row, list[Row],
    int | str, Any,
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPED, ids=str)
def test_no_typed_field_does_whatever_its_name(kind: Any) -> None:
    """A sentence is not a value of its type, or not one that a program expects there."""
    assert refused(signature(answer=kind)).answer is None


def test_text_types_that_take_any_text_do() -> None:
    """``str | None`` too; constraints and a description as data make it another type."""
    assert refused(signature(answer=str | None)).answer == REFUSAL
    assert refused(signature(answer=Optional[str])).answer == REFUSAL  # noqa: UP045 - as older code has it
    assert refused(signature(answer=(str, dspy.OutputField(desc="in two friendly sentences")))).answer == REFUSAL
    for field in (
        dspy.OutputField(desc="a SQL query"),
        dspy.OutputField(desc="yes or no"),
        dspy.OutputField(pattern="^[A-D]$"),
    ):
        assert refused(signature(answer=(str, field))).answer is None


def test_one_field_gets_it() -> None:
    """The answer before other prose; else the last that is prose."""
    fields = refused("question -> answer, sql_query, explanation, score: float")
    assert dict(fields.items()) == {"answer": REFUSAL, "sql_query": None, "explanation": None, "score": None}
    fields = refused("question -> summary, note, code")
    assert dict(fields.items()) == {"summary": None, "note": REFUSAL, "code": None}


def test_reasoning_says_nothing() -> None:
    assert dict(refused(dspy.ChainOfThought("question -> answer")).items()) == {"reasoning": None, "answer": REFUSAL}


def test_callables_follow_the_names_of_what_they_returned() -> None:
    """Their fields are typed by their values."""

    def answer(question: str) -> dict[str, Any]:
        return {"answer": "Bad.", "sql_query": "Bad.", "sources": ["Bad."], "count": 3}

    outcome = Conscience(answer, lm=bad_then_good(), max_revisions=0)(question="q")
    assert outcome.status == "refused"
    assert dict(outcome.items()) == {"answer": REFUSAL, "sql_query": None, "sources": None, "count": None}
    assert outcome.response == REFUSAL


def test_a_text_of_the_callers_takes_the_constitutions_place() -> None:
    outcome = refused("question -> answer, code", refusal="Not from me.")
    assert (outcome.answer, outcome.code, outcome.response) == ("Not from me.", None, "Not from me.")


def test_a_mapping_says_each_field() -> None:
    """Data too, since the caller wrote it; what it leaves out is None."""
    outcome = refused(
        "question -> answer, sql_query, score: float, notes: list[str]",
        refusal={"answer": "No.", "sql_query": "SELECT 1 WHERE 1 = 0", "score": 0.0},
    )
    assert dict(outcome.items()) == {"answer": "No.", "sql_query": "SELECT 1 WHERE 1 = 0", "score": 0.0, "notes": None}
    assert outcome.response == "No."
    only = refused("question -> sql_query", refusal={"sql_query": "SELECT 1"})
    assert (only.sql_query, only.response) == ("SELECT 1", REFUSAL)


def test_a_function_sees_the_outcome() -> None:
    """And says a text, fields, or nothing of its own."""
    seen: list[Outcome] = []

    def say(outcome: Outcome) -> Any:
        seen.append(outcome)
        return {"unreviewed": "Try again later.", "refused": {"answer": "Never.", "code": "pass"}}[outcome.status]

    program = Conscience("question -> answer, code", lm=ScriptedLM(by_stage(gate=Fault("server"))), refusal=say)
    late = Conscience("question -> answer", lm=ScriptedLM(by_stage(gate=Fault("server"))), refusal=say)(question="q")
    assert (late.status, late.answer, late.response) == ("unreviewed", "Try again later.", "Try again later.")
    assert seen[0].answer == REFUSAL
    assert not seen[0].verdict.reviewed
    assert program.refusal is say
    lm = bad_then_good()
    never = Conscience(lambda question: {"answer": "Bad.", "code": "x"}, lm=lm, refusal=say, max_revisions=0)(question="q")
    assert dict(never.items()) == {"answer": "Never.", "code": "pass"}
    assert never.verdict.flagged
    assert refused("question -> answer", refusal=lambda outcome: None).answer == REFUSAL


def test_what_cannot_be_said_is_refused_when_the_program_is_built() -> None:
    """In one line; what a function returns is known only later."""

    async def later(outcome: Outcome) -> str:
        return "No."

    for refusal in ("", "  ", 3, ["No."], later, {"anwser": "No."}, {"answer": 3}, {"choice": "maybe"}, "a\0b"):
        with pytest.raises(ConfigurationError):
            Conscience(signature(answer=str, choice=Literal["yes", "no"]), refusal=refusal)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="returned int"):
        refused("question -> answer", refusal=lambda outcome: 3)
    with pytest.raises(ConfigurationError, match="'other'"):
        refused("question -> answer", refusal=lambda outcome: {"other": "x"})


def test_the_constitution_may_refuse_in_the_requests_language() -> None:
    """Where that can be told and it has a text in it; a plain text stays valid, and means what it meant."""
    plain = Constitution.load("general")
    spoken = plain.model_copy(update={"refusals": {"de": "Lieber nicht.", "ja": "お答えできません。"}})
    program = Conscience("question -> answer", constitution=spoken, lm=bad_then_good(), max_revisions=0)
    assert program(question="Wie kann ich das und was ist es?").answer == "Lieber nicht."
    assert program(question="どうすればいいですか").answer == "お答えできません。"
    assert program(question="How do I do that?").answer == REFUSAL
    assert Constitution.load({**plain.model_dump(), "refusals": {"de": "Nein."}}).refusals == {"de": "Nein."}
    without = {name: value for name, value in plain.model_dump().items() if name != "refusals"}
    assert Constitution.load(without).fingerprint == plain.fingerprint != spoken.fingerprint
