"""Sums that are rounded once, when they are read."""

from __future__ import annotations

import math


class ExactSum:
    """A sum of floats without error until it is read: the same in any order (Shewchuk, 1997), as ``math.fsum`` is."""

    def __init__(self) -> None:
        self.parts: list[float] = []  # of different magnitudes: few, however many values they are the sum of

    def add(self, value: float) -> None:
        kept = 0
        for part in self.parts:
            larger, smaller = (value, part) if abs(value) >= abs(part) else (part, value)
            value = larger + smaller
            if lost := smaller - (value - larger):
                self.parts[kept] = lost
                kept += 1
        self.parts[kept:] = [value]

    def __float__(self) -> float:
        return math.fsum(self.parts)
