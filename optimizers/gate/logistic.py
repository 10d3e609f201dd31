"""Regularised logistic regression for few rows and many columns, exact and the same each time.

Columns are centred and half standardised; the penalty is chosen by cross-validation. ``Blend`` weighs the few scores of
several estimators, shrunk towards what each is worth by itself: with a few dozen labels nothing finer can be told, and such
weights are hard to beat (Dawes, "The robust beauty of improper linear models", 1979). scikit-learn has no such prior, and
its logistic regression gives the same weights as this one (the tests compare them).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
"""Numbers of rows, each of which is a draft."""
Score = Callable[[Indices], Array]
"""Indices → log-odds in nats."""

CS = (2.0, 8.0, 32.0, 128.0)
"""Inverse strengths of the penalty to choose from, for rows of mean squared length 1."""
TOGETHER = 0.03
"""How far a blend's weights may leave the proportions expected of them: the variance of the deviations' prior."""
CONSTANT = 1e-6
"""Nats. An estimator whose scores spread no wider says the same of every row, and is not blown up to unit spread."""
LEAST_SLOPE, LEAST_SUM = 0.1, 0.2
"""Of one estimator, and of a blend: a few dozen labels can make good ones look useless, or worse, by chance."""


@dataclass(frozen=True)
class Linear:
    """A linear model: ``rows @ weights + bias`` is the log-odds."""

    weights: Array
    bias: float

    def score(self, rows: Array) -> Array:
        odds: Array = rows @ self.weights + self.bias
        return odds


class Scaling:
    """Centres columns and divides them by the root of half their own variance and half the mean variance; mean length 1.

    A hidden state has a few columns a hundred times as wide as the others, an embedding has none; this serves both.

    Args:
        rows: n × d.
        parts: how many blocks of columns, of one width, count the same.
    """

    def __init__(self, rows: Array, parts: int = 1) -> None:
        self.mean = rows.mean(axis=0)
        variance = rows.var(axis=0).reshape(parts, -1)
        scale = np.sqrt(0.5 * variance + 0.5 * variance.mean(axis=1, keepdims=True) + 1e-12)
        length = np.sqrt((variance / scale**2).sum(axis=1, keepdims=True) * parts + 1e-12)
        self.scale = (scale * length).ravel()

    def __call__(self, rows: Array) -> Array:
        scaled: Array = (rows - self.mean) / self.scale
        return scaled

    def undone(self, linear: Linear) -> Linear:
        """The same model for rows that are not scaled."""
        weights = linear.weights / self.scale
        return Linear(weights, float(linear.bias - weights @ self.mean))


def fit_logistic(rows: Array, labels: Array, Cs: Sequence[float], sample_weight: Array) -> list[Linear]:
    """Logistic regressions with an L2 penalty of 1/(2·C) on the weights and none on the bias, one for each C.

    Args:
        rows: n × d, of mean squared length about 1.
        labels: n of 0 or 1, both present.
        Cs: inverse strengths of the penalty.
        sample_weight: n, how much each row counts.
    """
    if len(np.unique(labels)) != 2:
        raise ValueError("both labels are needed")
    # What is orthogonal to all rows keeps weight 0, so it is enough to fit in their span.
    _, sizes, axes = np.linalg.svd(rows, full_matrices=False)
    axes = axes[sizes > 1e-7 * max(sizes[0], 1e-12)]
    inner = rows @ axes.T
    centre = np.zeros(inner.shape[1])
    solutions = [newton(inner, labels, np.eye(len(centre)) / C, centre, sample_weight) for C in Cs]
    return [Linear(axes.T @ solution[:-1], float(solution[-1])) for solution in solutions]


def newton(rows: Array, labels: Array, penalty: Array, centre: Array, sample_weight: Array) -> Array:
    """Minimises the weighted log loss plus (w − centre)ᵀ penalty (w − centre)/2; returns weights and bias."""
    n, k = rows.shape
    design = np.hstack([rows, np.ones((n, 1))])
    full = np.zeros((k + 1, k + 1))
    full[:k, :k] = penalty
    full[k, k] = 1e-9
    start = np.append(centre, 0.0)
    theta = start.copy()
    for _ in range(100):
        p = sigmoid(design @ theta)
        gradient = design.T @ (sample_weight * (p - labels)) + full @ (theta - start)
        hessian = (design.T * (sample_weight * p * (1 - p))) @ design + full + 1e-12 * np.eye(k + 1)
        step = np.linalg.solve(hessian, gradient)
        longest = float(np.abs(step).max())
        theta = theta - step * min(1.0, 5.0 / longest) if longest else theta  # far off, a full step may overshoot
        if longest < 1e-9:
            break
    return theta


@dataclass(frozen=True)
class Blend:
    """Weights over the scores of several estimators, and a bias."""

    weights: Array
    bias: float

    @classmethod
    def fit(cls, scores: Array, labels: Array, sample_weight: Array) -> Blend:
        """Fits on scores (n × k) of rows that the estimators were not fitted on; the weights' sum stays positive.

        Each estimator's slope by itself says in which proportions the weights are expected.
        """
        spread = np.where(scores.std(axis=0) > CONSTANT, scores.std(axis=0) + 1e-9, 1.0)
        standard = scores / spread
        penalty_alone, centre_alone = np.ones((1, 1)), np.full(1, 0.5)
        slopes = [
            newton(standard[:, [j]], labels, penalty_alone, centre_alone, sample_weight)[0] for j in range(scores.shape[1])
        ]
        expected = np.maximum(slopes, LEAST_SLOPE)
        expected /= expected.sum()
        along = np.outer(expected, expected) / (expected @ expected)
        penalty = (np.eye(len(expected)) - along) / TOGETHER + along
        solution = newton(standard, labels, penalty, expected, sample_weight)
        weights, bias = solution[:-1], float(solution[-1])
        if weights.sum() < LEAST_SUM:
            share = float(np.average(labels, weights=sample_weight))
            weights, bias = expected * LEAST_SUM, float(np.log(share / (1 - share)))
        return cls(weights / spread, bias)

    def score(self, scores: Array) -> Array:
        odds: Array = scores @ self.weights + self.bias
        return odds


def choose_C(
    scores: Callable[[Indices, Indices], Sequence[Array]],
    indices: Indices,
    labels: Array,
    sample_weight: Array,
    folds: Indices,
) -> float:
    """The one of ``CS`` with the least cross-validated loss.

    Args:
        scores: (rows to fit on, rows to score) → a score for each of ``CS``.
        indices: rows.
        labels, sample_weight: of all rows there are.
        folds: of the rows at the indices, see ``group_folds``.
    """
    losses = np.zeros(len(CS))
    for fold in np.unique(folds):
        held_out, rest = indices[folds == fold], indices[folds != fold]
        if len(np.unique(labels[rest])) == 2:
            for i, of_rows in enumerate(scores(rest, held_out)):
                losses[i] += sample_weight[held_out] @ log_losses(of_rows, labels[held_out])
    return CS[int(np.argmin(losses))]


def log_odds_of(probabilities: Array) -> Array:
    """Log-odds in nats; no probability is 0 or 1."""
    odds: Array = np.log(probabilities / (1 - probabilities))
    return odds


def six_digits(value: float) -> float:
    """A weight to six significant digits: a file must not depend on the last bits of a sum."""
    return float(f"{float(value):.6g}")


def sigmoid(values: Array) -> Array:
    probabilities: Array = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return probabilities


def log_losses(scores: Array, labels: Array) -> Array:
    """Each row's log loss in nats, from log-odds."""
    losses: Array = np.logaddexp(0, -scores * (2 * labels - 1))
    return losses


def group_folds(groups: Sequence[Hashable], count: int, seed: int) -> Indices:
    """A fold from 0 to count − 1 for each row; rows of one group share one, whatever the order of the rows."""
    names = sorted(set(groups), key=str)
    random.Random(seed).shuffle(names)
    fold_of = {name: place % count for place, name in enumerate(names)}
    return np.array([fold_of[group] for group in groups])


def cross_val_predict(fit: Callable[[Indices], Score], labels: Array, folds: Indices) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Each row's score by a model that was fitted without the row's fold, and whether there was one.

    Args:
        fit: the indices to fit on → a score of any indices.
        labels: of each row.
        folds: of each row, see ``group_folds``.
    """
    scores, known = np.zeros(len(labels)), np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        held_out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(np.unique(labels[rest])) == 2:
            scores[held_out], known[held_out] = fit(rest)(held_out), True
    return scores, known
