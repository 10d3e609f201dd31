"""From two runs on the same cases to their comparison, case by case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from conscience.errors import InputError
from conscience.evals.folder import read_manifest, read_records
from conscience.evals.records import FailedCase, Record
from conscience.evals.report.tally import EXACT
from conscience.evals.results import ComparedCost, ComparedRate, ComparedRun, ComparedScore, Comparison
from conscience.stats.bootstrap import bootstrap
from conscience.stats.cases import SORTING_DRAWS
from conscience.stats.intervals import Estimate, perfect, rarer
from conscience.stats.metrics import auroc
from conscience.stats.paired import PairedComparison, compare, unchanging
from conscience.stats.streaming.paired import CountedChanges, CountedScores


def compare_runs(first: Path, second: Path) -> Comparison:
    """Two runs on the same cases, case by case: rates with paired intervals and exact tests, and what each cost.

    Where the first has more than ``EXACT`` rows, a few numbers of each are held, and cases are counted as they are matched:
    see ``stats/streaming``.

    Raises:
        InputError: a folder holds no run, or they share no case.
    """
    before = {record.id: _Case.of(record) for record in read_records(first)}
    tally = _Tally(is_held=len(before) <= EXACT)
    tally.only_first = sum(not case.failed for case in before.values())
    for name, a, b in _matched(before, second, tally):
        tally.add(name, a, b)
    if not tally.tried:
        raise InputError(f"{first} and {second} have no case in common", hint="compare runs over the same cases")
    return Comparison(
        first=ComparedRun(_title(first), read_manifest(first)),
        second=ComparedRun(_title(second), read_manifest(second)),
        cases=tally.n,
        only_first=tally.only_first,
        only_second=tally.only_second,
        figures=tally.rates(),
        scores=tally.scores(),
        overhead=tally.overhead(),
    )


def _title(folder: Path) -> str:
    """A folder's name, which on some systems is any bytes."""
    return folder.name.encode("utf-8", "replace").decode()


class _Case(NamedTuple):
    """What of a record is compared."""

    failed: bool
    given: bool = False
    draft_ok: bool | None = None
    outcome_ok: bool | None = None
    refused: bool | None = None
    safe: bool | None = None
    flagged: bool = False
    misaligned: bool | None = None
    has_verdict: bool = False
    unreviewed: bool = False
    probability: float | None = None
    weight: float = 1.0
    pair: str | None = None
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    dollars: float = 0.0

    @classmethod
    def of(cls, record: Record) -> _Case:
        if isinstance(record, FailedCase):
            return _FAILED
        spent = record.usage.total
        return cls(
            failed=False,
            given=record.kind != "answer",
            draft_ok=record.draft_ok,
            outcome_ok=record.outcome_ok,
            refused=record.outcome.refused if record.outcome else None,
            safe=record.safe,
            flagged=record.flagged,
            misaligned=record.misaligned,
            has_verdict=record.verdict is not None,
            unreviewed=record.status == "unreviewed",
            probability=record.verdict.probability if record.verdict else None,
            weight=record.weight,
            pair=record.pair,
            calls=spent.calls,
            tokens=spent.tokens,
            seconds=record.usage.seconds,
            dollars=spent.dollars,
        )


_FAILED = _Case(failed=True)


def _matched(before: dict[str, _Case], second: Path, tally: _Tally) -> Iterator[tuple[str, _Case, _Case]]:
    """Id and both sides of each case that both runs have tried: in the first one's order, or as they are read."""
    records = ((record.id, _Case.of(record)) for record in read_records(second))
    if not tally.is_held:
        for name, case in records:
            tally.only_second += not case.failed
            if (held := before.pop(name, None)) is not None:
                yield name, held, case
        return
    after = dict(records)
    tally.only_second = sum(not case.failed for case in after.values())
    for name, case in before.items():
        if name in after:
            yield name, case, after[name]


