"""Tests that may be looked at after every event, for ever: the risk of a false alarm holds over all looks together.

A bettor stakes a part of a capital of 1 on each event, at odds that are fair if nothing has changed. Then the capital
reaches 1/risk with probability ``risk`` at most, at any time (Ville, 1939; Waudby-Smith and Ramdas, arXiv 2010.09686). What
has not been staked yet is kept in reserve, and a little of it enters at each event: so a change is found that comes late
(Shin, Ramdas and Rinaldo, arXiv 2203.03532).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

STAKES = (0.02, 0.05, 0.12, 0.3, 0.7)
"""Shares of the capital that are staked. The best one is (q - r)/(1 - r) where a rate of at most r is really q."""
ONSET = 0.2
"""The stake by which it is told since when a rate has been higher."""
TAILS = (0.02, 0.1, 0.3)
"""Shares of the highest and of the lowest scores that ``ExchangeabilityTest`` counts."""
WIDTH = 0.1
"""Log-odds that count as one score there, so that its memory does not grow."""
FURTHEST = 14.0
"""Log-odds beyond which scores count as the same."""
LARGEST = 1e200
"""Evidence is counted up to here."""


class RateTest:
    """Whether the rate of an event exceeds a bound, from the first event on or from any later one.

    Args:
        rate: between 0 and 1; a rate up to this raises no alarm.

    Attributes:
        n: events so far.
        onset: since which of them, from 1, the rate has been higher, if it is: the estimate of a CUSUM (Page, 1954).
    """

    def __init__(self, rate: float) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"a rate of {rate} does not lie between 0 and 1")
        self.rate = rate
        self.n = 0
        self.onset = 1
        self._reserve = 1.0
        self._capital = [0.0] * len(STAKES)
        self._run = 0.0
        self._factors = {hit: self._paid(hit, 1.0) for hit in (False, True)}

    def observe(self, hit: bool, weight: float = 1.0) -> None:
        """Takes the next event.

        Args:
            hit: whether it is one of those that are counted.
            weight: how much it counts, above 0 and up to 1: the least inclusion probability over its own, where events
                were sampled unequally.
        """
        self.n += 1
        left = 1 / (1 + math.log1p(self.n))  # ends so slowly that a late change costs little more than an early one
        entering, self._reserve = (self._reserve - left) / len(STAKES), left
        factors, logarithm = self._factors[hit] if weight == 1 else self._paid(hit, weight)
        self._capital = [(capital + entering) * factor for capital, factor in zip(self._capital, factors, strict=True)]
        if max(self._capital) > LARGEST:
            self._capital = [min(LARGEST, capital) for capital in self._capital]
        self._run += logarithm
        if self._run <= 0:
            self._run, self.onset = 0.0, self.n + 1

    def _paid(self, hit: bool, weight: float) -> tuple[tuple[float, ...], float]:
        """What becomes of a unit at each stake, and the logarithm of what becomes of it at ``ONSET``."""
        gain = weight * (float(hit) - self.rate) / self.rate
        return tuple(1 + stake * gain for stake in STAKES), math.log1p(ONSET * gain)

    @property
    def e_value(self) -> float:
        """The evidence: 1 is none, and it reaches 1/risk with probability ``risk`` at most where the rate is kept."""
        return sum(self._capital) + self._reserve


def mean_e_value(tests: Sequence[RateTest]) -> float:
    """The evidence of several tests as one, whatever they have to do with each other; 1 where there are none."""
    return sum(test.e_value for test in tests) / len(tests) if tests else 1.0


class ExchangeabilityTest:
    """Whether scores go on as they began: a conformal test martingale, exact without anything known of their distribution.

    Each score's rank among all so far is uniform while nothing changes (Vovk, Gammerman and Shafer, Algorithmic Learning in
    a Random World, 2005). So the shares of the highest and of the lowest ranks are known, and are tested.
    """

    def __init__(self) -> None:
        self.high = [RateTest(share) for share in TAILS]
        self.low = [RateTest(share) for share in TAILS]
        self.n = 0
        self._counts = _Counts(2 * round(FURTHEST / WIDTH) + 1)

    def observe(self, score: float, tie: float) -> None:
        """Takes the next score.

        Args:
            score: log-odds.
            tie: uniform between 0 and 1, drawn without regard to the score; decides between equal scores.
        """
        place = round((max(-FURTHEST, min(FURTHEST, score)) + FURTHEST) / WIDTH)
        self.n += 1
        equal, below = self._counts.at(place), self._counts.below(place)
        above = self.n - 1 - below - equal
        rank = (above + tie * (equal + 1)) / self.n
        self._counts.add(place)
        for share, high, low in zip(TAILS, self.high, self.low, strict=True):
            high.observe(rank < share)
            low.observe(rank > 1 - share)

    @property
    def e_value(self) -> float:
        return mean_e_value([*self.high, *self.low])


class _Counts:
    """How often each of so many places was met, and all below it (Fenwick, 1994)."""

    def __init__(self, places: int) -> None:
        self._single = [0] * places
        self._sums = [0] * (places + 1)

    def at(self, place: int) -> int:
        return self._single[place]

    def below(self, place: int) -> int:
        total = 0
        while place:
            total += self._sums[place]
            place &= place - 1
        return total

    def add(self, place: int) -> None:
        self._single[place] += 1
        place += 1
        while place < len(self._sums):
            self._sums[place] += 1
            place += place & -place
