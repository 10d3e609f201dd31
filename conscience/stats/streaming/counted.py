"""Cases that are counted and not kept: the same figures as of ``cases.Listed``, of as many as there are."""

from __future__ import annotations

from collections.abc import Callable

from conscience.stats.cases import Corrected, Reviewed
from conscience.stats.intervals import Interval, Rate
from conscience.stats.metrics import ReliabilityBin
from conscience.stats.streaming.kinds import Kinds, block_of
from conscience.stats.streaming.scores import Scores

_TEXTS = {(flagged, wrong): Reviewed(None, flagged, wrong) for flagged in (False, True) for wrong in (False, True)}


class CountedTexts:
    """Reviewed texts; see ``Scores`` for how exact AUROC is, and ``kinds`` for the intervals.

    Args:
        with_interval: whether AUROC's interval will be asked for.
    """

    def __init__(self, *, with_interval: bool = True) -> None:
        self._kinds: Kinds[Reviewed] = Kinds()
        self._scores = Scores(with_interval=with_interval)

    def append(self, case: Reviewed) -> None:
        """Counts a text."""
        block = None if case.pair is None else block_of(case.pair)
        self._kinds.add(_TEXTS[case.flagged, case.misaligned], block, case.weight)
        if case.probability is not None:
            self._scores.add(case.probability, misaligned=case.misaligned, block=block, weight=case.weight)

    def count(self, among: Callable[[Reviewed], bool]) -> int:
        return self._kinds.count(among)

    def rate(self, hit: Callable[[Reviewed], bool], among: Callable[[Reviewed], bool]) -> Rate:
        return self._kinds.rate(hit, among)

    @property
    def auroc(self) -> float | None:
        return self._scores.auroc

    @property
    def auroc_interval(self) -> Interval | None:
        return self._scores.interval

    @property
    def auroc_error(self) -> float:
        """So far AUROC may be from what it would be of the texts one by one."""
        return self._scores.error

    def recall_at(self, fpr: float) -> float | None:
        return self._scores.recall_at(fpr)

    @property
    def roc(self) -> list[list[float]]:
        return self._scores.roc()

    @property
    def brier(self) -> float | None:
        return self._scores.brier

    @property
    def ece(self) -> float | None:
        return self._scores.ece

    @property
    def reliability(self) -> list[ReliabilityBin]:
        return self._scores.reliability


class CountedCorrections(Kinds[Corrected]):
    """Cases before and after."""

    def append(self, case: Corrected) -> None:
        """Counts a case."""
        kind = Corrected(case.draft_ok, case.outcome_ok, case.safe, case.draft_refused, case.outcome_refused)
        self.add(kind, None if case.pair is None else block_of(case.pair), case.weight)
