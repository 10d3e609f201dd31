"""Intervals and paired tests: what so many cases can support. Plain Python, quick enough for 20,000 cases.

Cases of one pair are no independent evidence. Wherever a figure takes ``clusters`` (a case's pair, or None for a case that
stands alone), its interval is widened or its resampling drawn by cluster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import NamedTuple, TypeVar

Clusters = Sequence[Hashable | None]

T = TypeVar("T")

CONFIDENCE = 0.95
WIDE = 0.1
"""A rate whose interval is wider than this gets a word of warning from ``Rate.claim``."""


class Interval(NamedTuple):
    """Both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """``k`` of ``n`` cases, with Wilson's 95 % interval. No cases: value None, interval 0 to 1.

    Attributes:
        k: how many; with weights the weighted share times ``n``.
        n: of how many cases.
        design_effect: how much less than n independent cases the n cases tell, 1 or more; the interval is that of
            n / design_effect cases.
    """

    k: float
    n: int
    design_effect: float = 1.0
    value: float | None = field(init=False)
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        low, high = wilson(self.k / self.design_effect, self.n / self.design_effect)
        value = self.k / self.n if self.n else None
        if value is not None:  # the division by the design effect may round the share past the interval's end
            low, high = min(low, value), max(high, value)
        for name, entry in (("value", value), ("low", low), ("high", high)):
            object.__setattr__(self, name, entry)

    @classmethod
    def of(cls, hits: Sequence[bool], *, weights: Sequence[float] | None = None, clusters: Clusters | None = None) -> Rate:
        """The share of cases that hit. The design effect is Kish's for unequal weights times that of the clusters."""
        n = len(hits)
        if not n:
            return cls(0, 0)
        effect = 1.0 if clusters is None else design_effect([float(hit) for hit in hits], clusters)
        if weights is None or len(set(weights)) == 1:
            return cls(sum(hits), n, effect)
        total = math.fsum(weights)
        share = math.fsum(w for w, hit in zip(weights, hits, strict=True) if hit) / total
        kish = n * math.fsum(w * w for w in weights) / total**2
        return cls(min(1.0, share) * n, n, max(1.0, kish) * effect)

    @property
    def interval(self) -> Interval:
        """Both ends at once."""
        return Interval(self.low, self.high)

    def to_dict(self) -> dict[str, float | None]:
        """JSON form: value, low, high, k, n, and the design effect where there is one."""
        names = ("value", "low", "high", "k", "n") + ("design_effect",) * (self.design_effect != 1)
        return {name: getattr(self, name) for name in names}

    def claim(self, event: str, events: str = "") -> str:
        """What so few cases do and do not show, as a sentence; empty where the interval is narrow enough to stand alone.

        Args:
            event: what was counted, in the singular, such as "false alarm".
            events: its plural, where that is not made with an s.
        """
        events = events or f"{event}s"
        cases = "1 case" if self.n == 1 else f"{self.n} cases"
        if not self.n:
            return f"no cases, so nothing is known about {events}"
        if not self.k:
            return f"no {event} in {cases} only shows a rate below {percent(self.high)}"
        if self.k >= self.n:
            return f"{self.n} {events if self.n > 1 else event} in {cases} only shows a rate above {percent(self.low)}"
        if self.high - self.low > WIDE:
            counted = f"{self.k:.3g} {event if self.k == 1 else events}"
            return f"{counted} in {cases} only shows a rate between {percent(self.low)} and {percent(self.high)}"
        return ""

    def __str__(self) -> str:
        if self.value is None:
            return "no cases"
        return f"{percent(self.value)} ({percent(self.low)} to {percent(self.high)}, n = {self.n})"


def percent(share: float) -> str:
    """A share as people read it: "3.1 %"; two digits below one percent."""
    value = 100 * share
    return f"{value:.2g} %" if 0 < value < 0.95 else f"{value:.1f} %"


