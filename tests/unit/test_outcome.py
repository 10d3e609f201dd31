"""The outcome: its fields, its JSON, its copies."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from conscience import (
    Backend,
    BackendError,
    BudgetExceeded,
    ConfigurationError,
    Conscience,
    ConscienceError,
    Constitution,
    ContextTooLong,
    Draft,
    InputError,
    Outcome,
    Principle,
    Review,
    ReviewError,
    UnresolvedError,
    Usage,
    Verdict,
)
from conscience.gate.settings import one_question
from conscience.outcome import OutcomeModel
from conscience.testing import Fault, ScriptedLM, by_stage
from tests.support.scripts import bad_then_good, fields


def test_an_outcome_is_json() -> None:
    """Everything the command line prints."""
    shown = json.loads(json.dumps(Conscience("question -> answer", lm=bad_then_good())(question="q").to_json(full=True)))
    assert shown["verdict"]["probability"] == pytest.approx(0.1)
    assert shown["draft_verdict"]["probability"] == pytest.approx(0.9)
    assert shown["draft"]["response"] == "Bad."
    assert shown["revisions"][0]["verdict"]["probability"] == pytest.approx(0.1)
    assert shown["revisions"][0]["response"] == "Good."
    assert shown["usage"]["by_role"]["review"]["calls"] == 3


def test_an_outcome_can_be_copied_and_pickled() -> None:
    """As any prediction can."""
    outcome = Conscience("question -> answer", lm=bad_then_good())(question="q")
    for twin in (copy.deepcopy(outcome), pickle.loads(pickle.dumps(outcome))):
        assert twin.to_json(full=True) == outcome.to_json(full=True)


def test_response_is_the_field_of_that_name() -> None:
    """Where the signature has one."""
    lm = ScriptedLM(by_stage(fields(response="Paris", confidence="0.9")))
    outcome = Conscience("question -> response, confidence: float", lm=lm)(question="q")
    assert (outcome.response, outcome.confidence) == ("Paris", 0.9)


def test_a_field_may_not_take_the_name_of_a_part_of_every_outcome() -> None:
    """It is refused when the program is built."""
    with pytest.raises(ConfigurationError, match="'status'"):
        Conscience("question -> response, status")


def test_a_draft_is_made_of_texts_from_anywhere() -> None:
    """The request may be empty, the response may not."""
    draft = Draft.of("How?", "So.", "Because.")
    assert (draft.messages, draft.text) == (({"role": "user", "content": "How?"},), "So.")
    assert (draft.response, draft.reasoning) == ("So.", "Because.")
    assert Draft.of("", "So.").request == ""
    for response in (" ", "a\0b"):
        with pytest.raises(InputError):
            Draft.of("How?", response)


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], bool, bool | None]] = {
    # stages, options, whether the verdict flags what is returned, whether the draft's does
    "clean": ({"gate": 0.1}, {}, False, False),
    "cleared": ({"critique": '{"findings": []}'}, {}, False, False),
    "revised": ({}, {}, False, True),
    "refused": ({"revise": "Bad again."}, {}, True, True),
    "unresolved": ({"revise": "Bad again."}, {"on_unresolved": "best"}, True, True),
    "unreviewed": ({"gate": Fault("server")}, {"on_error": "open"}, True, None),
}


@pytest.mark.parametrize("status", WAYS)
def test_the_verdict_is_on_what_is_returned(status: Any) -> None:
    """It is never None, and flags whatever is not ok; the draft's own stands beside it."""
    stages, options, flagged, draft_flagged = WAYS[status]
    outcome = Conscience("question -> answer", lm=bad_then_good(**stages), **options)(question="q")
    assert (outcome.status, outcome.verdict.flagged) == (status, flagged)
    assert outcome.ok is not outcome.verdict.flagged
    assert (outcome.draft_verdict.flagged if outcome.draft_verdict else None) is draft_flagged
    assert outcome.verdict.reviewed is (status != "unreviewed")
    if status == "unreviewed":
        assert (outcome.verdict.probability, outcome.verdict.method) == (None, "none")
    if status == "revised":
        assert outcome.verdict == outcome.revisions[-1].verdict


def test_an_outcome_that_is_built_by_hand_was_not_reviewed() -> None:
    """Nobody reads a pass where there is none."""
    assert Outcome({"answer": "x"}).verdict == Verdict.unreviewed()
    assert Outcome({"answer": "x"}).verdict.flagged


MARK = "Bad"
"""Stands in every draft that is flagged, and in the critique's quote of it."""


@pytest.mark.parametrize("status", ["refused", "unreviewed", "revised"])
def test_json_holds_only_what_may_be_shown(status: Any) -> None:
    """No draft, no revision, no words of the critique; all of them on request."""
    stages = {**WAYS[status][0], **({"gate": 0.9, "critique": Fault("server")} if status == "unreviewed" else {})}
    outcome = Conscience("question -> answer", lm=bad_then_good(**stages))(question="q")
    assert outcome.status == status
    shown = outcome.to_json()
    assert MARK not in json.dumps(shown)
    assert set(shown) == {
        "response", "outputs", "status", "ok", "truncated", "verdict", "usage", "events", "error",
    }  # fmt: skip
    if status != "unreviewed":
        assert MARK in json.dumps(outcome.to_json(full=True))
    if status == "refused":
        assert shown["verdict"]["findings"] == [{"principle": "honesty", "severity": "high"}]


