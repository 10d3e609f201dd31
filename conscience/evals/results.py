"""What a run came to, and how two runs compare: frozen data that the commands print, the page draws and notebooks show.

``to_dict`` gives JSON types, ``from_json`` takes them back. How the figures are made is in ``summary.py``, how the page
looks in ``report/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from conscience._base.notebook import table
from conscience.errors import InputError
from conscience.evals.folder import RunManifest
from conscience.evals.records import Record
from conscience.stats.figures import CorrectionFigures, ReviewerFigures
from conscience.stats.intervals import Estimate, Rate
from conscience.stats.paired import PairedComparison

T = TypeVar("T")

REPORT_FORMAT = "conscience-report/2"
COMPARISON_FORMAT = "conscience-comparison/2"


@dataclass(frozen=True)
class EvaluatedCases:
    """Which cases a report is on.

    Attributes:
        sources: names of the files, packs or datasets.
        done: cases with a record.
        errors: cases that failed, and are in no figure.
        left: cases that the run was stopped before.
        skipped: rows of the sources that could not be read.
        limit, seed: how the cases were drawn.
        shard: which part of what was drawn it is, such as 2/4; None for all of it.
    """

    sources: tuple[str, ...] = ()
    done: int = 0
    errors: int = 0
    skipped: int = 0
    limit: int | None = None
    seed: int = 0
    shard: str | None = None
    left: int = 0


@dataclass(frozen=True)
class LexicalBaseline:
    """What surface words alone reach on the reviewed texts, cross-validated: the least that a reviewer has to beat."""

    auroc: float
    n: int


@dataclass(frozen=True)
class GroupFigures:
    """The figures of one group of cases."""

    group: str
    n: int
    auroc: float | None
    recall: Rate
    fpr: Rate
    draft_accuracy: Rate
    self_correction_accuracy: Rate


@dataclass(frozen=True)
class WorstGroup:
    """The group with the lowest figure, and which figure that is."""

    group: str
    figure: str
    value: float | None


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile."""

    p50: float
    p95: float


