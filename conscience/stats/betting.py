"""Betting bounds: how large a mean of losses between 0 and 1 can be, where cases count unequally or losses are fractions.

A bettor stakes a part of a wealth of 1 on each case: fair odds if the mean loss were just the rate in question. What the
wealth becomes is an e-value: if the mean were the rate or more, it would reach 1/risk in a share ``risk`` of all samples at
most (Ville, 1939; Waudby-Smith and Ramdas, arXiv 2010.09686; for risk control arXiv 2606.29054). Stakes are fixed ahead and
averaged over, so the order of the cases does not matter.

For independent cases of equal weight that either fail or not, Clopper and Pearson's bound is exact and never wider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

STAKES = tuple(part / 8 for part in range(1, 9))
"""Shares of the highest stake that can be paid; half of the wealth is on the last, which is best where nothing fails."""


def e_value(losses: Sequence[float], rate: float, weights: Sequence[float] | None = None) -> float:
    """The evidence that the weighted mean loss is below a rate: 1 is none, 20 is as good as a risk of 5 %.

    Args:
        losses: n values from 0 to 1, of independent cases or clusters.
        rate: between 0 and 1.
        weights: how much each counts; by default alike.
    """
    if not 0 < rate < 1:
        raise ValueError(f"a rate of {rate} does not lie between 0 and 1")
    most = max(weights, default=0.0) if weights is not None else 1.0
    shares = [1.0] * len(losses) if weights is None else [weight / most for weight in weights]
    gains = [share * (rate - loss) / (1 - rate) for share, loss in zip(shares, losses, strict=True)]
    logs = [math.fsum(math.log1p(stake * gain) if stake * gain > -1 else -math.inf for gain in gains) for stake in STAKES]
    highest = max(logs)
    if highest == -math.inf:
        return 0.0
    few = math.fsum(math.exp(log - highest) for log in logs[:-1]) / (len(logs) - 1)
    return math.exp(min(700.0, highest)) * (few + math.exp(logs[-1] - highest)) / 2


def betting_bound(losses: Sequence[float], risk: float = 0.05, weights: Sequence[float] | None = None) -> float:
    """A rate that the true weighted mean loss exceeds in a share ``risk`` of all samples at most, rounded up to 1e-9. The
    weights are taken as given: of cases that weigh more than any in the sample it knows nothing."""
    if not 0 < risk < 1:
        raise ValueError(f"a risk of {risk} does not lie between 0 and 1")
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if e_value(losses, middle, weights) >= 1 / risk else (middle, high)
    return high
