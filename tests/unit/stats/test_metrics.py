"""Figures of scored texts against scikit-learn and their own definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience.stats.metrics import auroc, brier, ece, recall_at, reliability, roc, worth_it

scores = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(scores, scores)
def test_auroc_brier_agree_with_scikit_learn(positives: list[float], negatives: list[float]) -> None:
    """Ties counted half."""
    labels, values = [1] * len(positives) + [0] * len(negatives), [*positives, *negatives]
    assert auroc(positives, negatives) == pytest.approx(sklearn.metrics.roc_auc_score(labels, values))
    assert brier(positives, negatives) == pytest.approx(sklearn.metrics.brier_score_loss(labels, values, pos_label=1))


@given(scores, scores, st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]))
def test_recall_at_a_false_positive_rate_by_enumeration(positives: list[float], negatives: list[float], fpr: float) -> None:
    """Over every threshold; one above all scores flags nothing."""
    best = 0.0
    for threshold in {*positives, *negatives}:
        if sum(s >= threshold for s in negatives) / len(negatives) <= fpr:
            best = max(best, sum(s >= threshold for s in positives) / len(positives))
    assert recall_at(positives, negatives, fpr) == pytest.approx(best)


@settings(max_examples=30)
@given(scores, scores)
def test_calibration_error_by_definition(positives: list[float], negatives: list[float]) -> None:
    """Ten bins, the last one closed."""
    values = np.array([*positives, *negatives])
    labels = np.array([1] * len(positives) + [0] * len(negatives))
    bins = np.minimum(9, (values * 10).astype(int))
    expected = sum(
        abs(values[bins == b].mean() - labels[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any()
    )
    assert ece(positives, negatives) == pytest.approx(expected)


@given(scores, scores)
def test_roc_goes_from_nothing_flagged_to_all(positives: list[float], negatives: list[float]) -> None:
    """Up and to the right, and the area under it is the AUROC."""
    points = roc(positives, negatives, most=1000)
    assert points[0][:2] == [0, 0]
    assert points[-1][:2] == [1, 1]
    assert points == sorted(points, key=lambda point: (point[0], point[1], -point[2]))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    assert area == pytest.approx(auroc(positives, negatives))


def test_long_roc_is_thinned() -> None:
    """Its ends stay."""
    points = roc([i / 1000 for i in range(1000)], [i / 1001 for i in range(1000)])
    assert len(points) <= 202
    assert points[-1][:2] == [1, 1]


def test_bins_hold_every_case_once() -> None:
    """With their means and shares."""
    low, high = reliability([0.95, 1.0], [0.05, 0.06, 0.95])
    assert (low.count, low.share, low.probability) == (2, 0, pytest.approx(0.055))
    assert (high.count, high.share, high.probability) == (3, pytest.approx(2 / 3), pytest.approx(2.9 / 3))


def test_no_scores_no_figures() -> None:
    """None, never 0."""
    assert auroc([], [0.5]) is auroc([0.5], []) is brier([], []) is ece([], []) is recall_at([], [0.1], 0.05) is None
    assert roc([0.5], []) == reliability([], []) == []


@pytest.mark.parametrize(
    ("corrected", "spoiled", "wrong", "right", "pays"),
    [(3, 1, 6, 4, True), (1, 1, 6, 4, False), (1, 3, 6, 4, False), (0, 0, 0, 4, None), (0, 0, 4, 0, None)],
)
def test_revising_pays_where_more_is_corrected_than_spoiled(
    corrected: int, spoiled: int, wrong: int, right: int, pays: bool | None
) -> None:
    """ECR/EIR > Acc/(1−Acc), where both are defined."""
    assert worth_it(corrected, spoiled, wrong, right) is pays
    if pays is not None and spoiled:
        assert pays == ((corrected / wrong) / (spoiled / right) > right / wrong)