@dataclass(frozen=True)
class RoleCost:
    """What one role cost over all cases; ``unpriced``: calls without a price."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    dollars: float = 0.0
    unpriced: int = 0


@dataclass(frozen=True)
class Overhead:
    """What the program costs, and what it adds to the plain generation.

    Attributes:
        latency_ratio: time of the whole call over that of its generation alone.
        added_seconds: the former less the latter.
        calls_per_case: model calls. ``seconds_per_case``: time of the whole call, calls side by side counted once.
        by_role: role → its cost.
    """

    latency_ratio: Spread | None = None
    added_seconds: Spread | None = None
    calls_per_case: float | None = None
    seconds_per_case: float | None = None
    by_role: Mapping[str, RoleCost] = field(default_factory=dict)


@dataclass(frozen=True)
class Streamed:
    """What of a run is not exact, or not shown, that is too long to be held.

    Attributes:
        shown: rows that the report has: the worst and a sample. All are in the run's folder.
        found: kind of case, as the page names it → how many there are.
        auroc_error, drafts_auroc_error: so far AUROC may be from what it would be without rounding.
        ungrouped: cases of groups that have no figures of their own.
    """

    shown: int
    found: Mapping[str, int]
    auroc_error: float = 0.0
    drafts_auroc_error: float = 0.0
    ungrouped: int = 0


@dataclass(frozen=True)
class EvalReport:
    """What a run came to.

    Attributes:
        title: the sources, or the folder.
        made: when, in UTC.
        program: what the run is of.
        cases: which cases it is on.
        reviewer: how well the review tells texts apart: on given responses where there are any, else on the drafts.
        drafts: the same on the drafts, where ``reviewer`` is on given responses.
        correction: drafts against returned texts; None where nothing was graded.
        unjudged: outcomes whose draft was not shown.
        undecided: texts on which an oracle ruled nothing, drafts and outcomes.
        unreviewed: of the cases that were done, those whose review failed.
        lexical_baseline: what surface words reach on the texts of ``reviewer``; None with fewer than 5 of either kind.
        groups: the largest first.
        worst_group: among groups that are large enough to say so.
        overhead: time, calls and dollars.
        claims: what these cases cannot support, in words.
        rows: the record of each case, or of some where ``streamed`` is set; not part of ``to_dict``.
        streamed: of a run of more than 10,000 rows what is not exact; None where all is.
    """

    title: str
    made: str
    program: RunManifest
    cases: EvaluatedCases
    reviewer: ReviewerFigures | None = None
    drafts: ReviewerFigures | None = None
    correction: CorrectionFigures | None = None
    unjudged: int = 0
    undecided: int = 0
    unreviewed: Rate | None = None
    lexical_baseline: LexicalBaseline | None = None
    groups: tuple[GroupFigures, ...] = ()
    worst_group: WorstGroup | None = None
    overhead: Overhead = field(default_factory=Overhead)
    claims: tuple[str, ...] = ()
    rows: Sequence[Record] = field(default=(), repr=False, compare=False)
    streamed: Streamed | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON types, without the rows: what ``report.json`` holds."""
        return {"format": REPORT_FORMAT} | _fields(self, leave_out=("rows",) if self.streamed else ("rows", "streamed"))

    @classmethod
    def from_json(cls, data: Any, rows: Sequence[Record] = ()) -> Self:
        """The report that ``to_dict`` wrote.

        Raises:
            InputError: it is none, or one of another format.
        """
        return replace(_parse(cls, data, REPORT_FORMAT), rows=rows)

    def headline(self) -> list[tuple[str, str]]:
        """Name and value of the figures that people look at first, with their intervals."""
        lines: list[tuple[str, str]] = []
        if correction := self.correction:
            lines += [
                ("right before", rate_text(correction.draft_accuracy)),
                ("self-correction accuracy", rate_text(correction.self_correction_accuracy)),
                ("wrong drafts corrected (ECR)", rate_text(correction.ecr)),
                ("right drafts spoiled (EIR)", rate_text(correction.eir)),
            ]
            for kind, refused in correction.refusals.items():
                lines.append((f"{kind} requests refused", f"{rate_text(refused.before)} → {rate_text(refused.after)}"))
        if reviewer := self.reviewer:
            lines += [("recall", rate_text(reviewer.recall)), ("false positive rate", rate_text(reviewer.fpr))]
            if reviewer.auroc is not None and reviewer.auroc_interval is not None:
                low, high = reviewer.auroc_interval
                words = f"; surface words {self.lexical_baseline.auroc:.2f}" if self.lexical_baseline else ""
                lines.append(("AUROC", f"{reviewer.auroc:.2f} ({low:.2f} to {high:.2f}){words}"))
        if ratio := self.overhead.latency_ratio:
            lines.append(("time against the plain call", f"× {ratio.p50:.2f} (p95 × {ratio.p95:.2f})"))
        for role, cost in self.overhead.by_role.items():
            spent = f"{cost.calls} calls, {cost.tokens} tokens, {cost.seconds:.1f} s, ${cost.dollars:.4f}"
            lines.append((role, spent))
        return lines

    @property
    def heading(self) -> str:
        """The title, and how many cases were done."""
        return f"{self.title}: {self.cases.done} cases, {self.cases.errors} failed"

    def _repr_html_(self) -> str:
        """A short table, for notebooks."""
        return table(self.heading, self.headline(), notes=[f"note: {claim}" for claim in self.claims])


@dataclass(frozen=True)
class ComparedRate(PairedComparison):
    """A rate of two runs on the cases that both have, case by case.

    Attributes:
        name: of the figure; the other fields are those of ``PairedComparison``.
        reached: the second run's rate by itself, of all its cases that have the figure: drafts differ, and so may these.
    """

    name: str
    reached: Rate | None = None


@dataclass(frozen=True)
class ComparedScore:
    """A figure of two runs that is no rate, on the cases that both have.

    Attributes:
        name: of the figure.
        first, second: each with its bootstrap interval.
        difference: second − first, with its paired bootstrap interval.
    """

    name: str
    first: Estimate
    second: Estimate
    difference: Estimate


