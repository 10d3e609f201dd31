"""One case: what of it is recorded, by which kind of case it is and what the oracle says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conscience import Case, Conscience, Grade
from conscience.errors import ConfigurationError, InputError
from conscience.evals.grading import case_inputs
from conscience.testing import ScriptedLM, by_stage
from tests.unit.evals.runs import FINDING, UNSAFE, go, is_critique, is_revision, records, script


def test_kinds_of_case(tmp_path: Path) -> None:
    """A labelled response is reviewed, one with references is corrected too, choices are shown and read."""
    cases = [
        Case(id="review", request="q", response="cruel words", label="misaligned"),
        Case(id="revise", response="cruel words", label="misaligned", references=("I can't help with that.",)),
        Case(id="choose", request="Who?", choices=("Sure", "Never"), answer=0),
    ]
    lm = ScriptedLM(script)
    go(tmp_path, cases, Conscience(lm=lm), concurrency=1)
    review, revise, choose = records(tmp_path)
    assert (review.kind, review.misaligned, review.flagged) == ("review", True, True)
    assert review.draft is not None
    assert (review.draft.text, review.outcome, review.status) == ("cruel words", None, None)
    assert (revise.kind, revise.draft_ok, revise.outcome_ok) == ("revise", False, True)
    assert (choose.kind, choose.draft_ok, choose.expected) == ("answer", True, "choice: Sure")
    assert any("(a) Sure\n(b) Never" in messages[-1]["content"] for messages, _ in lm.calls)


def test_case_without_anything_to_judge_it_is_named(tmp_path: Path) -> None:
    """Before the run goes on."""
    with pytest.raises(InputError, match="nothing says what is right"):
        go(tmp_path, [Case(id="x", request="q")])


def test_any_callable_is_an_oracle(tmp_path: Path) -> None:
    """Sync or async; what is not a Grade is refused."""

    async def rules(case: Case, response: str) -> Grade:
        return Grade("Sure" in response, "says so")

    go(tmp_path / "a", [Case(id="x", request="kind")], oracle=rules)
    (record,) = records(tmp_path / "a")
    assert record.draft is not None
    assert record.draft.reason == "says so"
    with pytest.raises(ConfigurationError, match="returned bool"):
        go(tmp_path / "b", [Case(id="x", request="kind")], oracle=lambda c, r: True)


@pytest.mark.parametrize(("answer", "budget"), [("no JSON", None), (None, {"calls": 1})])
def test_review_that_gave_nothing_is_an_outcome(tmp_path: Path, answer: str | None, budget: Any) -> None:
    """As the program's policy has it, and as a spent budget has it: every answer is asked for once."""
    lm = ScriptedLM(lambda m, p: answer if answer and is_critique(m) else script(m, p))
    progress = go(tmp_path, UNSAFE[:1], Conscience(lm=lm, budget=budget))
    (record,) = records(tmp_path)
    assert (record.status, record.outcome_ok, progress.failed) == ("unreviewed", True, 0)
    assert record.draft is None
    assert record.unreviewed
    assert record.usage.calls == len(lm.calls) == (1 if budget else 4)


@pytest.mark.parametrize("policy", ["refuse", "best"])
def test_only_the_refusal_text_declines(tmp_path: Path, policy: Any) -> None:
    """A text that is shown although it is flagged is judged by what it says."""

    def stubborn(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.7 if "second" in str(messages) else 0.9
        if is_critique(messages):
            return FINDING
        return "Sure, a second one." if is_revision(messages) else "Sure."

    go(tmp_path, UNSAFE[:1], Conscience(lm=ScriptedLM(stubborn), on_unresolved=policy))
    (record,) = records(tmp_path)
    assert record.status == ("refused" if policy == "refuse" else "unresolved")
    assert record.outcome is not None
    assert record.outcome.ok is record.outcome.refused is (policy == "refuse")


def test_cases_with_one_text_are_paid_for_once_and_each_says_what_it_takes(tmp_path: Path) -> None:
    """The second of them waits for the first one's answers, and both records say the same calls and tokens."""
    lm = ScriptedLM(by_stage("Sure."), seconds=0.05)
    twins = [Case(id=name, request="same", request_safe=True) for name in "ab"]
    assert go(tmp_path, twins, Conscience(lm=lm)).failed == 0
    assert len(lm.calls) == 2
    first, second = (record.usage for record in records(tmp_path))
    assert (first.calls, first.tokens) == (second.calls, second.tokens) == (2, first.tokens)
    assert first.by_role["generate"].seconds == second.by_role["generate"].seconds >= 0.05


def test_every_choice_is_shown() -> None:
    """By letters as far as these go, else by words alone."""
    program = Conscience(lm=ScriptedLM(script))
    for count, first in ((3, "(a) word0"), (26, "(a) word0"), (30, "- word0")):
        case = Case(id="c", request="Which?", choices=tuple(f"word{number}" for number in range(count)), answer=count - 1)
        lines = case_inputs(program, case)["request"].splitlines()
        assert (lines[3], len(lines)) == (first, 3 + count)
        assert lines[-1].endswith(f" word{count - 1}")
