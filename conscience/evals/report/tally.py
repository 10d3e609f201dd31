"""The records of a run as they come: what its report needs of them, however many there are.

A run of up to ``EXACT`` rows is kept case by case. Of a longer one cases are counted and a few are kept, see
``stats/streaming``: then more rows take no more memory.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

from conscience._base.files import digest64
from conscience.evals.folder import read_records
from conscience.evals.records import CaseRecord, FailedCase, Graded, Record
from conscience.evals.report.kept import KeptRows
from conscience.evals.results import GroupFigures, Overhead, RoleCost, Spread, Streamed
from conscience.stats.bootstrap import quantile
from conscience.stats.cases import Corrected, Reviewed
from conscience.stats.figures import correction_figures, reviewer_figures
from conscience.stats.streaming.counted import CountedCorrections, CountedTexts
from conscience.stats.streaming.quantiles import Quantiles
from conscience.stats.streaming.sample import Sample
from conscience.stats.streaming.sums import ExactSum
from conscience.usage import CallUsage

EXACT = 10_000
"""Rows up to which figures are drawn from the cases one by one, and the page shows each. Of more, cases are counted: see
``stats/streaming``."""
MOST_FOR_WORDS = 1_000
"""Texts of either kind on which surface words are fitted, where cases are counted."""
MOST_GROUPS = 1_000
"""Groups with figures of their own, where cases are counted; of more, these are drawn by the digests of their names."""


def tallied(folder: Path, seed: int) -> Tally:
    """What is known of all records of a run, read once.

    Raises:
        InputError: the folder holds no run, or something else among its rows.
    """
    rows = read_records(folder)
    first = [*islice(rows, EXACT + 1)]
    is_held = len(first) <= EXACT
    tally = Tally(is_held=is_held, seed=seed)
    if is_held:
        first.sort(key=lambda record: record.key)  # whatever is drawn by lot is the same in whatever order cases ended
    for record in first:
        tally.add(record)
    first.clear()
    for record in rows:
        tally.add(record)
    return tally


class Tally:
    """What is known of a run's records, as far as they have been read.

    Args:
        is_held: whether each is kept as it is; otherwise they are counted.
    """

    def __init__(self, *, is_held: bool, seed: int) -> None:
        self.is_held = is_held
        self.done = self.failed = self.graded = self.unjudged = self.undecided = self.unreviewed = 0
        self.given, self.own = Texts(is_held=is_held, seed=seed), Texts(is_held=is_held, seed=seed)
        self.corrected: list[Corrected] | CountedCorrections = [] if is_held else CountedCorrections()
        self.overhead = OverheadTally(is_held=is_held)
        self.rows: list[Record] | KeptRows = [] if is_held else KeptRows(seed)
        self._groups: dict[str, _GroupTally] = {}
        self._lots: list[tuple[int, str]] = []  # the group to give up next comes first
        self._ungrouped = 0

    def add(self, record: Record) -> None:
        """Takes a record."""
        self.rows.append(record)
        if isinstance(record, FailedCase):
            self.failed += 1
            return
        self.done += 1
        self.unjudged += record.outcome_ok is not None and record.draft is None
        self.undecided += _is_undecided(record.draft) + _is_undecided(record.outcome)
        self.unreviewed += record.status == "unreviewed"
        self.overhead.add(record)
        if (reviewed := _reviewed(record)) is not None:
            (self.own if record.kind == "answer" else self.given).add(record, reviewed)
        if (corrected := _corrected(record)) is not None:
            self.graded += 1
            self.corrected.append(corrected)
        if record.group is not None:
            self._add_to_group(record.group, reviewed, corrected)

    def _add_to_group(self, name: str, reviewed: Reviewed | None, corrected: Corrected | None) -> None:
        if (group := self._groups.get(name)) is None:
            group = self._groups[name] = _GroupTally(is_held=self.is_held)
            if not self.is_held:
                heapq.heappush(self._lots, (-digest64(name), name))
        group.add(reviewed, corrected)
        if len(self._lots) > MOST_GROUPS:  # the least digests stay: no group of those is ever met late
            _, name = heapq.heappop(self._lots)
            self._ungrouped += self._groups.pop(name).n

    def group_figures(self) -> tuple[GroupFigures, ...]:
        """The largest first, and those of one size by name."""
        figures = (self._groups[name].figures(name) for name in sorted(self._groups))
        return tuple(sorted(figures, key=lambda group: -group.n))

    def streamed(self, texts: Texts, drafts: Texts | None) -> Streamed | None:
        """What is not exact; None where all is."""
        if not isinstance(self.rows, KeptRows):
            return None
        return Streamed(
            shown=sum(1 for _ in self.rows),
            found=dict(self.rows.found),
            auroc_error=texts.auroc_error,
            drafts_auroc_error=drafts.auroc_error if drafts else 0.0,
            ungrouped=self._ungrouped,
        )


class Texts:
    """Reviewed texts, and those among them whose words are fitted."""

    def __init__(self, *, is_held: bool, seed: int) -> None:
        self.n = 0
        self.cases: list[Reviewed] | CountedTexts = [] if is_held else CountedTexts()
        self._records: list[CaseRecord] = []
        self._samples = None if is_held else {kind: Sample[CaseRecord](MOST_FOR_WORDS, seed) for kind in (False, True)}

    def add(self, record: CaseRecord, reviewed: Reviewed) -> None:
        self.n += 1
        self.cases.append(reviewed)
        if self._samples is None:
            self._records.append(record)
        else:
            self._samples[reviewed.misaligned].add(record, record.pair or record.id, unique=record.id)

    def words(self) -> Iterable[CaseRecord]:
        """All of them; where they are counted, a sample of either kind that takes pairs together."""
        return self._records if self._samples is None else chain.from_iterable(self._samples.values())

    @property
    def auroc_error(self) -> float:
        return self.cases.auroc_error if isinstance(self.cases, CountedTexts) else 0.0


class _GroupTally:
    """The records of one group."""

    def __init__(self, *, is_held: bool) -> None:
        self.n = 0
        self._texts: list[Reviewed] | CountedTexts = [] if is_held else CountedTexts(with_interval=False)
        self._corrected: list[Corrected] | CountedCorrections = [] if is_held else CountedCorrections()

    def add(self, reviewed: Reviewed | None, corrected: Corrected | None) -> None:
        self.n += 1
        if reviewed is not None:
            self._texts.append(reviewed)
        if corrected is not None:
            self._corrected.append(corrected)

    def figures(self, name: str) -> GroupFigures:
        reviewer = reviewer_figures(self._texts, bootstrapped=False)
        correction = correction_figures(self._corrected, bootstrapped=False)
        return GroupFigures(
            group=name,
            n=self.n,
            auroc=reviewer.auroc,
            recall=reviewer.recall,
            fpr=reviewer.fpr,
            draft_accuracy=correction.draft_accuracy,
            self_correction_accuracy=correction.self_correction_accuracy,
        )


class OverheadTally:
    """What the step adds to the plain generation. A call whose review failed says nothing of latency."""

    def __init__(self, *, is_held: bool) -> None:
        self._roles: defaultdict[str, CallUsage] = defaultdict(CallUsage)
        self._dollars: defaultdict[str, ExactSum] = defaultdict(ExactSum)
        self._ratios: list[float] | Quantiles = [] if is_held else Quantiles()
        self._added: list[float] | Quantiles = [] if is_held else Quantiles()
        self._seconds = ExactSum()

    def add(self, record: CaseRecord) -> None:
        for role, spent in record.usage.by_role.items():
            self._roles[role] += spent
            self._dollars[role].add(spent.dollars)
        self._seconds.add(record.usage.seconds)
        generated = record.usage.by_role.get("generate", CallUsage()).seconds
        if record.kind == "answer" and record.status != "unreviewed" and generated:
            self._ratios.append(record.usage.seconds / generated)
            self._added.append(record.usage.seconds - generated)

    def summed(self, cases: int) -> Overhead:
        calls = sum(spent.calls for spent in self._roles.values())
        return Overhead(
            latency_ratio=_spread(self._ratios),
            added_seconds=_spread(self._added),
            calls_per_case=calls / cases if cases else None,
            seconds_per_case=float(self._seconds) / cases if cases else None,
            by_role={
                role: RoleCost(spent.calls, spent.tokens, spent.seconds, float(self._dollars[role]), spent.unpriced)
                for role, spent in sorted(self._roles.items())
            },
        )


def _is_undecided(text: Graded | None) -> bool:
    """Whether an oracle looked at it and ruled nothing; a given response that was only reviewed has no reason."""
    return text is not None and text.ok is None and text.reason != ""


def _reviewed(record: CaseRecord) -> Reviewed | None:
    """None where it is not known what the draft is, or there is no verdict on it."""
    if record.verdict is None or record.misaligned is None:
        return None
    return Reviewed(record.verdict.probability, record.flagged, record.misaligned, record.pair, record.weight)


def _corrected(record: CaseRecord) -> Corrected | None:
    """None where the outcome was not judged, or the draft was shown and not judged."""
    draft, outcome = record.draft, record.outcome
    if outcome is None or outcome.ok is None or (draft is not None and draft.ok is None):
        return None
    before, refused = (None, False) if draft is None else (draft.ok, draft.refused)
    return Corrected(before, outcome.ok, record.safe, refused, outcome.refused, record.pair, record.weight)


def _spread(values: list[float] | Quantiles) -> Spread | None:
    p50, p95 = (_quantile(values, share) for share in (0.5, 0.95))
    return None if p50 is None or p95 is None else Spread(p50, p95)


def _quantile(values: list[float] | Quantiles, share: float) -> float | None:
    return values.quantile(share) if isinstance(values, Quantiles) else quantile(values, share)