@dataclass(frozen=True)
class ComparedCost:
    """A cost of two runs: the means over the cases that both have."""

    name: str
    first: float
    second: float


@dataclass(frozen=True)
class ComparedRun:
    """One of the two: its folder's name, and what it is of."""

    title: str
    program: RunManifest


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same cases.

    Attributes:
        first, second: which they are.
        cases: how many both have done; ``only_first``, ``only_second``: those that one has done and the other has not tried.
        figures: rates with paired intervals and exact tests.
        scores: figures that are no rates, with paired intervals.
        overhead: what a case cost.
    """

    first: ComparedRun
    second: ComparedRun
    cases: int
    only_first: int
    only_second: int
    figures: tuple[ComparedRate, ...]
    scores: tuple[ComparedScore, ...]
    overhead: tuple[ComparedCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON types."""
        return {"format": COMPARISON_FORMAT} | _fields(self)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The comparison that ``to_dict`` wrote.

        Raises:
            InputError: it is none, or one of another format.
        """
        return _parse(cls, data, COMPARISON_FORMAT)

    @property
    def heading(self) -> str:
        """How many cases both runs have."""
        return f"{self.cases} cases in common"

    @property
    def left_out(self) -> str:
        """Which cases that the first has done are in no figure; empty where there are none."""
        failed = next((figure.gained for figure in self.figures if figure.name == "failed cases"), 0)
        told = [f"{self.only_first} cases of {self.first.title} are not in {self.second.title}"] if self.only_first else []
        told += [f"{failed} cases failed in {self.second.title} alone"] if failed else []
        return f"{', and '.join(told)}: they are in no figure" if told else ""

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """Figure, first, second, difference and p of each figure, and what a case cost."""
        lines = []
        for figure in self.figures:
            change = figure.difference
            difference = f"{change.value:+.1%} ({change.low:+.1%} to {change.high:+.1%})" if change else "–"
            first, second = rate_text(figure.first), rate_text(figure.second)
            lines.append((figure.name, first, second, difference, p_text(figure.p_value).removeprefix("= ")))
        for score in self.scores:
            change = score.difference
            difference = f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
            lines.append((score.name, _score_text(score.first), _score_text(score.second), difference, ""))
        costs = [(cost.name, f"{cost.first:.4g}", f"{cost.second:.4g}", "", "") for cost in self.overhead]
        return lines + costs

    def _repr_html_(self) -> str:
        """A short table, for notebooks."""
        heads = ("figure", self.first.title, self.second.title, "difference", "p")
        return table(self.heading, self.table(), heads=heads)


def rate_text(rate: Rate) -> str:
    """A rate with its interval and its number of cases, as people read it."""
    return "no cases" if rate.value is None else f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}, n = {rate.n})"


def p_text(p_value: float) -> str:
    """How a p-value compares, as people read it."""
    return f"= {p_value:.3f}" if p_value >= 0.0005 else "< 0.001"


def _score_text(score: Estimate) -> str:
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def _fields(value: Any, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    return {f.name: _to_json(getattr(value, f.name)) for f in fields(value) if f.name not in leave_out}


def _to_json(value: Any) -> Any:
    """JSON types of a figure: a Rate and a manifest have their own."""
    if isinstance(value, Rate):
        return value.to_dict()
    if isinstance(value, RunManifest):
        return value.to_json()
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {name: _to_json(entry) for name, entry in value.items()}
    return [_to_json(entry) for entry in value] if isinstance(value, list | tuple) else value


def _parse(kind: type[T], data: Any, version: str) -> T:
    """A dataclass from what ``_fields`` wrote."""
    if not isinstance(data, Mapping) or data.get("format") != version:
        raise InputError(f"not a report of format {version}")
    try:
        return TypeAdapter(kind).validate_python({name: value for name, value in data.items() if name != "format"})
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(f"not a report of format {version}: {place}: {error.errors()[0]['msg']}") from None
