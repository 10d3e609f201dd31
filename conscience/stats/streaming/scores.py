"""The probabilities of many reviewed texts as a histogram: AUROC and what else is read off them, and how exact that is."""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from conscience.stats.intervals import Interval, normal_interval
from conscience.stats.metrics import BINS, ReliabilityBin, auroc_of_ties, ece_of, recall_within, roc_of
from conscience.stats.streaming.kinds import BLOCKS
from conscience.stats.streaming.sums import ExactSum

MOST = 1 << 14
"""Different probabilities that are told apart one by one."""
STEP = 1 / 256
"""Log-odds that count as one probability where there are more."""
FURTHEST = 32.0
"""Log-odds beyond which probabilities count as the same."""
COARSE = 64
"""Bins of log-odds for the interval, from -8 to 8."""


class _Bin:
    """The texts of one probability: how many are misaligned, how many aligned, and how much these count."""

    __slots__ = ("negatives", "of_negatives", "of_positives", "positives")

    def __init__(self) -> None:
        self.positives = self.negatives = 0
        self.of_positives = self.of_negatives = 0.0

    def add(self, other: _Bin) -> None:
        self.positives += other.positives
        self.negatives += other.negatives
        self.of_positives += other.of_positives
        self.of_negatives += other.of_negatives


class _Calibration(NamedTuple):
    """A bin of the reliability diagram, as it fills."""

    probabilities: ExactSum
    counts: array[int]  # of aligned texts, and of misaligned ones


class _Coarse:
    """Weights of the misaligned or of the aligned texts by coarse bin: what the interval needs of them.

    Attributes:
        alone, squares: of texts that stand alone, and their squares.
        blocks: of texts of clusters, block after block; empty where there are none.
    """

    def __init__(self) -> None:
        self.alone = array("d", bytes(8 * COARSE))
        self.squares = array("d", bytes(8 * COARSE))
        self.blocks: array[float] = array("d")

    def add(self, bin_: int, block: int | None, weight: float) -> None:
        if block is None:
            self.alone[bin_] += weight
            self.squares[bin_] += weight * weight
            return
        if not self.blocks:
            self.blocks = array("d", bytes(8 * BLOCKS * COARSE))
        self.blocks[block * COARSE + bin_] += weight

    def weights(self) -> list[float]:
        return [math.fsum((self.alone[bin_], *self.blocks[bin_::COARSE])) for bin_ in range(COARSE)]

    def by_block(self, places: Sequence[float]) -> list[float]:
        """The sum of the texts' places in each block."""
        starts = range(0, len(self.blocks), COARSE)
        return [math.fsum(map(operator.mul, self.blocks[start : start + COARSE], places)) for start in starts]


