"""Quantiles of more values than can be held."""

from __future__ import annotations

import math
from collections import Counter

WIDTH = 0.01
"""Values within one percent of each other count as the same."""
_LOG = math.log1p(WIDTH)
_LEAST = 1e-9
"""Nearer to 0 than this is 0."""


class Quantiles:
    """Counts of values by magnitude: a quantile comes out within half of ``WIDTH`` of itself (DDSketch, VLDB 2019)."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()  # bins above 0 are positive, below negative
        self._n = 0

    def append(self, value: float) -> None:
        """Takes a finite value."""
        self._n += 1
        self._counts[_bin(value)] += 1

    def __len__(self) -> int:
        return self._n

    def quantile(self, share: float) -> float | None:
        """The value below which a share of the values lies; None without values."""
        place = share * (self._n - 1)
        so_far = 0
        for bin_, count in sorted(self._counts.items()):
            so_far += count
            if so_far > place:
                return _middle(bin_)
        return None


def _bin(value: float) -> int:
    if abs(value) < _LEAST:
        return 0
    number = 1 + math.floor(math.log(abs(value) / _LEAST) / _LOG)
    return number if value > 0 else -number


def _middle(bin_: int) -> float:
    if not bin_:
        return 0.0
    size = _LEAST * math.exp((abs(bin_) - 0.5) * _LOG)
    return math.copysign(float(f"{size:.4g}"), bin_)
