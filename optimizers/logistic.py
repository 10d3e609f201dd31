"""Regularised logistic regression for a handful of signals: Newton's method in plain Python, exact for a given input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fit:
    """Weights on the signals as they come (standardisation is folded in), and the bias."""

    weights: tuple[float, ...]
    bias: float

    def probability(self, row: Sequence[float]) -> float:
        """The probability for one row of signals."""
        value = self.bias + sum(w * x for w, x in zip(self.weights, row, strict=True))
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))


def fit(rows: Sequence[Sequence[float]], labels: Sequence[int], *, c: float = 0.3) -> Fit:
    """Fits P(label = 1) on standardised signals with an L2 penalty of 1/(2c) on the weights, none on the bias.

    Args:
        rows: n × k signal values.
        labels: n of 0 or 1, both present.
        c: inverse strength of the penalty, as in scikit-learn's LogisticRegression(C=c).

    Raises:
        ValueError: no rows, or labels of one kind only.
    """
    if not rows or len(set(labels)) != 2:
        raise ValueError("both labels are needed to fit a calibration")
    count, width = len(rows), len(rows[0])
    means = [sum(row[j] for row in rows) / count for j in range(width)]
    scales = [math.sqrt(sum((row[j] - means[j]) ** 2 for row in rows) / count) or 1.0 for j in range(width)]
    design = [[*((row[j] - means[j]) / scales[j] for j in range(width)), 1.0] for row in rows]
    theta = [0.0] * (width + 1)
    penalty = [1 / c] * width + [0.0]
    for _ in range(100):
        gradient = [penalty[j] * theta[j] for j in range(width + 1)]
        hessian = [[penalty[i] * (i == j) + 1e-12 * (i == j) for j in range(width + 1)] for i in range(width + 1)]
        for row, label in zip(design, labels, strict=True):
            value = sum(t * x for t, x in zip(theta, row, strict=True))
            p = 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))
            slope = p * (1 - p)
            for i, x in enumerate(row):
                gradient[i] += (p - label) * x
                for j, z in enumerate(row):
                    hessian[i][j] += slope * x * z
        step = _solve(hessian, gradient)
        longest = max(abs(s) for s in step)
        damped = min(1.0, 5.0 / longest) if longest else 0.0  # far from the optimum a full step may overshoot
        theta = [t - damped * s for t, s in zip(theta, step, strict=True)]
        if longest < 1e-10:
            break
    weights = tuple(theta[j] / scales[j] for j in range(width))
    return Fit(weights, theta[-1] - sum(w * m for w, m in zip(weights, means, strict=True)))


def _solve(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """Gaussian elimination with pivoting."""
    size = len(vector)
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(rows[r][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for other in range(column + 1, size):
            factor = rows[other][column] / rows[column][column]
            for j in range(column, size + 1):
                rows[other][j] -= factor * rows[column][j]
    solution = [0.0] * size
    for i in reversed(range(size)):
        solution[i] = (rows[i][size] - sum(rows[i][j] * solution[j] for j in range(i + 1, size))) / rows[i][i]
    return solution