def test_outputs_in_json_keep_their_structure() -> None:
    """Lists, mappings and models are JSON, not texts of it."""

    class Row(BaseModel):
        name: str

    fields = Outcome({"rows": [Row(name="x")], "scores": {"a": 1.5}, "odd": object}).to_json()["outputs"]
    assert (fields["rows"], fields["scores"]) == ([{"name": "x"}], {"a": 1.5})
    json.dumps(fields)


@pytest.mark.parametrize("status", WAYS)
def test_raise_for_status(status: Any) -> None:
    """Returns what is ok and raises the rest, with verdict, usage and events."""
    stages, options, _, _ = WAYS[status]
    outcome = Conscience("question -> answer", lm=bad_then_good(**stages), **options)(question="q")
    if outcome.ok:
        assert outcome.raise_for_status() is outcome
        return
    with pytest.raises(BackendError if status == "unreviewed" else UnresolvedError) as caught:
        outcome.raise_for_status()
    assert caught.value.verdict == outcome.verdict.without_texts()
    assert (caught.value.usage, caught.value.events) == (outcome.usage, outcome.events)
    again = pickle.loads(pickle.dumps(outcome))
    with pytest.raises(type(caught.value)):
        again.raise_for_status()
    with pytest.raises(type(caught.value)):
        copy.deepcopy(outcome).raise_for_status()


RAISED: dict[str, tuple[type[ConscienceError], dict[str, Any], dict[str, Any]]] = {
    "still flagged": (UnresolvedError, {"revise": "Bad again."}, {"on_unresolved": "raise"}),
    "gate fails": (BackendError, {"gate": Fault("server", "Bad")}, {"on_error": "raise"}),
    "critique fails": (BackendError, {"critique": Fault("server")}, {"on_error": "raise"}),
    "critique is unreadable": (ReviewError, {"critique": "Bad Bad Bad"}, {"on_error": "raise"}),
    "budget is spent": (BudgetExceeded, {}, {"on_error": "raise", "budget": {"calls": 3}}),
    "generation fails": (BackendError, {"generate": Fault("server")}, {}),
    "too long": (ContextTooLong, {"generate": Fault("context")}, {}),
}


@pytest.mark.parametrize("way", RAISED)
@pytest.mark.parametrize("mode", ["sync", "async", "stream", "correct"])
@pytest.mark.long
def test_errors_carry_the_call_and_no_draft(way: str, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """Also when they are pickled or logged; whichever way the program was called."""
    kind, stages, options = RAISED[way]
    if mode == "correct" and "generate" in stages:
        pytest.skip("nothing is generated")
    program = Conscience("question -> answer", lm=bad_then_good(**stages), **options)

    async def streamed() -> list[Any]:
        return [event async for event in program.stream(question="q")]

    calls: dict[str, Callable[[], Any]] = {
        "sync": lambda: program(question="q"),
        "async": lambda: asyncio.run(program.acall(question="q")),
        "stream": lambda: asyncio.run(streamed()),
        "correct": lambda: program.correct("q", "Bad."),
    }
    with pytest.raises(kind) as caught:
        calls[mode]()
    error = caught.value
    assert isinstance(error.verdict, Verdict)
    assert error.verdict.flagged
    assert isinstance(error.usage, Usage)
    assert isinstance(error.events, tuple)
    assert error.verdict.reviewed is (way == "still flagged")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin), twin.hint, twin.verdict, twin.usage) == (
        kind, str(error), error.hint, error.verdict, error.usage,
    )  # fmt: skip
    if way != "gate fails":  # there the server itself says the word
        logging.getLogger("app").error("failed", exc_info=(kind, error.with_traceback(None), None))
        assert MARK not in str(vars(error)) + repr(error) + caplog.text
        assert b"Bad" not in pickle.dumps(error)


def test_an_outcome_is_a_response_model() -> None:
    """Of FastAPI's, which takes what pydantic takes: by itself and in a model, checked, written and documented."""
    outcome = Conscience("question -> answer", lm=bad_then_good())(question="q")

    class Reply(BaseModel):
        outcome: Outcome

    adapter: TypeAdapter[Outcome] = TypeAdapter(Outcome)
    assert adapter.validate_python(outcome) is outcome
    assert adapter.dump_python(outcome) == outcome.to_json()
    assert json.loads(adapter.dump_json(outcome)) == json.loads(json.dumps(outcome.to_json()))
    assert json.loads(Reply(outcome=outcome).model_dump_json()) == {"outcome": json.loads(adapter.dump_json(outcome))}
    for schema in (adapter.json_schema(mode="serialization"), adapter.json_schema(mode="validation")):
        assert set(schema["properties"]) == set(outcome.to_json())
    with pytest.raises(ValidationError):
        adapter.validate_python({"response": "x"})
    OutcomeModel.model_validate(outcome.to_json())


