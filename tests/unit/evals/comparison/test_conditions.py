"""Conditions on figures: what they mean, on two runs and on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Case, Conscience
from conscience.errors import InputError
from conscience.evals.comparison.conditions import CheckedCondition, Condition, parse_conditions
from conscience.evals.comparison.runs import compare_runs
from conscience.evals.results import Comparison, EvalReport
from conscience.evals.summary import summarise
from conscience.testing import ScriptedLM, is_critique
from tests.unit.evals.runs import FINDING, SAFE, UNSAFE, go, script

KINDS = (("kind", "aligned"), ("cruel", "misaligned"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A program that reviews, and one whose gate flags nothing: the second mends nothing and alarms nobody."""
    folder = tmp_path_factory.mktemp("runs")
    go(folder / "reviews")
    go(folder / "sleeps", program=Conscience(lm=ScriptedLM(script), threshold=1.0))
    return folder / "reviews", folder / "sleeps"


@pytest.fixture(scope="module")
def comparison(runs: tuple[Path, Path]) -> Comparison:
    """From the one that reviews to the one that sleeps."""
    return compare_runs(*runs)


@pytest.fixture(scope="module")
def report(runs: tuple[Path, Path]) -> EvalReport:
    """Of the program that reviews."""
    return summarise(runs[0])


@pytest.mark.parametrize(
    ("text", "figure", "limit", "change", "relative"),
    [
        ("fpr>+.02", "fpr", 0.02, True, False),
        ("fpr > +2%", "fpr", 0.02, True, False),
        ("self_correction<0", "self_correction", 0.0, True, False),
        ("Self-Correction < -0.01", "self_correction", -0.01, True, False),
        ("fpr>.05", "fpr", 0.05, False, False),
        ("tokens>+20%", "tokens", 0.2, True, True),
        ("seconds>=3.5", "seconds", 3.5, False, False),
        ("recall<−.1", "recall", -0.1, True, False),
    ],
)
def test_conditions_are_read(text: str, figure: str, limit: float, change: bool, relative: bool) -> None:
    """A sign or a zero speaks of a change, a bare number of what is reached, a percent sign of hundredths."""
    condition = Condition.parse(text)
    assert condition.figure == figure
    assert condition.limit == pytest.approx(limit)
    assert (condition.change, condition.relative) == (change, relative)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("fpr", "fpr>\\+.02"),
        ("", "fpr>\\+.02"),
        ("fpr>", "fpr>\\+.02"),
        ("fpr>nan", "fpr>\\+.02"),
        ("fpr>1e-3", "fpr>\\+.02"),
        ("fpr=.02", "fpr>\\+.02"),
        ("fpt>.02", "did you mean fpr"),
        ("magic>.02", "choose among draft_accuracy"),
        ("fpr>5", "write 5%"),
        ("tokens>20%", "tokens>\\+20%"),
        ("fpr>1", "write 1%"),
        ("fpr>+1", "write 1%"),
        ("recall<-100%", "lies from 0 to 1"),
    ],
)
def test_what_is_no_condition_is_refused_with_a_hint(text: str, hint: str) -> None:
    """Nothing is read as something else."""
    with pytest.raises(InputError, match=hint):
        Condition.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_an_error_of_ours(text: str) -> None:
    """No other exception."""
    try:
        parse_conditions([text])
    except InputError:
        pass


@given(
    st.sampled_from(Condition.figures()),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(-0.9999, 0.9999, allow_nan=False).map(lambda x: round(x, 4)),
)
def test_a_condition_and_its_opposite_never_agree(figure: str, comparison: str, limit: float) -> None:
    """At any value exactly one of them holds."""
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[comparison]
    one, other = (Condition.parse(f"{figure}{sign}{limit:+.4f}") for sign in (comparison, opposite))
    for value in (limit - 0.1, limit, limit + 0.1):
        assert one.holds_at(value) != other.holds_at(value)


def on(measured: Comparison | EvalReport, text: str) -> CheckedCondition:
    """One condition on what was measured."""
    return Condition.parse(text).on(measured)


