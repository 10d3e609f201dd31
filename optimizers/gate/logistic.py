"""Regularised logistic regression for few rows and many columns, exact and the same each time.

Columns are centred and half standardised; the penalty is chosen by cross-validation. ``Blend`` weighs the few scores of
several readers, shrunk towards what each is worth by itself: with a few dozen labels nothing finer can be told, and such
weights are hard to beat (Dawes, "The robust beauty of improper linear models", 1979).
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
"""Row numbers."""
Score = Callable[[Indices], Array]
"""Row numbers → log-odds in nats."""

CS = (2.0, 8.0, 32.0, 128.0)
"""Inverse strengths of the penalty to choose from, for rows of mean squared length 1."""
TOGETHER = 0.03
"""How far a blend's weights may leave the proportions expected of them: the variance of the deviations' prior."""
LEAST_SLOPE, LEAST_SUM = 0.1, 0.2
"""Of one reader, and of a blend: a few dozen labels can make good readers look useless, or worse, by chance."""


@dataclass(frozen=True)
class Linear:
    """A linear reading: ``rows @ weights + bias`` is the log-odds."""

    weights: Array
    bias: float

    def score(self, rows: Array) -> Array:
        found: Array = rows @ self.weights + self.bias
        return found


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
        """The same reading of rows as they come."""
        weights = linear.weights / self.scale
        return Linear(weights, float(linear.bias - weights @ self.mean))


def fit_logistic(rows: Array, labels: Array, Cs: Sequence[float], sample_weight: Array) -> list[Linear]:
    """Logistic regressions with an L2 penalty of 1/(2·strength) on the weights and none on the bias, one for each strength.

    Args:
        rows: n × d, of mean squared length about 1.
        labels: n of 0 or 1, both present.
        strengths: inverse strengths of the penalty.
        importance: n, how much each row counts.
    """
    if len(np.unique(labels)) != 2:
        raise ValueError("both labels are needed")
    # What is orthogonal to all rows keeps weight 0, so it is enough to fit in their span.
    _, sizes, axes = np.linalg.svd(rows, full_matrices=False)
    axes = axes[sizes > 1e-7 * max(sizes[0], 1e-12)]
    inner = rows @ axes.T
    centre = np.zeros(inner.shape[1])
    found = [newton(inner, labels, np.eye(len(centre)) / strength, centre, sample_weight) for strength in Cs]
    return [Linear(axes.T @ solution[:-1], float(solution[-1])) for solution in found]


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
    """Weights over the scores of several readers, and a bias."""

    weights: Array
    bias: float

    @classmethod
    def fit(cls, scores: Array, labels: Array, sample_weight: Array) -> Blend:
        """Fits on scores (n × k) of rows that their readers were not fitted on; the weights' sum stays positive.

        Each reader's slope by itself says in which proportions the weights are expected.
        """
        spread = scores.std(axis=0) + 1e-9
        standard = scores / spread
        one, half = np.ones((1, 1)), np.full(1, 0.5)
        slopes = [newton(standard[:, [j]], labels, one, half, sample_weight)[0] for j in range(scores.shape[1])]
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
        found: Array = scores @ self.weights + self.bias
        return found


def sigmoid(values: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return found


def log_losses(scores: Array, labels: Array) -> Array:
    """Each row's log loss in nats, from log-odds."""
    found: Array = np.logaddexp(0, -scores * (2 * labels - 1))
    return found


def group_folds(keys: Sequence[Hashable], count: int, seed: int) -> Indices:
    """A fold from 0 to count − 1 for each row; rows of one key share one, whatever the order of the rows."""
    names = sorted(set(keys), key=str)
    random.Random(seed).shuffle(names)
    place = {name: index % count for index, name in enumerate(names)}
    return np.array([place[key] for key in keys])


def cross_val_predict(fit: Callable[[Indices], Score], labels: Array, fold: Indices) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Each row's score by a reading that was fitted without the row's fold, and whether there was one.

    Args:
        fit: row numbers → a score of row numbers.
    """
    scores, known = np.zeros(len(labels)), np.zeros(len(labels), dtype=bool)
    for part in np.unique(fold):
        held, rest = np.flatnonzero(fold == part), np.flatnonzero(fold != part)
        if len(np.unique(labels[rest])) == 2:
            scores[held], known[held] = fit(rest)(held), True
    return scores, known
