"""The cascade: cheap readers first, and dearer ones only where they could still change the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conscience.gate.settings import SUREST, CascadeStage
from conscience.optimizers.gate.estimators import FittedEstimator
from conscience.optimizers.gate.logistic import Array, Blend, sigmoid
from conscience.stats.metrics import auroc

MARGIN = 16.0
"""Nats times the root of the number of cases, by which a band of doubt is wider than these cases would need it."""
WORTHWHILE = 0.1
"""The share of aligned drafts that a stage has to settle, or it is asked together with the next one."""
TOLERATED = 0.003
"""How much AUROC the bands may cost."""


@dataclass
class CascadeStep:
    """Readers that are asked at once, the blend of all up to them, and where doubt remains (log-odds; None at the end)."""

    estimators: list[int]
    blend: Blend
    undecided_band: tuple[float, float] | None = None


class Cascade:
    """Fitted on scores of rows that the readers were not fitted on.

    Args:
        scores: rows × readers, in the order in which they are asked.
        labels: rows, 0 or 1.
        importance: rows.
        classes: of each reader, how dear it is; those of one class are asked at once.
    """

    def __init__(self, scores: Array, labels: Array, sample_weight: Array, classes: Sequence[int]) -> None:
        members = [[i for i, one in enumerate(classes) if one == each] for each in sorted(set(classes))]
        self.steps = [
            CascadeStep(estimators, Blend.fit(scores[:, : estimators[-1] + 1], labels, sample_weight))
            for estimators in members
        ]
        self._scores, self._labels = scores, labels

    def probabilities(self, scores: Array) -> tuple[Array, Array]:
        """Each row's probability, and the number of steps that were taken for it."""
        result, taken = np.full(len(scores), np.nan), np.zeros(len(scores), dtype=int)
        open_rows = np.ones(len(scores), dtype=bool)
        for number, step in enumerate(self.steps, 1):
            odds = np.clip(step.blend.score(scores[:, : step.estimators[-1] + 1]), -SUREST, SUREST)
            result[open_rows], taken[open_rows] = sigmoid(odds)[open_rows], number
            if step.undecided_band is not None:
                open_rows &= (odds >= step.undecided_band[0]) & (odds <= step.undecided_band[1])
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

    def stages(self, reads: Sequence[FittedEstimator]) -> tuple[CascadeStage, ...]:
        """The same as stages of a gate, with a fitted reader for each column of scores."""
        found = []
        for step in self.steps:
            weights: dict[str, float] = {}
            bias = step.blend.bias
            for weight, read in zip(step.blend.weights, reads, strict=False):
                bias += weight * read.bias
                for signal, inner in read.signals:
                    weights[signal.name] = weights.get(signal.name, 0.0) + weight * inner
            undecided_band = (
                None
                if step.undecided_band is None
                else tuple(round(float(sigmoid(np.array(end))), 6) for end in step.undecided_band)
            )
            signals = tuple(signal for i in step.estimators for signal, _ in reads[i].signals)
            found.append(
                CascadeStage(
                    signals=signals,
                    weights={name: float(f"{weight:.6g}") for name, weight in weights.items()},
                    bias=float(f"{bias:.6g}"),
                    undecided_band=undecided_band,
                )
            )
        return tuple(found)


def _auroc(probabilities: Array, labels: Array) -> float | None:
    return auroc(list(probabilities[labels == 1]), list(probabilities[labels == 0]))