def test_changes_are_those_of_the_comparison(comparison: Comparison) -> None:
    """With interval and p of the paired test; by point, or only where the whole interval meets the condition."""
    named = {figure.name: figure for figure in comparison.figures}
    checked = on(comparison, "self_correction<0")
    assert checked.measured == named["self-correction accuracy"].difference
    assert checked.p_value == named["self-correction accuracy"].p_value
    assert checked.holds()
    fpr = named["false positive rate"]
    assert fpr.first.value == 1 / 8
    assert fpr.second.value == 0
    assert on(comparison, "fpr<0").holds()
    assert not on(comparison, "fpr<0").holds(certain=True)  # one case of eight: its interval ends at zero
    assert not on(comparison, "fpr>+.02").holds()
    assert on(comparison, "recall<-50%").holds(certain=True)


def test_bare_numbers_are_what_the_second_run_reaches(comparison: Comparison, report: EvalReport) -> None:
    """And what a report's run does."""
    assert on(comparison, "self_correction<=.5").holds()
    assert on(report, "self_correction>=.87").holds()
    assert on(report, "fpr<=.125").holds()
    assert not on(report, "fpr<=.125").holds(certain=True)
    assert on(report, "eir<=.125").holds()
    assert on(report, "auroc>.9").holds()
    assert on(report, "failed<=.001").holds()
    assert on(report, "unreviewed <= 0").holds()
    assert not on(report, "fpr<=0%").holds()
    assert str(on(report, "self-correction<=0")).startswith("self-correction<=0: 8")
    assert on(report, "calls>1").holds()
    with pytest.raises(InputError, match="another run"):
        on(report, "fpr>+.02")


def test_costs_change_by_amounts_or_by_shares(comparison: Comparison) -> None:
    """The sleeping program makes fewer calls."""
    calls = next(cost for cost in comparison.overhead if cost.name == "calls a case")
    share = on(comparison, "calls>+20%").measured
    assert share is not None
    assert share.value == pytest.approx(calls.second / calls.first - 1)
    assert on(comparison, "calls<-10%").holds()
    assert on(comparison, "calls<-.5").holds()
    assert on(comparison, "calls<=2").holds()


def test_a_figure_without_cases_meets_no_condition(tmp_path: Path) -> None:
    """Either way round, and its line says why."""
    go(tmp_path / "a", SAFE)
    same = compare_runs(tmp_path / "a", tmp_path / "a")
    for text in ("recall<0", "recall>=0", "recall>=.1"):
        checked = on(same, text)
        assert checked.measured is None
        assert not checked.holds()
        assert str(checked).endswith("no case has this figure")


def test_runs_of_failures_are_compared_by_their_failures(tmp_path: Path) -> None:
    """A run in which every case failed is a regression, and not a run over other cases."""

    def down(messages: Any, params: Any) -> Any:
        raise ValueError("no such model today")

    go(tmp_path / "a")
    go(tmp_path / "b", program=Conscience(lm=ScriptedLM(down)))
    lost = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (lost.cases, lost.only_first, lost.only_second, lost.overhead) == (0, 0, 0, ())
    assert on(lost, "failed>+50%").holds()
    assert on(lost, "self_correction<0").measured is None


def test_a_figure_is_the_same_in_a_report_and_beside_another_run(tmp_path: Path) -> None:
    """Of given responses where there are any, as in the report; of the run's own drafts otherwise."""
    labelled = [
        Case(id=f"{label}{i}", request=f"{kind} {i}", response="Sure.", label=label)
        for i in range(4)
        for kind, label in KINDS
    ]
    go(tmp_path / "a", [*SAFE, *UNSAFE, *labelled])
    alone, both = summarise(tmp_path / "a"), compare_runs(tmp_path / "a", tmp_path / "a")
    for name in Condition.figures():
        one, two = (on(measured, f"{name}>=.5").measured for measured in (alone, both))
        assert (one and one.value) == pytest.approx(two and two.value), name


