"""What the gate's scores were like when it was fitted: what ``conscience watch`` compares those of today with.

A summary, not the scores: at a few probabilities the share of drafts that reached them. Drafts that the gate learned from
are scored by fits without them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from conscience.stats.intervals import members, upper_bound

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
"""Of all drafts, where the shares are kept; and at the threshold."""
RISK = 0.01
"""Of the bound on the rate of false positives where nothing was certified, so that no alarm comes of few cases alone."""
EDGE = 1e-6
"""Cuts are rounded to this."""

Share = Annotated[float, Field(ge=0, le=1)]


class KindScores(BaseModel):
    """The scores of the drafts of one kind.

    Attributes:
        n: how many independent drafts of equal weight tell as much: those of a pair count once, and a few heavy ones less.
        at_or_above: for each cut of the summary, the share that reached it, by weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    at_or_above: tuple[Share, ...]

    @classmethod
    def of(cls, scores: Sequence[float], weights: Sequence[float], pairs: Sequence[Hashable], cuts: Sequence[float]) -> Self:
        total = math.fsum(weights)
        by_pair = [math.fsum(weights[i] for i in pair) for pair in members(pairs, len(scores))]
        reached = [math.fsum(w for s, w in zip(scores, weights, strict=True) if s >= cut) / total for cut in cuts]
        return cls(
            n=round(max(1.0, total**2 / math.fsum(weight**2 for weight in by_pair)), 1),
            at_or_above=tuple(round(min(1.0, share), 6) for share in reached),
        )

    def most_above(self, index: int, risk: float) -> float:
        """A share at or above a cut that the true one exceeds with probability ``risk`` at most."""
        return _most(self.at_or_above[index], self.n, risk)

    def most_below(self, index: int, risk: float) -> float:
        """The same of the share below it."""
        return _most(1 - self.at_or_above[index], self.n, risk)


def _most(share: float, n: float, risk: float) -> float:
    whole = math.floor(n)
    return upper_bound(min(whole, math.ceil(share * whole - 1e-3)), whole, risk)


class ScoreSummary(BaseModel):
    """The scores of a gate when it was fitted.

    Attributes:
        threshold: from which it flagged.
        target_fpr: the false positive rate that was asked for.
        certified: whether that was certified.
        cuts: probabilities, rising.
        aligned: of aligned drafts.
        misaligned: of misaligned drafts; None where there were none.
        misaligned_share: of all drafts, by weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: Share
    target_fpr: Annotated[float, Field(gt=0, lt=1)]
    certified: bool
    cuts: tuple[Share, ...] = Field(min_length=1, max_length=100)
    aligned: KindScores
    misaligned: KindScores | None = None
    misaligned_share: Share = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(low >= high for low, high in zip(self.cuts, self.cuts[1:], strict=False)):
            raise ValueError("the cuts do not rise")
        for kind in (self.aligned, self.misaligned):
            if kind is not None and len(kind.at_or_above) != len(self.cuts):
                raise ValueError(f"{len(kind.at_or_above)} shares for {len(self.cuts)} cuts")
        return self

    @property
    def most_false_positives(self) -> float:
        """The rate of false positives that compile time vouches for: what was certified, or could not be ruled out."""
        if self.certified:
            return self.target_fpr
        shares = zip(self.cuts, self.aligned.at_or_above, strict=True)
        reached = [share for cut, share in shares if cut >= self.threshold - EDGE]
        return max(self.target_fpr, _most(reached[0] if reached else 0.0, self.aligned.n, RISK))

    @classmethod
    def of(
        cls,
        scores: Sequence[float],
        misaligned: Sequence[bool],
        *,
        threshold: float,
        target_fpr: float,
        certified: bool,
        weights: Sequence[float] | None = None,
        pairs: Sequence[Hashable] | None = None,
    ) -> Self | None:
        """The summary of some drafts; None without an aligned one.

        Args:
            scores: each draft's probability.
            misaligned: each draft's label.
            weights: how much each counts; by default alike.
            pairs: drafts of a pair are no independent witnesses; by default each stands alone.
        """
        weights = [1.0] * len(scores) if weights is None else weights
        pairs = range(len(scores)) if pairs is None else pairs
        ordered = sorted(scores)
        quantiles = {round(ordered[int(quantile * len(ordered))], 6) for quantile in QUANTILES} if ordered else set()
        cuts = tuple(sorted({cut for cut in quantiles | {round(threshold, 6)} if 0 < cut < 1} or {0.5}))

        def kind(wanted: bool) -> KindScores | None:
            rows = [i for i, label in enumerate(misaligned) if bool(label) is wanted]
            if not rows:
                return None
            return KindScores.of([scores[i] for i in rows], [weights[i] for i in rows], [pairs[i] for i in rows], cuts)

        aligned, other = kind(False), kind(True)
        if aligned is None:
            return None
        share = math.fsum(w for w, label in zip(weights, misaligned, strict=True) if label) / math.fsum(weights)
        return cls(
            threshold=threshold,
            target_fpr=target_fpr,
            certified=certified,
            cuts=cuts,
            aligned=aligned,
            misaligned=other,
            misaligned_share=round(min(1.0, share), 6),
        )
