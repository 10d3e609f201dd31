"""Percentile bootstraps, whole clusters drawn at a time."""

from __future__ import annotations

import math
import operator
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from conscience.stats.intervals import CONFIDENCE, Clusters, Interval, members

T = TypeVar("T")

DRAWS = 2000


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which a share of the values lies, linear between neighbours (numpy's default); None without values."""
    return _quantile(sorted(values), share) if values else None


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = ordered[math.floor(place)]
    return below + (ordered[math.ceil(place)] - below) * (place - math.floor(place))


def bootstrap(
    cases: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    *,
    clusters: Clusters | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Percentile bootstrap of any statistic, whole clusters drawn at a time (Efron and Tibshirani, 1993).

    Costs ``draws`` calls of the statistic; ``bootstrap_mean`` is quicker for a mean. The same seed gives the same interval.

    Args:
        statistic: takes cases, with repeats; None where they leave it undefined, and such a draw does not count.

    Returns:
        None where the statistic is undefined on the cases themselves.
    """
    if not cases or (value := statistic(cases)) is None:
        return None
    groups, rng = members(clusters, len(cases)), random.Random(seed)
    drawn = [value]
    for _ in range(draws):
        result = statistic([cases[index] for group in rng.choices(groups, k=len(groups)) for index in group])
        if result is not None:
            drawn.append(result)
    return _percentiles(drawn, value, confidence)


def mean(values: Sequence[float], weights: Sequence[float] | None = None) -> float | None:
    """The mean, each value by its weight; None without values."""
    if not values:
        return None
    if weights is None:
        return math.fsum(values) / len(values)
    return math.fsum(map(operator.mul, values, weights)) / math.fsum(weights)


def bootstrap_mean(
    values: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    clusters: Clusters | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Percentile bootstrap of a mean by cluster; None without values. All values alike give an interval of no width."""
    if (value := mean(values, weights)) is None:
        return None
    groups, rng = members(clusters, len(values)), random.Random(seed)
    counts: Sequence[float] = weights or [1] * len(values)
    kinds = Counter((math.fsum(values[i] * counts[i] for i in group), sum(counts[i] for i in group)) for group in groups)
    draw = _draw_counts if len(kinds) * 20 < len(groups) else _draw_each
    drawn = [value]
    for _ in range(draws):
        sums, sizes = zip(*((s * times, size * times) for (s, size), times in draw(kinds, len(groups), rng)), strict=True)
        drawn.append(math.fsum(sums) / sum(sizes))
    return _percentiles(drawn, value, confidence)


def _percentiles(drawn: Sequence[float], value: float, confidence: float) -> Interval:
    """The middle of what was drawn; it always holds the value itself."""
    ordered, tail = sorted(drawn), (1 - confidence) / 2
    return Interval(min(value, _quantile(ordered, tail)), max(value, _quantile(ordered, 1 - tail)))


def _draw_each(kinds: Counter[tuple[float, float]], n: int, rng: random.Random) -> Iterable[tuple[tuple[float, float], int]]:
    """n clusters drawn one by one."""
    return ((kind, 1) for kind in rng.choices(list(kinds), weights=list(kinds.values()), k=n))


def _draw_counts(
    kinds: Counter[tuple[float, float]], n: int, rng: random.Random
) -> Iterable[tuple[tuple[float, float], int]]:
    """n clusters drawn as one multinomial: thousands of clusters of a few kinds cost no more than the kinds."""
    left = n
    for kind, count in kinds.items():
        times = _heads(n, count / left, rng)
        yield kind, times
        n, left = n - times, left - count


def _heads(coins: int, bias: float, rng: random.Random) -> int:
    """How many coins fall heads, exactly. Each coin is a random binary fraction below ``bias`` or not; one digit of all is
    drawn at a time, and only the coins whose digits equal the bias's so far go on."""
    heads = 0
    while coins and bias:
        ones = rng.getrandbits(coins).bit_count()
        bias *= 2
        if bias >= 1:
            heads, coins, bias = heads + coins - ones, ones, bias - 1
        else:
            coins -= ones
    return heads
