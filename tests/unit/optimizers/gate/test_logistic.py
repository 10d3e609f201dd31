"""The fits agree with scikit-learn's, and a blend does not turn good estimators against themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from conscience.optimizers.gate.logistic import (
    LEAST_SUM,
    Blend,
    Scaling,
    cross_val_predict,
    fit_logistic,
    group_folds,
    sigmoid,
)


def drawn(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d))
    return rows, (rng.random(n) < sigmoid(rows[:, 0] * 2 - rows[:, 1])).astype(float)


@pytest.mark.parametrize(("n", "d"), [(80, 5), (40, 300)])
@pytest.mark.parametrize("C", [0.5, 32.0])
def test_logistic_regression_is_scikit_learns(n: int, d: int, C: float) -> None:
    """Weights and bias, also with more columns than rows, and with rows of different weight."""
    rows, labels = drawn(n, d)
    sample_weight = np.linspace(0.5, 2, n)
    (found,) = fit_logistic(rows, labels, (C,), sample_weight)
    theirs = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(rows, labels, sample_weight)
    assert found.weights == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert found.bias == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_scaling_is_undone_exactly() -> None:
    """The model of scaled rows scores as the undone one does unscaled rows."""
    rows, labels = drawn(50, 8)
    rows = rows * np.array([1, 100, 1, 1, 0.01, 1, 1, 5]) + 3
    scaling = Scaling(rows, parts=2)
    (linear,) = fit_logistic(scaling(rows), labels, (8.0,), np.ones(50))
    assert scaling.undone(linear).score(rows) == pytest.approx(linear.score(scaling(rows)))
    assert (scaling(rows) ** 2).sum(axis=1).mean() == pytest.approx(1.0, rel=0.3)


def test_cross_val_predict_never_scores_a_row_with_its_own_fold() -> None:
    """Nor with a fold that leaves labels of one kind only."""
    labels = np.array([0.0, 1, 0, 1, 0, 1])
    fold = group_folds(["a", "a", "b", "b", "c", "c"], 3, 0)
    assert fold[0] == fold[1] != fold[2]
    seen: list[set[int]] = []

    def fit(rows: np.ndarray) -> object:
        seen.append(set(rows.tolist()))
        return lambda wanted: np.array([float(i in set(rows.tolist())) for i in wanted])

    scores, known = cross_val_predict(fit, labels, fold)  # type: ignore[arg-type]
    assert not scores.any()
    assert known.all()
    assert len(seen) == 3


def test_blend_trusts_what_is_worth_more() -> None:
    """A good estimator gets more weight than noise; noise alone is not inverted."""
    rng = np.random.default_rng(0)
    labels = (rng.random(64) < 0.5).astype(float)
    good, noise = labels * 2 + rng.normal(size=64), rng.normal(size=64)
    blend = Blend.fit(np.stack([good, noise], axis=1), labels, np.ones(64))
    assert blend.weights[0] > 3 * blend.weights[1] > 0
    against = Blend.fit((-good)[:, None], labels, np.ones(64))
    assert against.weights @ np.array([np.std(good)]) == pytest.approx(LEAST_SUM)
