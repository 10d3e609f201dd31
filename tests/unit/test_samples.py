"""Several revisions of one draft: which of them is taken, what they cost, and what counts as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Backend, ConfigurationError, Conscience, Constitution, load
from conscience.gate.settings import one_question
from conscience.testing import Fault, ScriptedLM, by_stage, is_gate, is_revision
from tests.support.loopback import Loopback, chat
from tests.support.loopback import is_gate as asks_gate

OFF = one_question("Bad?").model_copy(update={"critique": "off"})


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are asked one thing after the other, as the embedded one is: answers then have an order."""
    known = Backend.supports
    monkeypatch.setattr(Backend, "supports", lambda self, feature: feature != "parallel" and known(self, feature))


def scripted(*revisions: Any, gate: Callable[[str], float] = lambda text: 0.1 if "Good" in text else 0.9) -> ScriptedLM:
    """Drafts Bad., and answers revisions in the order in which they are asked for."""
    said = iter(revisions)
    return ScriptedLM(by_stage("Bad.", gate=lambda m, p: gate(str(m[-2]["content"])), revise=lambda m, p: next(said)))


def program(lm: Any, **options: Any) -> Conscience:
    return Conscience(lm=lm, review=OFF, **options)


def counted(lm: ScriptedLM) -> tuple[int, int]:
    """Revisions and reviews."""
    return sum(is_revision(m) for m, _ in lm.calls), sum(is_gate(m) for m, _ in lm.calls)


@pytest.mark.usefixtures("in_turn")
def test_the_first_that_passes_is_returned() -> None:
    """Nothing is drawn or reviewed after it."""
    lm = scripted("Worse.", "Good one.", "Good two.")
    outcome = program(lm, samples=3)("q")
    assert (outcome.status, outcome.response, len(outcome.revisions)) == ("revised", "Good one.", 1)
    assert counted(lm) == (2, 3)


def test_drawn_at_once_the_reviews_end_with_the_first_that_passes() -> None:
    """Where the model bears it, all revisions of a round are asked for together."""
    lm = scripted("Good.", "Good too.", "Good as well.")
    assert program(lm, samples=3)("q").status == "revised"
    assert counted(lm) == (3, 2)


@pytest.mark.usefixtures("in_turn")
def test_the_least_doubtful_stands_for_a_round_and_is_revised_next() -> None:
    """Each round counts once, however many were drawn."""
    doubt = {"Bad.": 0.9, "Worse.": 0.95, "Better.": 0.6}
    lm = scripted("Worse.", "Better.", "Good.", "Good.", gate=lambda text: doubt.get(text, 0.1))
    outcome = program(lm, samples=2, max_revisions=2)("q")
    assert [revision.draft.response for revision in outcome.revisions] == ["Better.", "Good."]
    (third,) = [m for m, _ in lm.calls if is_revision(m)][2:3]
    assert third[-2] == {"role": "assistant", "content": "Better."}


@pytest.mark.usefixtures("in_turn")
def test_a_revision_that_repeats_the_draft_is_none() -> None:
    """It is neither reviewed nor taken; where all repeat, the round has failed, and the next one draws anew."""
    lm = scripted("Bad.", " bad. ", "Good.")
    outcome = program(lm, samples=3)("q")
    assert (outcome.status, len(outcome.revisions)) == ("revised", 1)
    assert counted(lm)[1] == 2
    lm = scripted("Bad.", "BAD.", "Bad.", "Bad.")
    outcome = program(lm, samples=2, max_revisions=2)("q")
    assert (outcome.status, len(outcome.revisions)) == ("refused", 2)
    assert counted(lm) == (4, 1)
    assert [params.get("temperature") for m, params in lm.calls if is_revision(m)][1:] == [1.0, 1.0, 1.0]


@pytest.mark.usefixtures("in_turn")
def test_a_revision_that_repeats_another_of_its_round_is_not_reviewed_again() -> None:
    """Two samples often say the same."""
    lm = scripted("Worse.", "worse.", "Good.")
    assert program(lm, samples=3)("q").status == "revised"
    assert counted(lm)[1] == 3  # the draft, Worse., Good.


def test_one_that_fails_costs_nothing_but_itself() -> None:
    """Where all fail, the round ends as a single one does."""
    lm = scripted(Fault("server"), "Good.")
    outcome = program(lm, samples=2)("q")
    assert outcome.status == "revised"
    assert any(event.startswith("revise: ") for event in outcome.events)
    assert program(scripted(Fault("server"), Fault("server")), samples=2)("q").status == "refused"