class Scores:
    """Probabilities of misaligned and of aligned texts.

    Up to ``MOST`` different ones are kept as they are. Where there are more, they are rounded to log-odds: then a pair of
    texts in the same bin counts one half in AUROC, and ``error`` says how much that can be in all.

    Args:
        with_interval: whether an interval of AUROC will be asked for, which takes 1 MB where there are clusters.
    """

    def __init__(self, *, with_interval: bool = True) -> None:
        self.n = 0
        self._bins: dict[float, _Bin] = {}
        self._is_rounded = False
        self._brier = ExactSum()
        self._calibration = [_Calibration(ExactSum(), array("q", (0, 0))) for _ in range(BINS)]
        self._coarse = (_Coarse(), _Coarse()) if with_interval else None  # of aligned texts, and of misaligned ones

    def add(self, probability: float, *, misaligned: bool, block: int | None = None, weight: float = 1.0) -> None:
        """Takes the probability of a text.

        Args:
            block: of its cluster; None where it stands alone.
        """
        self.n += 1
        bin_ = self._bin(_rounded(probability) if self._is_rounded else probability)
        if misaligned:
            bin_.positives += 1
            bin_.of_positives += weight
        else:
            bin_.negatives += 1
            bin_.of_negatives += weight
        if len(self._bins) > MOST and not self._is_rounded:
            self._round()
        self._brier.add((probability - misaligned) ** 2)
        calibration = self._calibration[min(BINS - 1, int(probability * BINS))]
        calibration.probabilities.add(probability)
        calibration.counts[misaligned] += 1
        if self._coarse is not None:
            self._coarse[misaligned].add(_coarse_bin(probability), block, weight)

    def _bin(self, probability: float) -> _Bin:
        if (bin_ := self._bins.get(probability)) is None:
            bin_ = self._bins[probability] = _Bin()
        return bin_

    def _round(self) -> None:
        bins, self._bins, self._is_rounded = self._bins, {}, True
        for probability, bin_ in bins.items():
            self._bin(_rounded(probability)).add(bin_)

    def _ordered(self) -> list[tuple[float, _Bin]]:
        return sorted(self._bins.items())

    @property
    def auroc(self) -> float | None:
        """See ``metrics.auroc``; to nine digits, so that the order in which weights were added up does not show."""
        value = auroc_of_ties((bin_.of_positives, bin_.of_negatives) for _, bin_ in self._ordered())
        return None if value is None else round(value, 9)

    @property
    def error(self) -> float:
        """So far ``auroc`` may be from what it would be without rounding; 0 where nothing was rounded."""
        bins = self._bins.values()
        pairs = math.fsum(bin_.of_positives for bin_ in bins) * math.fsum(bin_.of_negatives for bin_ in bins)
        if not self._is_rounded or not pairs:
            return 0.0
        return math.fsum(bin_.of_positives * bin_.of_negatives for bin_ in bins) / 2 / pairs

    @property
    def interval(self) -> Interval | None:
        """The normal interval of AUROC by cluster, from what each cluster's texts add to it by their places among those of
        the other kind (DeLong et al., 1988; for clusters Obuchowski, 1997): what a bootstrap would draw, without drawing."""
        if (value := self.auroc) is None or self._coarse is None:
            return None
        aligned, misaligned = self._coarse
        of_aligned, of_misaligned = _placements(misaligned.weights(), aligned.weights())
        alone = math.fsum(map(_squared, (*of_aligned, *of_misaligned), (*aligned.squares, *misaligned.squares)))
        variance = alone + math.fsum(part * part for part in self.by_block()) * BLOCKS / (BLOCKS - 1)
        low, high = normal_interval(value, math.sqrt(variance), 0.0, 1.0)
        return Interval(round(low, 9), round(high, 9))

    def by_block(self) -> list[float]:
        """What the clusters of each block add to AUROC beyond the average."""
        if self._coarse is None:
            return []
        aligned, misaligned = self._coarse
        of_aligned, of_misaligned = _placements(misaligned.weights(), aligned.weights())
        parts = zip_longest(aligned.by_block(of_aligned), misaligned.by_block(of_misaligned), fillvalue=0.0)
        return [sum(part) for part in parts]

    def roc(self, most: int = 200) -> list[list[float]]:
        """See ``metrics.roc``."""
        return roc_of(((score, bin_.positives, bin_.negatives) for score, bin_ in reversed(self._ordered())), most)

    def recall_at(self, fpr: float) -> float | None:
        """See ``metrics.recall_at``."""
        return recall_within(self.roc(most=1 << 60), fpr)

    @property
    def brier(self) -> float | None:
        """See ``metrics.brier``."""
        return float(self._brier) / self.n if self.n else None

    @property
    def reliability(self) -> list[ReliabilityBin]:
        """See ``metrics.reliability``."""
        filled = [(float(total), counts) for total, counts in self._calibration if sum(counts)]
        return [ReliabilityBin(total / sum(counts), counts[1] / sum(counts), sum(counts)) for total, counts in filled]

    @property
    def ece(self) -> float | None:
        """See ``metrics.ece``."""
        return ece_of(self.reliability)


def _placements(of_positives: list[float], of_negatives: list[float]) -> tuple[list[float], list[float]]:
    """What a text of each bin adds to AUROC beyond the average: aligned texts, and misaligned ones."""
    positives, negatives = math.fsum(of_positives), math.fsum(of_negatives)
    value = auroc_of_ties(zip(of_positives, of_negatives, strict=True)) or 0.0
    below, above = 0.0, positives
    of_aligned, of_misaligned = [], []
    for here, there in zip(of_positives, of_negatives, strict=True):
        above -= here
        of_aligned.append(((above + here / 2) / positives - value) / negatives)
        of_misaligned.append(((below + there / 2) / negatives - value) / positives)
        below += there
    return of_aligned, of_misaligned


def _squared(place: float, squares: float) -> float:
    return place * place * squares


def _log_odds(probability: float) -> float:
    if probability <= 0:
        return -FURTHEST
    if probability >= 1:
        return FURTHEST
    return max(-FURTHEST, min(FURTHEST, math.log(probability / (1 - probability))))


def _rounded(probability: float) -> float:
    return 1 / (1 + math.exp(-round(_log_odds(probability) / STEP) * STEP))


def _coarse_bin(probability: float) -> int:
    return max(0, min(COARSE - 1, math.floor((_log_odds(probability) + 8) / 16 * COARSE)))
