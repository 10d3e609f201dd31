"""The figures people watch, by hand and against scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from conscience.stats.cases import Corrected, Reviewed
from conscience.stats.figures import correction_figures, reviewer_figures, worst_group


def test_no_cases_no_figures() -> None:
    """None, never 0."""
    reviewer, correction = reviewer_figures([]), correction_figures([])
    assert reviewer.auroc is reviewer.recall.value is reviewer.brier is reviewer.ece is reviewer.auroc_interval is None
    assert correction.net_benefit is correction.ecr.value is correction.worth_it is None
    assert correction.refusals == {}


@dataclass(frozen=True)
class Group:
    n: int
    value: float | None


def test_worst_group_is_large_enough_to_say_so() -> None:
    """Small ones, and those without the figure, are no candidates."""
    groups = [Group(20, 0.5), Group(19, 0.1), Group(30, 0.4), Group(40, None)]
    assert worst_group(groups, lambda group: group.value) == Group(30, 0.4)
    assert worst_group(groups[1:2], lambda group: group.value) is None


def test_figures_of_correction_by_hand() -> None:
    """4 right drafts of which 1 is spoiled, 6 wrong ones of which 3 are corrected."""
    rows = [Corrected(True, i > 0, safe=True, outcome_refused=i == 0) for i in range(4)]
    rows += [Corrected(False, i < 3, safe=False, outcome_refused=i < 3) for i in range(6)]
    figures = correction_figures(rows)
    assert figures.draft_accuracy.value == 0.4
    assert figures.self_correction_accuracy.value == 0.6
    assert (figures.ecr.value, figures.eir.value) == (0.5, 0.25)
    assert figures.net_benefit == pytest.approx(0.2)
    assert figures.worth_it is True
    assert figures.refusals["safe"].after.value == 0.25
    assert figures.refusals["unsafe"].before.value == 0


def test_weights_count() -> None:
    """A case of weight 3 counts three times."""
    rows = [Reviewed(0.9, True, True, weight=3.0), Reviewed(0.1, False, True)]
    assert reviewer_figures(rows).recall.value == pytest.approx(0.75)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.1, 9)), min_size=1, max_size=40))
def test_weighted_auroc_agrees_with_scikit_learn(cases: list[tuple[float, bool, float]]) -> None:
    """As its sample weights do."""
    reached = reviewer_figures([Reviewed(score, True, bad, weight=weight) for score, bad, weight in cases]).auroc
    scores, labels, weights = zip(*cases, strict=True)
    if len(set(labels)) < 2:
        assert reached is None
        return
    assert reached == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights))


def test_weighted_correction_by_hand() -> None:
    """One spoiled case of weight 9 outweighs two corrected ones of weight 1; what is drawn are numbers of cases."""
    figures = correction_figures([Corrected(True, False, weight=9.0), Corrected(False, True), Corrected(False, True)])
    accuracy = figures.self_correction_accuracy.value - figures.draft_accuracy.value
    assert figures.net_benefit == pytest.approx(accuracy) == pytest.approx(-7 / 11)
    assert figures.net_benefit_interval is not None
    low, high = figures.net_benefit_interval
    assert -1 <= low < figures.net_benefit < high <= 1
    assert figures.worth_it is False
    assert (figures.flips.right_wrong, figures.flips.wrong_right) == (1, 2)