def wilson(k: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a rate: (k + z²/2 ± z·√(k(n−k)/n + z²/4)) / (n + z²).

    Holds its confidence on average over rates, also for few cases and for none or all of them (Wilson, JASA 22, 1927; Brown,
    Cai and DasGupta, Statistical Science 16, 2001). k and n may be fractions, as effective numbers are.
    """
    _counts(k, n, confidence)
    if not n:
        return Interval(0.0, 1.0)
    z = _z(confidence)
    centre, half = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    low = 0.0 if k == 0 else min((centre - half) / (n + z * z), k / n)
    high = 1.0 if k == n else max((centre + half) / (n + z * z), k / n)
    return Interval(max(0.0, low), min(1.0, high))


def rarer(kinds: Sequence[bool], clusters: Clusters) -> int:
    """How many independent texts there are of the kind that has fewer."""
    sides = ([cluster for kind, cluster in zip(kinds, clusters, strict=True) if kind is side] for side in (True, False))
    return min(len(members(side, len(side))) for side in sides)


def perfect(interval: Interval, independent: int) -> Interval:
    """The interval of an AUROC; where all that were drawn are 1, or 0, with what so few texts leave possible: pairs of one
    text of each kind are independent witnesses.

    Args:
        interval: as it was drawn.
        independent: texts, or clusters of them, of the kind that has fewer.
    """
    if interval.low != interval.high or interval.low not in (0.0, 1.0):
        return interval
    left = wilson(interval.low * independent, independent)
    return Interval(left.low, 1.0) if interval.low else Interval(0.0, left.high)


def normal_interval(value: float, error: float, least: float, most: float) -> Interval:
    """The interval of an estimate with that standard error, within what can be."""
    half = _z(CONFIDENCE) * error
    return Interval(max(least, value - half), min(most, value + half))


def upper_bound(k: int, n: int, risk: float = 0.05) -> float:
    """Clopper and Pearson's one-sided bound: the rate p at which at most k of n cases happen with probability ``risk``.

    A true rate above it would show so few cases in at most a ``risk`` of all samples: the bound that certifies a threshold
    (Biometrika 26, 1934). Exact to 1e-9, rounded up.
    """
    _counts(k, n, 1 - risk)
    if risk > 0.5:
        raise ValueError(f"risk {risk} is above one half")
    if k == n:
        return 1.0
    low, high = k / n, 1.0
    while high - low > 1e-12 * high and low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if binomial_cdf(k, n, middle) > risk else (low, middle)
    return high


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(at most k of n). Summed from the end that is the rarer one, so that a small probability keeps its digits."""
    if k >= n or p <= 0:
        return 1.0
    if k < 0 or p >= 1:
        return 0.0
    return _tail(k, n, p) if k <= n * p else max(0.0, 1 - _tail(n - k - 1, n, 1 - p))


def _tail(k: int, n: int, p: float) -> float:
    """P(at most k of n) for k not far above n·p, summed from its largest term down."""
    logs = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = total = math.exp(logs + k * math.log(p) + (n - k) * math.log1p(-p))
    for i in range(k, 0, -1):
        term *= i * (1 - p) / ((n - i + 1) * p)
        total += term
        if term < 1e-17 * total:
            break
    return total


def cases_needed(
    rate: float,
    confidence: float = CONFIDENCE,
    *,
    events: int = 0,
    interval: Callable[[int, int, float], Interval] = wilson,
) -> int:
    """The least number of cases that, with so many events among them, shows a rate of at most ``rate``.

    ``cases_needed(0.01)`` is 381: with no event in 381 cases Wilson's interval ends at 1 %.

    Args:
        interval: of a rate, by its k, its n and the confidence.
    """
    if not 0 < rate <= 1 or events < 0:
        raise ValueError(f"a rate of {rate} with {events} events: the rate lies above 0 and up to 1, the events from 0")
    enough = max(1, events)
    while interval(events, enough, confidence).high > rate:
        enough *= 2
    too_few = max(enough // 2, events) - 1
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        too_few, enough = (too_few, middle) if interval(events, middle, confidence).high <= rate else (middle, enough)
    return enough


def members(clusters: Clusters | None, n: int) -> list[list[int]]:
    """The case indices of each cluster, in order of appearance; a case without a cluster is one by itself."""
    if clusters is None:
        return [[index] for index in range(n)]
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters for {n} cases")
    by_cluster: dict[Hashable, list[int]] = {}
    for index, name in enumerate(clusters):
        by_cluster.setdefault((index,) if name is None else name, []).append(index)
    return list(by_cluster.values())


def design_effect(values: Sequence[float], clusters: Clusters) -> float:
    """The variance of the mean of clustered cases over that of as many independent ones; never below 1.

    The linearised estimate, G/(G−1)·Σ(cluster sums of v−v̄)²/n² over Σ(v−v̄)²/(n(n−1)) (Kish, Survey Sampling, 1965). Where
    all values are the same nothing can be estimated: then cases of a cluster count as one, Σ(cluster size)²/n.
    """
    groups, n = members(clusters, len(values)), len(values)
    if len(groups) == n:
        return 1.0
    mean = math.fsum(values) / n
    spread = math.fsum((value - mean) ** 2 for value in values)
    if len(groups) == 1 or spread < 1e-12 * n:
        return sum(len(group) ** 2 for group in groups) / n
    between = math.fsum(math.fsum(values[i] - mean for i in group) ** 2 for group in groups)
    return max(1.0, len(groups) / (len(groups) - 1) * between / n * (n - 1) / spread)


def _counts(k: float, n: float, confidence: float) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} cases is no rate")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence} does not lie between 0 and 1")


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