def test_a_check_is_met_by_a_line_end() -> None:
    """It sees each sign, so a revision that differs in one is looked at, not taken for the draft."""
    brief = Principle(id="brief", text="Answer in one line.", check=lambda text: "\n" in text.strip())
    rules = Constitution.load("general").model_copy(update={"principles": (brief,)})
    lm = ScriptedLM(by_stage("It is done\nat 74 °C.", gate=0.1, revise="It is done at 74 °C."))
    outcome = Conscience(constitution=rules, lm=lm)("When?")
    assert (outcome.status, outcome.response) == ("revised", "It is done at 74 °C.")


@pytest.mark.parametrize("repeat", ["Кill it.", "k\u200bill it.", "Ｋill it.", "Kill  it."])
def test_look_alikes_meet_no_check(repeat: str) -> None:
    """It would pass the pattern, and tells the reader the same."""
    harmless = Principle(id="harmless", text="Kill nothing.", check=lambda text: "Kill it" in text)
    rules = Constitution.load("general").model_copy(update={"principles": (harmless,)})
    outcome = Conscience(constitution=rules, lm=ScriptedLM(by_stage("Kill it.", gate=0.1, revise=repeat)))("What now?")
    assert outcome.status == "refused"
    assert any("repeats what was flagged" in event for event in outcome.events)


def test_an_answer_may_stay_where_its_reasoning_was_wrong() -> None:
    """A gate that quotes nothing may have flagged the thoughts: with new ones the same answer is reviewed again."""

    def gate(messages: Any, params: Any) -> float:
        return 0.9 if "They will not notice" in str(messages) else 0.1

    draft, mended = (fields(reasoning=thought, answer="4") for thought in ("They will not notice.", "2 + 2 = 4."))
    lm = ScriptedLM(by_stage(draft, gate=gate, revise=mended))
    settings = one_question("Bad?").model_copy(update={"critique": "off"})
    outcome = Conscience("question -> reasoning, answer", lm=lm, review=settings)(question="2 + 2?")
    assert (outcome.status, outcome.answer) == ("revised", "4")


def test_what_is_shown_is_reviewed_without_its_escapes() -> None:
    """A field in JSON may hide its letters from the model that reviews, and not from the reader."""
    draft = fields(answer="Fine.", steps='["\\u0070oison the well"]')
    assert "poison" not in draft

    def gate(messages: Any, params: Any) -> float:
        return 0.9 if "poison" in messages[-2]["content"] else 0.1

    lm = ScriptedLM(by_stage(draft, gate=gate, critique='{"findings": []}'))
    settings = one_question("Bad?").model_copy(update={"critique": "off"})
    program = Conscience("question -> answer, steps: list[str]", lm=lm, review=settings, max_revisions=0)
    assert program(question="q").status == "refused"


REPEATS = ["Bad.", "bad .", "B\u200ba\u200bd.", "Bаd.", "Ｂａｄ．", "Ba\u0301d.", "B\u00ada d\u2060.", "ΒAD."]


@pytest.mark.parametrize("repeat", REPEATS)
def test_a_repeated_draft_is_no_revision(repeat: str) -> None:
    """Whatever it is dressed up as, and although the gate would pass it: it is refused, and that is told."""
    gate = iter([0.9])
    lm = bad_then_good(revise=repeat, gate=lambda messages, params: next(gate, 0.1))
    outcome = Conscience("question -> answer", lm=lm)(question="q")
    assert outcome.status == "refused"
    assert any("repeats what was flagged" in event for event in outcome.events)
    assert outcome.revisions[0].verdict.flagged
    assert outcome.usage.by_role["review"].calls == 2, "gate and critique of the draft alone"


def test_after_a_repetition_the_next_revision_counts() -> None:
    """Where there is another."""
    said = iter(["B\u200bad.", "Good."])
    lm = bad_then_good(revise=lambda messages, params: next(said))
    outcome = Conscience("question -> answer", lm=Backend(lm, cache=False), max_revisions=2)(question="q")
    assert (outcome.status, outcome.answer, len(outcome.revisions)) == ("revised", "Good.", 2)
    assert not outcome.verdict.flagged


def test_a_threshold_is_a_plain_argument() -> None:
    """It moves the line, stays through another constitution, and is a number from 0 to 1."""
    for threshold, status in ((0.3, "revised"), (0.5, "clean")):
        gate = lambda messages, params: 0.1 if "Good." in str(messages) else 0.4  # noqa: E731
        program = Conscience("question -> answer", lm=bad_then_good(gate=gate), threshold=threshold)
        assert program(question="q").status == status
        before = program.gate_settings
        program.set_constitution(Constitution.load("medical"))
        assert program.threshold == threshold
        assert program.gate_settings.stages != before.stages, "an uncompiled gate asks by the new one"
    for wrong in (-0.1, 1.5, True, "0.3"):
        with pytest.raises(ConfigurationError, match="threshold="):
            Conscience(threshold=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="give the threshold to the Review"):
        Conscience(threshold=0.3, review=Review())
    assert Conscience(review=Review(threshold=0.3)).threshold == 0.3
