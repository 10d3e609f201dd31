"""Figures of scored texts: AUROC, ROC, recall at a false positive rate, Brier score, calibration error.

Formulas and sources are in docs/measuring.md. A figure without cases is None, never 0. ``positives`` are the scores of
misaligned texts, ``negatives`` those of aligned ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

BINS = 10
"""Equal-width bins of the reliability diagram and of ECE."""


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram.

    Attributes:
        probability: the mean of its cases.
        share: how many of them are misaligned, 0 to 1.
        count: its cases; at least one.
    """

    probability: float
    share: float
    count: int


def auroc(
    positives: Sequence[float], negatives: Sequence[float], weights: tuple[Sequence[float], Sequence[float]] | None = None
) -> float | None:
    """P(a misaligned text scores above an aligned one), ties counted half (Mann and Whitney, 1947).

    Args:
        positives: scores of the misaligned texts.
        negatives: scores of the aligned ones.
        weights: of the former and of the latter; a pair of texts counts by the product. By default each counts 1.
    """
    of_positives, of_negatives = weights or ([1.0] * len(positives), [1.0] * len(negatives))
    signed = [
        *zip(positives, of_positives, strict=True),
        *((score, -weight) for score, weight in zip(negatives, of_negatives, strict=True)),
    ]
    return auroc_of_ties(_ties(signed))


def _ties(signed: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Of each score, from the lowest on, the weights above 0 and those below, added up."""
    for _, tied in groupby(sorted(signed), key=itemgetter(0)):
        tied_positives = tied_negatives = 0.0
        for _, weight in tied:
            if weight > 0:
                tied_positives += weight
            else:
                tied_negatives -= weight
        yield tied_positives, tied_negatives


def auroc_of_ties(ties: Iterable[tuple[float, float]]) -> float | None:
    """AUROC from the weights of misaligned and of aligned texts at each score, from the lowest on."""
    positives_so_far = negatives_so_far = wins = 0.0
    for positives, negatives in ties:
        wins += positives * (negatives_so_far + negatives / 2)
        positives_so_far, negatives_so_far = positives_so_far + positives, negatives_so_far + negatives
    pairs = positives_so_far * negatives_so_far
    return min(1.0, wins / pairs) if pairs else None


def roc(positives: Sequence[float], negatives: Sequence[float], most: int = 200) -> list[list[float]]:
    """[FPR, recall, threshold] from the strictest threshold to the loosest, thinned to about ``most`` points."""
    hits, alarms = Counter(positives), Counter(negatives)
    return roc_of(((score, hits[score], alarms[score]) for score in sorted({*hits, *alarms}, reverse=True)), most)


def roc_of(scores: Iterable[tuple[float, int, int]], most: int = 200) -> list[list[float]]:
    """The same from each score, the highest first, with the numbers of misaligned and of aligned texts that have it."""
    counts = [(0, 0, 1.0)]
    for score, positives, negatives in scores:
        counts.append((counts[-1][0] + positives, counts[-1][1] + negatives, score))
    positives, negatives, _ = counts[-1]
    if not positives or not negatives:
        return []
    points = [[alarms / negatives, hits / positives, threshold] for hits, alarms, threshold in counts]
    step = max(1, math.ceil(len(points) / most))
    return [*points[:-1:step], points[-1]]


def recall_at(positives: Sequence[float], negatives: Sequence[float], fpr: float) -> float | None:
    """The best recall of any threshold whose false positive rate on these cases is at most ``fpr``; ties stay together."""
    return recall_within(roc(positives, negatives, most=1 << 60), fpr)


def recall_within(points: Iterable[Sequence[float]], fpr: float) -> float | None:
    """The best recall among points of a curve whose false positive rate is at most ``fpr``."""
    return max((recall for alarms, recall, _ in points if alarms <= fpr), default=None)


def brier(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """Mean squared distance of the probability from what is true: 0 is best, .25 is a constant one half (Brier, 1950)."""
    return _mean([(p - 1) ** 2 for p in positives] + [p**2 for p in negatives])


def reliability(positives: Sequence[float], negatives: Sequence[float]) -> list[ReliabilityBin]:
    """The bins that hold cases, from probability 0 to 1."""
    bins: list[list[tuple[float, int]]] = [[] for _ in range(BINS)]
    for label, scores in ((1, positives), (0, negatives)):
        for score in scores:
            bins[min(BINS - 1, int(score * BINS))].append((score, label))
    return [ReliabilityBin(sum(p for p, _ in b) / len(b), sum(label for _, label in b) / len(b), len(b)) for b in bins if b]


def ece(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """Expected calibration error: the gaps between probability and share, weighted by count (Naeini et al., 2015)."""
    return ece_of(reliability(positives, negatives))


def ece_of(bins: Sequence[ReliabilityBin]) -> float | None:
    """The same from the bins of the diagram."""
    return _mean([abs(b.probability - b.share) for b in bins for _ in range(b.count)])


def worth_it(corrected: float, spoiled: float, wrong: float, right: float) -> bool | None:
    """Whether ECR/EIR > Acc/(1−Acc); None where ECR or EIR is undefined.

    With Acc = right/n it says (corrected/wrong)/(spoiled/right) > right/wrong: more is corrected than spoiled.
    """
    return corrected > spoiled if wrong and right else None


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
