"""Two programs on the same cases: paired intervals and exact tests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conscience.stats.bootstrap import DRAWS, bootstrap_mean, mean
from conscience.stats.intervals import CONFIDENCE, Clusters, Estimate, Rate, members, wilson

FEW = 10
"""Clusters up to which a bootstrap draws too little: where the exact test tells no difference, the interval holds 0 too."""


@dataclass(frozen=True)
class PairedComparison:
    """Two programs on the same cases, or one before and after.

    Attributes:
        first, second: their rates.
        gained: cases where only the second holds; ``lost``: only the first; ``both``, ``neither``.
        difference: second rate − first rate, with its paired interval.
        p_value: two-sided probability of a difference at least as large if each changed case (or cluster) might as well have
            changed the other way; McNemar's exact test where every case stands alone.
    """

    first: Rate
    second: Rate
    both: int
    gained: int
    lost: int
    neither: int
    difference: Estimate | None
    p_value: float


def compare(
    first: Sequence[bool],
    second: Sequence[bool],
    *,
    weights: Sequence[float] | None = None,
    clusters: Clusters | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedComparison:
    """Compares two yes-or-no figures case by case, with a paired bootstrap and an exact test, both by cluster.

    Weights count in the rates and in their difference; the cells and the test count each case once.
    """
    cells = Counter((bool(a), bool(b)) for a, b in zip(first, second, strict=True))
    changes = [int(b) - int(a) for a, b in zip(first, second, strict=True)]
    groups = members(clusters, len(changes))
    p_value = sign_flip(sum(changes[i] for i in group) for group in groups)
    difference = _difference(changes, weights, clusters, groups, draws, seed)
    if difference and len(groups) <= FEW and p_value > 1 - CONFIDENCE:
        difference = Estimate(difference.value, min(difference.low, 0.0), max(difference.high, 0.0))
    return PairedComparison(
        first=Rate.of(first, weights=weights, clusters=clusters),
        second=Rate.of(second, weights=weights, clusters=clusters),
        both=cells[True, True],
        gained=cells[False, True],
        lost=cells[True, False],
        neither=cells[False, False],
        difference=difference,
        p_value=p_value,
    )


def sign_flip(totals: Iterable[int]) -> float:
    """The exact two-sided test that each cluster's total might as well have the other sign.

    P(|Σ ±total| ≥ |Σ total|) over all equally likely signs (Fisher, Design of Experiments, 1935). With totals of ±1 it is
    McNemar's exact test; with pairs it doesn't count the two cases of a pair as two witnesses.
    """
    listed = list(totals)
    chances = {0: 1.0}
    for size, count in sorted(Counter(abs(total) for total in listed if total).items()):
        log_half = count * math.log(2) - math.lgamma(count + 1)
        binomial = [
            (size * (2 * heads - count), math.exp(-log_half - math.lgamma(heads + 1) - math.lgamma(count - heads + 1)))
            for heads in range(count + 1)
        ]
        wider: dict[int, float] = {}
        for shift, chance in binomial:
            if chance > 1e-30:  # what is left out adds up to less than a double can hold beside 1e-16
                for start, before in chances.items():
                    wider[start + shift] = wider.get(start + shift, 0.0) + before * chance
        chances = wider
    bar = abs(sum(listed))
    return min(1.0, math.fsum(chance for total, chance in chances.items() if abs(total) >= bar))


def _difference(
    changes: Sequence[int],
    weights: Sequence[float] | None,
    clusters: Clusters | None,
    groups: Sequence[Sequence[int]],
    draws: int,
    seed: int,
) -> Estimate | None:
    """The paired bootstrap. Where all clusters changed alike it can't vary: ±z²/(n+z²), Tango's score interval (1998)."""
    if (value := mean(changes, weights)) is None:
        return None
    if len({mean([changes[i] for i in group], weights and [weights[i] for i in group]) for group in groups}) == 1:
        return unchanging(value, len(groups))
    interval = bootstrap_mean(changes, weights=weights, clusters=clusters, draws=draws, seed=seed)
    return Estimate(value, *(interval or (value, value)))


def unchanging(value: float, independent: int) -> Estimate:
    """A difference that is the same in all of so many independent cases, with the interval that they leave possible."""
    width = wilson(0, independent).high  # z²/(n+z²): what no counterexample among n leaves possible
    return Estimate(value, max(-1.0, value - (1 + abs(value)) * width), min(1.0, value + (1 + abs(value)) * width))
