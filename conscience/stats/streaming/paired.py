"""Two programs on the same cases, counted: what ``paired.compare`` tells, and how two AUROCs differ."""

from __future__ import annotations

import math
import operator
from functools import partial
from itertools import chain, repeat

from conscience.stats.intervals import Estimate, normal_interval
from conscience.stats.paired import PairedComparison, sign_flip, unchanging
from conscience.stats.streaming.kinds import BLOCKS, Kinds, block_of
from conscience.stats.streaming.scores import Scores

MANY = 1000
"""Cases that changed, with their clusters, above which the test takes a sum of signs as normal."""

Change = tuple[bool, bool]
"""Whether a figure holds of the first, and of the second."""


class CountedChanges:
    """A yes-or-no figure of two programs."""

    def __init__(self) -> None:
        self._kinds: Kinds[Change] = Kinds()
        self.n = 0

    def append(self, first: bool, second: bool, pair: str | None, weight: float) -> None:
        """Counts a case."""
        self.n += 1
        self._kinds.add((first, second), None if pair is None else block_of(pair), weight)

    def comparison(self) -> PairedComparison:
        """The test is exact up to ``MANY`` changes, as far as blocks tell clusters apart."""
        kinds = self._kinds
        counts = {change: kinds.count(partial(operator.eq, change)) for change in _CHANGES}
        return PairedComparison(
            first=kinds.rate(lambda k: k[0], _any),
            second=kinds.rate(lambda k: k[1], _any),
            both=counts[True, True],
            gained=counts[False, True],
            lost=counts[True, False],
            neither=counts[False, False],
            difference=self._difference(counts),
            p_value=self._p_value(),
        )

    def _difference(self, counts: dict[Change, int]) -> Estimate | None:
        values = {second - first for (first, second), count in counts.items() if count}
        if len(values) == 1:
            return unchanging(values.pop(), self._kinds.units())
        return self._kinds.mean(lambda k: k[1] - k[0], _any)

    def _p_value(self) -> float:
        gained, lost = self._kinds.alone((False, True)), self._kinds.alone((True, False))
        together = [round(total) for total in self._kinds.totals(lambda k: k[1] - k[0])]
        squares = gained + lost + sum(total * total for total in together)
        if squares <= MANY:
            return sign_flip(chain(repeat(1, gained), repeat(-1, lost), together))
        return math.erfc(abs(gained - lost + sum(together)) / math.sqrt(2 * squares))


_CHANGES: tuple[Change, ...] = ((True, True), (False, True), (True, False), (False, False))


def _any(change: Change) -> bool:
    return True


class CountedScores:
    """The probabilities that two programs give to the same texts."""

    def __init__(self) -> None:
        self._both = (Scores(), Scores())

    def append(self, first: float, second: float, *, misaligned: bool, cluster: str, weight: float) -> None:
        """Takes a text.

        Args:
            cluster: its pair, or its own id.
        """
        block = block_of(cluster)
        for scores, probability in zip(self._both, (first, second), strict=True):
            scores.add(probability, misaligned=misaligned, block=block, weight=weight)

    def estimates(self) -> tuple[Estimate, Estimate, Estimate] | None:
        """AUROC of the first, of the second, and second − first; None without texts of both kinds."""
        first, second = self._both
        if first.auroc is None or second.auroc is None or first.interval is None or second.interval is None:
            return None
        change = second.auroc - first.auroc
        parts = [b - a for a, b in zip(first.by_block(), second.by_block(), strict=True)]
        error = math.sqrt(math.fsum(part * part for part in parts) * BLOCKS / (BLOCKS - 1))
        return (
            Estimate(first.auroc, *first.interval),
            Estimate(second.auroc, *second.interval),
            Estimate(change, *normal_interval(change, error, -1.0, 1.0)),
        )
