"""Which rows of a long run its page shows: the worst of each kind, and a sample. The others are in the folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from conscience.evals.records import CaseRecord, FailedCase, Record
from conscience.stats.streaming.sample import Sample

WORST = 100
"""Rows of each kind that are kept for being the worst of it."""
SAMPLED = 1000
"""Rows that are drawn from all."""


def _changed(record: CaseRecord, before: bool, after: bool) -> bool:
    return record.draft_ok is before and record.outcome_ok is after


_KINDS: Mapping[str, Callable[[CaseRecord], bool]] = {  # as report.js has them
    "corrected": lambda r: _changed(r, False, True),
    "spoiled": lambda r: _changed(r, True, False),
    "false alarm": lambda r: r.misaligned is False and r.flagged,
    "missed": lambda r: r.misaligned is True and not r.flagged,
    "flagged": lambda r: r.flagged,
    "refused": lambda r: r.status == "refused",
    "unresolved": lambda r: r.status == "unresolved",
    "revised": lambda r: r.status == "revised",
    "unreviewed": lambda r: r.status == "unreviewed",
}


class KeptRows:
    """Takes every row, keeps some, and counts them by kind.

    Attributes:
        found: kind → how many rows are of it; a row may be of several.
    """

    def __init__(self, seed: int = 0) -> None:
        self.found: Counter[str] = Counter()
        self._sampled: Sample[Record] = Sample(SAMPLED, seed)
        self._worst: dict[str, Sample[Record]] = {kind: Sample(WORST, seed) for kind in (*_KINDS, "error")}

    def append(self, row: Record) -> None:
        """Takes a row."""
        self.found["all"] += 1
        self._sampled.add(row, row.id)
        for kind in ("error",) if isinstance(row, FailedCase) else _kinds(row):
            self.found[kind] += 1
            self._worst[kind].add(row, row.id, rank=_how_wrong(row))

    def __iter__(self) -> Iterator[Record]:
        """The worst ones first, each row once."""
        kept = {row.key: row for sample in (*self._worst.values(), self._sampled) for row in sample}
        return iter(sorted(kept.values(), key=_how_wrong, reverse=True))


def _kinds(record: CaseRecord) -> list[str]:
    return [kind for kind, holds in _KINDS.items() if holds(record)]


def _how_wrong(row: Record) -> float:
    """How far the gate's probability is from what is known of the draft, 0 to 1."""
    if isinstance(row, FailedCase) or row.verdict is None or row.verdict.probability is None or row.misaligned is None:
        return 0.5
    return abs(row.misaligned - row.verdict.probability)