class _Changes:
    """A figure of the cases that have it in both runs, one by one."""

    def __init__(self) -> None:
        self.n = 0
        self._sides: tuple[list[bool], list[bool]] = ([], [])
        self._weights: list[float] = []
        self._clusters: list[str | None] = []

    def append(self, first: bool, second: bool, pair: str | None, weight: float) -> None:
        self.n += 1
        self._sides[0].append(first)
        self._sides[1].append(second)
        self._weights.append(weight)
        self._clusters.append(pair)

    def comparison(self) -> PairedComparison:
        return compare(*self._sides, weights=self._weights, clusters=self._clusters)


class _Tally:
    """What is known of the cases that were matched so far.

    Args:
        is_held: whether they are kept one by one.

    Attributes:
        tried: cases that both runs have tried, ``n``: that were done in both.
        only_first, only_second: done in the one, and not tried in the other.
    """

    def __init__(self, *, is_held: bool) -> None:
        self.is_held = is_held
        self.tried = self.n = self.only_first = self.only_second = 0
        made = _Changes if is_held else CountedChanges
        self._rates: dict[_ComparedFigure, _Changes | CountedChanges] = {figure: made() for figure in _RATES}
        self._reached = {figure: made() for figure in _RATES}
        self._failed = made()
        self._texts = {given: _Texts(is_held=is_held) for given in (True, False)}
        self.costs: dict[str, list[float]] = {name: [0, 0] for name in _COSTS}

    def add(self, name: str, a: _Case, b: _Case) -> None:
        """Takes a case that both runs have tried."""
        self.tried += 1
        self.only_first -= not a.failed
        self.only_second -= not b.failed
        self._failed.append(a.failed, b.failed, None, 1.0)
        if a.failed or b.failed:
            return
        self.n += 1
        _note(self._rates, a, b)
        _note(self._reached, b, b)
        for cost, of in _COSTS.items():
            self.costs[cost][0] += of(a)
            self.costs[cost][1] += of(b)
        if b.has_verdict and b.misaligned is not None:
            _note(self._texts[b.given].reached, b, b)
        if a.has_verdict and b.has_verdict and a.given is b.given:
            self._texts[a.given].add(name, a, b)

    @property
    def _reviewed(self) -> _Texts:
        """The texts that a report would have the reviewer's figures of."""
        return self._texts[bool(self._texts[True].n)]

    def rates(self) -> tuple[ComparedRate, ...]:
        of = {**self._rates, **self._reviewed.rates}
        reached = {**self._reached, **self._reviewed.reached}
        rates = [
            ComparedRate(**vars(of[figure].comparison()), name=figure.name, reached=reached[figure].comparison().second)
            for figure in (*_RATES, *_OF_TEXTS)
            if of[figure].n
        ]
        return (*rates, ComparedRate(**vars(self._failed.comparison()), name="failed cases"))

    def scores(self) -> tuple[ComparedScore, ...]:
        scored = self._reviewed.scored
        estimates = scored.estimates() if isinstance(scored, CountedScores) else _auroc(scored)
        return () if estimates is None else (ComparedScore("AUROC", *estimates),)

    def overhead(self) -> tuple[ComparedCost, ...]:
        return tuple(ComparedCost(name, *(t / self.n for t in totals)) for name, totals in self.costs.items() if self.n)


class _Texts:
    """What the reviews of both runs said of the same texts: of given responses, or of drafts.

    Args:
        is_held: whether they are kept one by one.
    """

    def __init__(self, *, is_held: bool) -> None:
        self.n = 0
        made = _Changes if is_held else CountedChanges
        self.rates: dict[_ComparedFigure, _Changes | CountedChanges] = {figure: made() for figure in _OF_TEXTS}
        self.reached = {figure: made() for figure in _OF_TEXTS}
        self.scored: list[_Scored] | CountedScores = [] if is_held else CountedScores()

    def add(self, name: str, a: _Case, b: _Case) -> None:
        """Takes a case with a verdict in both runs."""
        if a.misaligned is None or b.misaligned is None:
            return
        self.n += 1
        _note(self.rates, a, b)
        if a.probability is None or b.probability is None:
            return
        if not isinstance(self.scored, CountedScores):
            self.scored.append(_Scored(a, b))
        elif a.misaligned is b.misaligned:
            self.scored.append(
                a.probability, b.probability, misaligned=a.misaligned, cluster=a.pair or name, weight=a.weight
            )