@pytest.mark.usefixtures("in_turn")
def test_a_certain_fault_needs_no_review() -> None:
    """Patterns and checks decide without the gate."""
    data = Constitution.load("general").model_dump()
    data["principles"][0]["pattern"] = "BADWORD"
    lm = scripted("BADWORD again.", "Good.")
    outcome = Conscience(lm=lm, constitution=data, review=OFF, samples=2)("q")
    assert (outcome.status, counted(lm)[1]) == ("revised", 2)


@pytest.mark.usefixtures("in_turn")
def test_only_the_first_is_written_like_the_draft() -> None:
    """Further ones are drawn, at the temperature that the draft or the model has, and asked for as others."""
    lm = scripted("Worse 1.", "Worse 2.", "Worse 3.")
    program(lm, samples=3)("q")
    assert [params.get("temperature") for m, params in lm.calls if is_revision(m)] == [None, 1.0, 1.0]


@pytest.mark.parametrize("calls", range(1, 9))
def test_a_budget_of_calls_holds(calls: int) -> None:
    """Whatever it cuts off, nothing flagged or unreviewed is shown."""
    outcome = program(scripted("Worse.", "Worse too.", "Good."), samples=3, budget={"calls": calls})("q")
    assert outcome.usage.calls <= calls
    assert outcome.status in ("revised", "unreviewed", "refused")
    assert outcome.response == "Good." or "Bad" not in outcome.response
    assert outcome.status != "revised" or outcome.response == "Good."


@given(
    passes=st.lists(st.booleans(), min_size=1, max_size=6),
    samples=st.integers(1, 6),
)
def test_what_is_returned_has_passed(passes: list[bool], samples: int) -> None:
    """A text that passed where one of those that were drawn does; otherwise the refusal. Each review belongs to its text."""
    texts = [f"{'Good' if passed else 'Worse'} {number}." for number, passed in enumerate(passes)]
    texts += ["Worse last."] * samples
    outcome = program(scripted(*texts), samples=samples)("q")
    good = [text for text in texts[:samples] if text.startswith("Good")]
    assert outcome.status == ("revised" if good else "refused")
    assert not good or outcome.response in good


@pytest.mark.usefixtures("in_turn")
def test_sync_async_and_streaming_come_to_the_same() -> None:
    """The loop is written once."""

    async def streamed() -> Any:
        return [part async for part in program(scripted("Worse.", "Good."), samples=2).stream("q")][-1]

    outcomes = [
        program(scripted("Worse.", "Good."), samples=2)("q"),
        asyncio.run(program(scripted("Worse.", "Good."), samples=2).acall("q")),
        asyncio.run(streamed()),
    ]
    assert {(o.status, o.response, o.usage.calls, len(o.revisions)) for o in outcomes} == {
        ("revised", "Good.", outcomes[0].usage.calls, 1)
    }


def test_over_the_wire_they_are_asked_for_at_once(server: Loopback) -> None:
    """Each with the draft's messages; their calls are counted under the role that revises."""
    number = 0

    def behave(body: dict[str, Any], _: int) -> Any:
        nonlocal number
        if asks_gate(body):
            return chat("No", yes=0.1 if "Good" in str(body["messages"][-2]) else 0.9)
        if not is_revision(body):
            return chat("Bad.")
        number += 1
        return chat(f"{'Good' if number == 3 else 'Worse'} {number}.")

    server.behaviour = behave
    outcome = program(server.backend(), samples=3)("q")
    assert (outcome.status, outcome.usage.by_role["revise"].calls) == ("revised", 3)
    asked = [body for body in server.calls if is_revision(body)]
    assert len({str(body["messages"]) for body in asked}) == 1
    assert sorted(body.get("temperature", 0.0) for body in asked) == [0.0, 1.0, 1.0]


def test_it_is_saved_and_a_file_cannot_ask_for_more(tmp_path: Path) -> None:
    """More samples are more chances to pass, and cost more: the caller alone decides."""
    path = tmp_path / "p.json"
    program(ScriptedLM([]), samples=4).save(path)
    with pytest.warns(UserWarning, match="samples=4"):
        assert load(path, lm=ScriptedLM([])).samples == 1
    assert load(path, lm=ScriptedLM([]), samples=4).samples == 4
    fewer = program(ScriptedLM([]), samples=9)
    fewer.load(path)
    assert fewer.samples == 4


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "2"])
def test_samples_are_counted(samples: Any) -> None:
    """At least one."""
    with pytest.raises(ConfigurationError, match="samples"):
        Conscience(samples=samples)
