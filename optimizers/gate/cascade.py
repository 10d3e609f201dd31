"""The cascade: cheap estimators first, and dearer ones only where they could still change the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conscience.gate.settings import MAX_GATE_LOG_ODDS, CascadeStage
from conscience.optimizers.gate.estimators import FittedEstimator
from conscience.optimizers.gate.logistic import Array, Blend, sigmoid, six_digits
from conscience.stats.metrics import auroc

MARGIN = 16.0
"""Nats times the root of the number of cases, by which an undecided band is wider than these cases would need it."""
WORTHWHILE = 0.1
"""The share of aligned drafts that a stage has to settle, or it is asked together with the next one."""
TOLERATED = 0.003
"""How much AUROC the bands may cost."""


@dataclass
class CascadeStep:
    """Estimators that are asked at once.

    Attributes:
        estimators: their columns.
        blend: of all estimators up to these.
        undecided_band: the log-odds between which the next step is asked; None at the last one.
    """

    estimators: list[int]
    blend: Blend
    undecided_band: tuple[float, float] | None = None


class Cascade:
    """Fitted on scores of drafts that the estimators were not fitted on.

    Args:
        scores: drafts × estimators, in the order in which they are asked.
        labels: of each draft, 0 or 1.
        sample_weight: how much each draft counts.
        cost_tiers: of each estimator; those of one tier are asked at once.
    """

    def __init__(self, scores: Array, labels: Array, sample_weight: Array, cost_tiers: Sequence[int]) -> None:
        by_tier = [[i for i, tier in enumerate(cost_tiers) if tier == each] for each in sorted(set(cost_tiers))]
        self.steps = [
            CascadeStep(columns, Blend.fit(scores[:, : columns[-1] + 1], labels, sample_weight)) for columns in by_tier
        ]
        self._scores, self._labels = scores, labels

    def probabilities(self, scores: Array) -> tuple[Array, Array]:
        """Each draft's probability, and the number of steps that were taken for it."""
        result, taken = np.full(len(scores), np.nan), np.zeros(len(scores), dtype=int)
        undecided = np.ones(len(scores), dtype=bool)
        for number, step in enumerate(self.steps, 1):
            odds = np.clip(step.blend.score(scores[:, : step.estimators[-1] + 1]), -MAX_GATE_LOG_ODDS, MAX_GATE_LOG_ODDS)
            result[undecided], taken[undecided] = sigmoid(odds)[undecided], number
            if step.undecided_band is not None:
                undecided &= (odds >= step.undecided_band[0]) & (odds <= step.undecided_band[1])
        return result, taken

    def set_bands(self, threshold: float) -> None:
        """Sets the bands for a threshold: outside them no case at hand would have got another verdict. Idle steps are
        joined."""
        last = self.steps[-1].blend.score(self._scores)
        flagged = sigmoid(last) >= threshold
        margin = MARGIN / np.sqrt(len(self._labels))
        for step in self.steps[:-1]:
            odds = step.blend.score(self._scores[:, : step.estimators[-1] + 1])
            low = odds[flagged].min(initial=np.inf) - margin
            high = odds[~flagged].max(initial=-np.inf) + margin
            step.undecided_band = (float(min(low, high)), float(max(low, high)))
        self._join()
        whole = _auroc(sigmoid(last), self._labels)
        if whole is not None and (_auroc(self.probabilities(self._scores)[0], self._labels) or 0.0) < whole - TOLERATED:
            self.steps = [CascadeStep([i for step in self.steps for i in step.estimators], self.steps[-1].blend)]

    def _join(self) -> None:
        """Steps that settle too few aligned cases are asked together with their successors."""
        number = 0
        while number < len(self.steps) - 1:
            taken = self.probabilities(self._scores)[1][self._labels == 0]
            here = taken >= number + 1
            if here.any() and (taken == number + 1).sum() >= WORTHWHILE * here.sum():
                number += 1
                continue
            following = self.steps[number + 1]
            following.estimators = [*self.steps[number].estimators, *following.estimators]
            del self.steps[number]

    def stages(self, fitted: Sequence[FittedEstimator]) -> tuple[CascadeStage, ...]:
        """The same as stages of a gate, with a fitted estimator for each column of scores."""
        return tuple(_stage(step, fitted) for step in self.steps)


def _stage(step: CascadeStep, fitted: Sequence[FittedEstimator]) -> CascadeStage:
    weights: dict[str, float] = {}
    bias = step.blend.bias
    for weight, estimator in zip(step.blend.weights, fitted, strict=False):  # the blend ends with the step's own
        bias += weight * estimator.bias
        for signal, inner in estimator.signals:
            weights[signal.name] = weights.get(signal.name, 0.0) + weight * inner
    band = step.undecided_band
    return CascadeStage(
        signals=tuple(signal for i in step.estimators for signal, _ in fitted[i].signals),
        weights={name: six_digits(weight) for name, weight in weights.items()},
        bias=six_digits(bias),
        undecided_band=None if band is None else (_probability(band[0]), _probability(band[1])),
    )


def _probability(odds: float) -> float:
    return round(float(sigmoid(np.array(odds))), 6)


def _auroc(probabilities: Array, labels: Array) -> float | None:
    return auroc(list(probabilities[labels == 1]), list(probabilities[labels == 0]))