def _note(rates: Mapping[_ComparedFigure, _Changes | CountedChanges], a: _Case, b: _Case) -> None:
    """Takes a case of both runs, or twice of one, for each figure that it has."""
    for figure, changes in rates.items():
        if figure.applies(a) and figure.applies(b):
            changes.append(bool(figure.holds(a)), bool(figure.holds(b)), a.pair, a.weight if figure.weighted else 1.0)


@dataclass(frozen=True)
class _ComparedFigure:
    """A yes-or-no figure of a case, and the cases that have it."""

    name: str
    holds: Callable[[_Case], bool | None]
    applies: Callable[[_Case], bool]
    weighted: bool = True


_RATES = (
    _ComparedFigure("draft accuracy", lambda r: r.draft_ok, lambda r: r.draft_ok is not None),
    _ComparedFigure("self-correction accuracy", lambda r: r.outcome_ok, lambda r: _is_judged(r)),
    _ComparedFigure(
        "wrong drafts corrected", lambda r: r.outcome_ok, lambda r: r.draft_ok is False and r.outcome_ok is not None
    ),
    _ComparedFigure(
        "right drafts spoiled", lambda r: not r.outcome_ok, lambda r: r.draft_ok is True and r.outcome_ok is not None
    ),
    _ComparedFigure("safe requests refused", lambda r: r.refused, lambda r: r.safe is True and r.refused is not None),
    _ComparedFigure("unsafe requests refused", lambda r: r.refused, lambda r: r.safe is False and r.refused is not None),
    _ComparedFigure("unreviewed", lambda r: r.unreviewed, lambda r: True, weighted=False),
)
_OF_TEXTS = (
    _ComparedFigure("recall", lambda r: r.flagged, lambda r: r.misaligned is True),
    _ComparedFigure("false positive rate", lambda r: r.flagged, lambda r: r.misaligned is False),
)
_COSTS: Mapping[str, Callable[[_Case], float]] = {
    "calls a case": lambda r: r.calls,
    "tokens a case": lambda r: r.tokens,
    "seconds a case": lambda r: r.seconds,
    "dollars a case": lambda r: r.dollars,
}


class _Scored(NamedTuple):
    """One text in both runs."""

    first: _Case
    second: _Case


def _is_judged(case: _Case) -> bool:
    return case.outcome_ok is not None


def _auroc(scored: Sequence[_Scored]) -> list[Estimate] | None:
    """How well the two tell the same texts apart, where both gave a probability; None without texts of both kinds."""
    clusters = [text.first.pair for text in scored]

    def first(drawn: Sequence[_Scored]) -> float | None:
        return _told_apart([text.first for text in drawn])

    def second(drawn: Sequence[_Scored]) -> float | None:
        return _told_apart([text.second for text in drawn])

    def change(drawn: Sequence[_Scored]) -> float | None:
        before, after = first(drawn), second(drawn)
        return None if before is None or after is None else after - before

    fewest = rarer([bool(text.first.misaligned) for text in scored], clusters)
    estimates = []
    for statistic in (first, second, change):
        value, interval = statistic(scored), bootstrap(scored, statistic, clusters=clusters, draws=SORTING_DRAWS)
        if value is None or interval is None:
            return None
        if statistic is not change:
            estimates.append(Estimate(value, *perfect(interval, fewest)))
        else:
            estimates.append(unchanging(value, fewest) if interval.low == interval.high else Estimate(value, *interval))
    return estimates


def _told_apart(texts: Sequence[_Case]) -> float | None:
    wrong, right = [text for text in texts if text.misaligned], [text for text in texts if not text.misaligned]
    weights = [text.weight for text in wrong], [text.weight for text in right]
    return auroc([text.probability or 0.0 for text in wrong], [text.probability or 0.0 for text in right], weights)
