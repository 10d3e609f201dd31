"""What a run may still spend, held against estimates before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Estimate(NamedTuple):
    """What one request may cost.

    Attributes:
        dollars: None where the model has no price.
    """

    tokens: int
    dollars: float | None


@dataclass
class Allowance:
    """What is left; infinite where there is no limit."""

    calls: float = math.inf
    tokens: float = math.inf
    dollars: float = math.inf

    def take(self, calls: int, tokens: int, dollars: float | None) -> None:
        """Takes off what is under way."""
        self.calls -= calls
        self.tokens -= tokens
        self.dollars -= dollars or 0.0

    def take_first(self, estimates: Iterable[Estimate]) -> int:
        """Takes off the first ones, as many as it has room for; how many these are."""
        count = 0
        for tokens, dollars in estimates:
            if self.calls < 1 or self.tokens < tokens or self.dollars < (dollars or 0.0):
                break
            self.take(1, tokens, dollars)
            count += 1
        return count
