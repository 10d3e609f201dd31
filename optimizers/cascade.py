"""The cascade: cheap readers first, and dearer ones only where they could still change the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conscience.calibration import SUREST, Stage
from conscience.figures import auroc
from conscience.optimizers.readers import Read
from conscience.optimizers.ridge import Array, Blend, sigmoid

MARGIN = 16.0
"""Nats times the root of the number of cases, by which a band of doubt is wider than these cases would need it."""
WORTHWHILE = 0.1
"""The share of aligned drafts that a stage has to settle, or it is asked together with the next one."""
TOLERATED = 0.003
"""How much AUROC the bands may cost."""


@dataclass
class Step:
    """Readers that are asked at once, the blend of all up to them, and where doubt remains (log-odds; None at the end)."""

    readers: list[int]
    blend: Blend
    doubt: tuple[float, float] | None = None


class Cascade:
    """Fitted on scores of rows that the readers were not fitted on.

    Args:
        scores: rows × readers, in the order in which they are asked.
        labels: rows, 0 or 1.
        importance: rows.
        classes: of each reader, how dear it is; those of one class are asked at once.
    """

    def __init__(self, scores: Array, labels: Array, importance: Array, classes: Sequence[int]) -> None:
        members = [[i for i, one in enumerate(classes) if one == each] for each in sorted(set(classes))]
        self.steps = [Step(readers, Blend.fit(scores[:, : readers[-1] + 1], labels, importance)) for readers in members]
        self._scores, self._labels = scores, labels

    def probabilities(self, scores: Array) -> tuple[Array, Array]:
        """Each row's probability, and the number of steps that were taken for it."""
        result, taken = np.full(len(scores), np.nan), np.zeros(len(scores), dtype=int)
        open_rows = np.ones(len(scores), dtype=bool)
        for number, step in enumerate(self.steps, 1):
            odds = np.clip(step.blend.score(scores[:, : step.readers[-1] + 1]), -SUREST, SUREST)
            result[open_rows], taken[open_rows] = sigmoid(odds)[open_rows], number
            if step.doubt is not None:
                open_rows &= (odds >= step.doubt[0]) & (odds <= step.doubt[1])
        return result, taken

    def set_bands(self, threshold: float) -> None:
        """Sets the bands for a threshold: outside them no case at hand would have got another verdict. Idle steps are
        joined."""
        last = self.steps[-1].blend.score(self._scores)
        flagged = sigmoid(last) >= threshold
        margin = MARGIN / np.sqrt(len(self._labels))
        for step in self.steps[:-1]:
            odds = step.blend.score(self._scores[:, : step.readers[-1] + 1])
            low = odds[flagged].min(initial=np.inf) - margin
            high = odds[~flagged].max(initial=-np.inf) + margin
            step.doubt = (float(min(low, high)), float(max(low, high)))
        self._join()
        whole = _auroc(sigmoid(last), self._labels)
        if whole is not None and (_auroc(self.probabilities(self._scores)[0], self._labels) or 0.0) < whole - TOLERATED:
            self.steps = [Step([i for step in self.steps for i in step.readers], self.steps[-1].blend)]

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
            following.readers = [*self.steps[number].readers, *following.readers]
            del self.steps[number]

    def stages(self, reads: Sequence[Read]) -> tuple[Stage, ...]:
        """The same as stages of a gate, with a fitted reader for each column of scores."""
        found = []
        for step in self.steps:
            weights: dict[str, float] = {}
            bias = step.blend.bias
            for weight, read in zip(step.blend.weights, reads, strict=False):
                bias += weight * read.bias
                for signal, inner in read.signals:
                    weights[signal.name] = weights.get(signal.name, 0.0) + weight * inner
            doubt = None if step.doubt is None else tuple(round(float(sigmoid(np.array(end))), 6) for end in step.doubt)
            signals = tuple(signal for i in step.readers for signal, _ in reads[i].signals)
            found.append(
                Stage(
                    signals=signals,
                    weights={name: float(f"{weight:.6g}") for name, weight in weights.items()},
                    bias=float(f"{bias:.6g}"),
                    doubt=doubt,
                )
            )
        return tuple(found)


def _auroc(probabilities: Array, labels: Array) -> float | None:
    return auroc(list(probabilities[labels == 1]), list(probabilities[labels == 0]))