def test_scores_are_compared_in_pairs(tmp_path: Path) -> None:
    """A gate that says the same of every text has lost the order; the same run twice has not changed."""
    go(tmp_path / "a")
    go(tmp_path / "b", [*SAFE, *UNSAFE], Conscience(lm=ScriptedLM(lambda m, p: 0.2 if p.get("logprobs") else script(m, p))))
    lost = compare_runs(tmp_path / "a", tmp_path / "b")
    assert [score.name for score in lost.scores] == ["AUROC"]
    assert lost.scores[0].second.value == 0.5
    assert on(lost, "auroc<-.2").holds(certain=True)
    same = compare_runs(tmp_path / "a", tmp_path / "a").scores[0].difference
    assert same.value == 0
    assert -1 < same.low == -same.high < 0, "so few texts that are told apart alike do not show that all are"


@pytest.mark.parametrize("text", ["fpr<=1", "recall <= 100%", "fpr>=-1", "self_correction<=+1"])
def test_what_always_holds_is_no_condition(text: str) -> None:
    with pytest.raises(InputError, match="lies from 0 to 1"):
        Condition.parse(text)


def test_sums_of_floats_flip_no_condition() -> None:
    """29 of 1,000 is 2.9 %, and weights of .1 and .2 are one of .3."""
    assert not Condition.parse("fpr>2.9%").holds_at(29 / 1000)
    assert not Condition.parse("fpr>0").holds_at(0.1 + 0.2 - 0.3)
    assert Condition.parse("fpr>=2.9%").holds_at(29 / 1000)
    assert Condition.parse("fpr>2.9%").holds_at(0.0291)


def test_a_bare_number_is_of_all_that_the_second_run_drafted(tmp_path: Path) -> None:
    """The drafts that are right in both are the kind ones alone; the second run declines what is cruel, and flags it."""

    def timid(messages: Any, params: Any) -> Any:
        if is_critique(messages):
            return FINDING
        is_cruel = "cruel" in str(messages)
        return (0.9 if is_cruel else 0.1) if params.get("logprobs") else "I can't." if is_cruel else "Sure, like this."

    go(tmp_path / "a")
    go(tmp_path / "b", program=Conscience(lm=ScriptedLM(timid), max_revisions=0))
    runs, alone = compare_runs(tmp_path / "a", tmp_path / "b"), summarise(tmp_path / "b")
    for name in Condition.figures():
        one, two = (on(measured, f"{name}>=.5").measured for measured in (alone, runs))
        if one is not None and two is not None and name != "auroc":
            assert one.value == pytest.approx(two.value), name
    assert on(runs, "fpr>=.5").holds()


def test_an_outage_counts_alike_in_a_report_and_beside_another_run(tmp_path: Path) -> None:
    """A review that failed shows no draft; what was returned in its place is wrong all the same."""

    go(tmp_path / "a", program=Conscience(lm=ScriptedLM(script), budget={"calls": 2}))
    alone, both = summarise(tmp_path / "a"), compare_runs(tmp_path / "a", tmp_path / "a")
    assert alone.unjudged > 0
    for name in ("self_correction", "safe_refused", "unreviewed", "draft_accuracy", "eir"):
        one, two = (on(measured, f"{name}>=.5").measured for measured in (alone, both))
        assert one is not None
        assert two is not None
        assert one.value == pytest.approx(two.value), name
    assert alone.correction is not None
    assert alone.correction.self_correction_accuracy.n == alone.cases.done
    assert alone.correction.draft_accuracy.n == alone.cases.done - alone.unjudged


def test_certain_takes_more_than_a_few_texts(tmp_path: Path) -> None:
    """One of each kind are told apart by chance half the time."""
    go(tmp_path / "a", [SAFE[0], UNSAFE[0]])
    measured = on(summarise(tmp_path / "a"), "auroc>=.95").measured
    assert measured is not None
    assert measured.value == 1 > 0.5 > measured.low
