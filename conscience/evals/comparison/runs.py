"""From two runs on the same cases to their comparison, case by case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from conscience.errors import InputError
from conscience.evals.folder import read_manifest, read_records
from conscience.evals.records import CaseRecord, FailedCase, Record
from conscience.evals.results import ComparedCost, ComparedRate, ComparedRun, ComparedScore, Comparison
from conscience.stats.bootstrap import bootstrap
from conscience.stats.cases import SORTING_DRAWS
from conscience.stats.intervals import Estimate
from conscience.stats.metrics import auroc
from conscience.stats.paired import compare


def compare_runs(first: Path, second: Path) -> Comparison:
    """Two runs on the same cases, case by case: rates with paired intervals and exact tests, and what each cost.

    Raises:
        InputError: a folder holds no run, or they share no case.
    """
    every_first, every_second = ({r.id: r for r in read_records(folder)} for folder in (first, second))
    of_first, of_second = (_done(every) for every in (every_first, every_second))
    pairs = [(record, of_second[name]) for name, record in of_first.items() if name in of_second]
    if not pairs:
        raise InputError(f"{first} and {second} have no case in common", hint="compare runs over the same cases")
    return Comparison(
        first=ComparedRun(first.name, read_manifest(first)),
        second=ComparedRun(second.name, read_manifest(second)),
        cases=len(pairs),
        only_first=len(of_first) - len(pairs),
        only_second=len(of_second) - len(pairs),
        figures=(
            *(rate for figure in _RATES if (rate := _compared(figure, pairs)) is not None),
            _failed(every_first, every_second),
        ),
        scores=tuple(score for score in (_auroc(pairs),) if score is not None),
        overhead=tuple(
            ComparedCost(name, _mean(value(a) for a, _ in pairs), _mean(value(b) for _, b in pairs))
            for name, value in _COSTS
        ),
    )


@dataclass(frozen=True)
class _ComparedFigure:
    """A yes-or-no figure of a case, and the cases that have it."""

    name: str
    holds: Callable[[CaseRecord], bool | None]
    applies: Callable[[CaseRecord], bool]


_RATES = (
    _ComparedFigure("draft accuracy", lambda r: r.draft_ok, lambda r: r.draft_ok is not None),
    _ComparedFigure("self-correction accuracy", lambda r: r.outcome_ok, lambda r: _is_judged(r)),
    _ComparedFigure("wrong drafts corrected", lambda r: r.outcome_ok, lambda r: r.draft_ok is False and _is_judged(r)),
    _ComparedFigure("right drafts spoiled", lambda r: not r.outcome_ok, lambda r: r.draft_ok is True and _is_judged(r)),
    _ComparedFigure("safe requests refused", lambda r: _refused(r), lambda r: r.safe is True and r.outcome is not None),
    _ComparedFigure("unsafe requests refused", lambda r: _refused(r), lambda r: r.safe is False and r.outcome is not None),
    _ComparedFigure("recall", lambda r: r.flagged, lambda r: r.misaligned is True),
    _ComparedFigure("false positive rate", lambda r: r.flagged, lambda r: r.misaligned is False),
    _ComparedFigure("unreviewed", lambda r: r.status == "unreviewed", lambda r: True),
)
_COSTS: tuple[tuple[str, Callable[[CaseRecord], float]], ...] = (
    ("calls a case", lambda r: r.usage.calls),
    ("tokens a case", lambda r: r.usage.tokens),
    ("seconds a case", lambda r: r.usage.seconds),
    ("dollars a case", lambda r: r.usage.dollars),
)


def _is_judged(record: CaseRecord) -> bool:
    return record.outcome_ok is not None


def _refused(record: CaseRecord) -> bool:
    return record.outcome is not None and record.outcome.refused


def _compared(figure: _ComparedFigure, pairs: Sequence[tuple[CaseRecord, CaseRecord]]) -> ComparedRate | None:
    both = [(a, b) for a, b in pairs if figure.applies(a) and figure.applies(b)]
    if not both:
        return None
    paired = compare(
        [bool(figure.holds(a)) for a, _ in both],
        [bool(figure.holds(b)) for _, b in both],
        weights=[a.weight for a, _ in both],
        clusters=[a.pair for a, _ in both],
    )
    return ComparedRate(**vars(paired), name=figure.name)


def _failed(first: Mapping[str, Record], second: Mapping[str, Record]) -> ComparedRate:
    """Failed cases, among those that both runs have tried."""
    both = [(record, second[name]) for name, record in first.items() if name in second]
    failed = [[isinstance(record, FailedCase) for record in side] for side in zip(*both, strict=True)]
    return ComparedRate(**vars(compare(*failed)), name="failed cases")


class _Scored(NamedTuple):
    """One text of a run: what the gate said, whether it is misaligned, and how much it counts."""

    probability: float
    misaligned: bool
    weight: float


def _auroc(pairs: Sequence[tuple[CaseRecord, CaseRecord]]) -> ComparedScore | None:
    """How well the two tell the same texts apart, where both gave a probability; None without texts of both kinds."""
    scored = [(_scored(a), _scored(b), a.pair) for a, b in pairs]
    both = [(a, b) for a, b, _ in scored if a is not None and b is not None]
    clusters = [pair for a, b, pair in scored if a is not None and b is not None]

    def first(drawn: Sequence[tuple[_Scored, _Scored]]) -> float | None:
        return _told_apart([a for a, _ in drawn])

    def second(drawn: Sequence[tuple[_Scored, _Scored]]) -> float | None:
        return _told_apart([b for _, b in drawn])

    def change(drawn: Sequence[tuple[_Scored, _Scored]]) -> float | None:
        before, after = first(drawn), second(drawn)
        return None if before is None or after is None else after - before

    estimates = []
    for statistic in (first, second, change):
        value, interval = statistic(both), bootstrap(both, statistic, clusters=clusters, draws=SORTING_DRAWS)
        if value is None or interval is None:
            return None
        estimates.append(Estimate(value, *interval))
    return ComparedScore("AUROC", *estimates)


def _scored(record: CaseRecord) -> _Scored | None:
    if record.verdict is None or record.verdict.probability is None or record.misaligned is None:
        return None
    return _Scored(record.verdict.probability, record.misaligned, record.weight)


def _told_apart(texts: Sequence[_Scored]) -> float | None:
    wrong, right = [text for text in texts if text.misaligned], [text for text in texts if not text.misaligned]
    weights = [text.weight for text in wrong], [text.weight for text in right]
    return auroc([text.probability for text in wrong], [text.probability for text in right], weights)


def _done(records: Mapping[str, Record]) -> dict[str, CaseRecord]:
    return {name: record for name, record in records.items() if isinstance(record, CaseRecord)}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
