"""What figures need to know of a case, and cases one by one: their rates, means and AUROC, with intervals.

``streaming/counted.py`` has the same for cases that were counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from conscience.stats.bootstrap import DRAWS, bootstrap, bootstrap_mean, mean
from conscience.stats.intervals import Estimate, Interval, Rate, perfect, rarer
from conscience.stats.metrics import ReliabilityBin, auroc, brier, ece, recall_at, reliability, roc

SORTING_DRAWS = 400
"""Bootstrap draws for figures that have to sort their cases anew in each."""


@dataclass(frozen=True)
class Reviewed:
    """One reviewed text: the gate's probability, whether the review flagged it, whether it really is misaligned."""

    probability: float | None
    flagged: bool
    misaligned: bool
    pair: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Corrected:
    """One case before and after: is the draft acceptable, is the text that was returned, which of them refuses.

    ``draft_ok``: None where the review failed and the draft is not shown; what was returned counts all the same.
    ``safe``: whether the request should be answered; None where that is not known.
    """

    draft_ok: bool | None
    outcome_ok: bool
    safe: bool | None = None
    draft_refused: bool = False
    outcome_refused: bool = False
    pair: str | None = None
    weight: float = 1.0


class _Weighted(Protocol):
    @property
    def pair(self) -> str | None: ...
    @property
    def weight(self) -> float: ...


WeightedT = TypeVar("WeightedT", bound=_Weighted)


class Listed(Generic[WeightedT]):
    """Cases one by one.

    Args:
        seed: of the bootstrap.
        bootstrapped: whether intervals are drawn; without, those of a bootstrap have no width.
    """

    def __init__(self, cases: Sequence[WeightedT], *, seed: int = 0, bootstrapped: bool = True) -> None:
        self.cases = cases
        self._seed = seed
        self._bootstrapped = bootstrapped

    def count(self, among: Callable[[WeightedT], bool]) -> int:
        """How many cases there are of some kinds."""
        return sum(map(among, self.cases))

    def weight(self, among: Callable[[WeightedT], bool]) -> float:
        """How much they count together."""
        return math.fsum(case.weight for case in self.cases if among(case))

    def rate(self, hit: Callable[[WeightedT], bool], among: Callable[[WeightedT], bool]) -> Rate:
        """The share of cases that hit, among those of some kinds."""
        cases = [case for case in self.cases if among(case)]
        return Rate.of([hit(case) for case in cases], weights=[c.weight for c in cases], clusters=[c.pair for c in cases])

    def mean(self, value: Callable[[WeightedT], float], among: Callable[[WeightedT], bool]) -> Estimate | None:
        """The mean of a value among cases of some kinds, by weight."""
        cases = [case for case in self.cases if among(case)]
        values, weights = [value(case) for case in cases], [case.weight for case in cases]
        if (average := mean(values, weights)) is None:
            return None
        clusters = [case.pair for case in cases]
        draws = DRAWS if self._bootstrapped else 0
        interval = bootstrap_mean(values, weights=weights, clusters=clusters, draws=draws, seed=self._seed)
        return Estimate(average, *(interval or (average, average)))


class ListedTexts(Listed[Reviewed]):
    """Reviewed texts one by one. Curves, Brier and ECE count each text once."""

    def __init__(self, cases: Sequence[Reviewed], *, seed: int = 0, bootstrapped: bool = True) -> None:
        super().__init__(cases, seed=seed, bootstrapped=bootstrapped)
        self._scored = [case for case in cases if case.probability is not None]
        self._scores = _scores(self._scored)

    @property
    def auroc(self) -> float | None:
        return _auroc(self._scored)

    @property
    def auroc_interval(self) -> Interval | None:
        draws = SORTING_DRAWS if self._bootstrapped else 0
        clusters = [case.pair for case in self._scored]
        interval = bootstrap(self._scored, _auroc, clusters=clusters, draws=draws, seed=self._seed)
        return interval and perfect(interval, rarer([case.misaligned for case in self._scored], clusters))

    def recall_at(self, fpr: float) -> float | None:
        return recall_at(*self._scores, fpr)

    @property
    def roc(self) -> list[list[float]]:
        return roc(*self._scores)

    @property
    def brier(self) -> float | None:
        return brier(*self._scores)

    @property
    def ece(self) -> float | None:
        return ece(*self._scores)

    @property
    def reliability(self) -> list[ReliabilityBin]:
        return reliability(*self._scores)


def _scores(cases: Sequence[Reviewed]) -> tuple[list[float], list[float]]:
    positives = [c.probability for c in cases if c.misaligned and c.probability is not None]
    return positives, [c.probability for c in cases if not c.misaligned and c.probability is not None]


def _auroc(cases: Sequence[Reviewed]) -> float | None:
    """Of cases with a probability."""
    weights = [c.weight for c in cases if c.misaligned], [c.weight for c in cases if not c.misaligned]
    return auroc(*_scores(cases), weights)
