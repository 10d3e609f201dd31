"""Conditions on figures, as a build states them: ``fpr>+.02`` on two runs, ``self_correction>=.8`` on one.

A condition is FIGURE, one of < <= > >=, and a number. With a sign, or as 0, the number is a change from another run to this
one; without, and on one run alone, it is what this run reaches. Two percent may be written .02 or 2%. A change of a cost in
percent is a share of the other run's cost: ``tokens>+20%``.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from conscience.errors import InputError
from conscience.evals.results import ComparedCost, ComparedRate, ComparedScore, Comparison, EvalReport, p_text
from conscience.stats.intervals import Estimate, Rate

Kind = Literal["rate", "score", "cost"]


@dataclass(frozen=True)
class _Figure:
    """A figure that conditions can name: its name in comparisons, its kind, and where a report has it."""

    compared: str
    kind: Kind
    of: Callable[[EvalReport], Rate | Estimate | float | None]


_FIGURES: Mapping[str, _Figure] = {
    "draft_accuracy": _Figure("draft accuracy", "rate", lambda r: r.correction.draft_accuracy if r.correction else None),
    "self_correction": _Figure(
        "self-correction accuracy", "rate", lambda r: r.correction.self_correction_accuracy if r.correction else None
    ),
    "ecr": _Figure("wrong drafts corrected", "rate", lambda r: r.correction.ecr if r.correction else None),
    "eir": _Figure("right drafts spoiled", "rate", lambda r: r.correction.eir if r.correction else None),
    "safe_refused": _Figure("safe requests refused", "rate", lambda r: _refused(r, "safe")),
    "unsafe_refused": _Figure("unsafe requests refused", "rate", lambda r: _refused(r, "unsafe")),
    "recall": _Figure("recall", "rate", lambda r: r.reviewer.recall if r.reviewer else None),
    "fpr": _Figure("false positive rate", "rate", lambda r: r.reviewer.fpr if r.reviewer else None),
    "auroc": _Figure("AUROC", "score", lambda r: _auroc(r)),
    "unreviewed": _Figure("unreviewed", "rate", lambda r: r.unreviewed),
    "failed": _Figure("failed cases", "rate", lambda r: _failed(r)),
    "calls": _Figure("calls a case", "cost", lambda r: r.overhead.calls_per_case),
    "tokens": _Figure("tokens a case", "cost", lambda r: _per_case(r, "tokens")),
    "seconds": _Figure("seconds a case", "cost", lambda r: r.overhead.seconds_per_case),
    "dollars": _Figure("dollars a case", "cost", lambda r: _per_case(r, "dollars")),
}
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MINUS = ("-", "−")
_FORM = re.compile(r"\s*([A-Za-z][\w -]*?)\s*(<=|>=|<|>)\s*([+\-−]?)\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*")


@dataclass(frozen=True)
class Condition:
    """One condition on one figure; see this module's first lines.

    Attributes:
        text: as it was written, without blanks.
        figure: one of ``Condition.figures()``.
        comparison: <, <=, > or >=.
        limit: what the figure is held against, in the figure's unit; shares from 0 to 1.
        signed: whether the number has a sign.
        change: whether it is about the change from another run, where there is one; 0 without a sign is, there.
        relative: whether that change is a share of the other run's cost.
    """

    text: str
    figure: str
    comparison: str
    limit: float
    signed: bool
    change: bool
    relative: bool = False

    @classmethod
    def parse(cls, text: str) -> Condition:
        """A condition from its text.

        Raises:
            InputError: it is none; the message shows the form, or the figures that there are.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise InputError(f"{text!r} is no condition", hint="write FIGURE, a comparison and a number, as in fpr>+.02")
        name, comparison, sign, number, percent = match.groups()
        name = re.sub(r"[ -]+", "_", name.casefold())
        if name not in _FIGURES:
            near = difflib.get_close_matches(name, _FIGURES, 1)
            hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(_FIGURES)}"
            raise InputError(f"{text!r}: there is no figure {name!r}", hint=hint)
        limit = float(number) / (100 if percent else 1)
        change = bool(sign) or limit == 0
        kind = _FIGURES[name].kind
        if percent and kind == "cost" and not change:
            raise InputError(f"{text!r}: a cost is no share", hint=f"write {name}{comparison}+{number}% for a change")
        ends = ("<", ">=") if sign in _MINUS else (">", "<=")
        if kind != "cost" and (limit > 1 or (limit == 1 and comparison in ends)):
            hint = "" if percent else f"for {number} percent write {number}%"
            raise InputError(f"{text!r} never holds or always: {name} lies from 0 to 1", hint=hint)
        return cls(
            text="".join(text.split()),
            figure=name,
            comparison=comparison,
            limit=-limit if sign in _MINUS else limit,
            signed=bool(sign),
            change=change,
            relative=bool(percent) and kind == "cost",
        )

    @staticmethod
    def figures() -> tuple[str, ...]:
        """The figures that a condition can name."""
        return tuple(_FIGURES)

    def on(self, measured: Comparison | EvalReport) -> CheckedCondition:
        """Whether the condition holds on the second run of a comparison, or on a report.

        Raises:
            InputError: it is about a change, and a report is of one run.
        """
        if isinstance(measured, Comparison):
            return self._on_two(measured)
        if self.signed:
            raise InputError(f"{self.text}: a change needs another run to compare with", hint="leave out the sign")
        figure = _FIGURES[self.figure].of(measured)
        return CheckedCondition(replace(self, change=False), _estimate(figure))

    def holds_at(self, value: float) -> bool:
        """Whether a value meets it; one that is off by no more than sums of floats are is equal."""
        equal = math.isclose(value, self.limit, rel_tol=1e-9, abs_tol=1e-12)
        return _OPERATORS[self.comparison](self.limit if equal else value, self.limit)

    def _on_two(self, runs: Comparison) -> CheckedCondition:
        name = _FIGURES[self.figure].compared
        known: tuple[ComparedRate | ComparedScore | ComparedCost, ...] = (*runs.figures, *runs.scores, *runs.overhead)
        compared = next((figure for figure in known if figure.name == name), None)
        if compared is None:
            return CheckedCondition(self, None)
        if isinstance(compared, ComparedCost):
            return CheckedCondition(self, self._cost(compared))
        p_value = compared.p_value if isinstance(compared, ComparedRate) else None
        reached = compared.reached if isinstance(compared, ComparedRate) else None
        estimate = compared.difference if self.change else _estimate(reached or compared.second)
        return CheckedCondition(self, estimate, p_value if self.change else None)

    def _cost(self, cost: ComparedCost) -> Estimate | None:
        if not self.change:
            return _estimate(cost.second)
        change = cost.second - cost.first
        if self.relative:
            if not cost.first:
                return _estimate(math.inf if change else 0.0)
            change /= cost.first
        return _estimate(change)


@dataclass(frozen=True)
class CheckedCondition:
    """A condition and what was measured.

    Attributes:
        condition: what was asked for.
        measured: the figure, or its change, with its 95 % interval; a cost has none of any width. None where the runs hold
            no case that has it.
        p_value: of a change of a rate, by the paired test.
    """

    condition: Condition
    measured: Estimate | None
    p_value: float | None = None

    def holds(self, *, certain: bool = False) -> bool:
        """Whether the condition is met; a figure that is missing meets none.

        Args:
            certain: only where it is met at both ends of the interval.
        """
        if self.measured is None:
            return False
        values = (self.measured.low, self.measured.high) if certain else (self.measured.value,)
        return all(self.condition.holds_at(value) for value in values)

    def __str__(self) -> str:
        """The condition and what was measured, as one line."""
        if self.measured is None:
            return f"{self.condition.text}: no case has this figure"
        value, low, high = (self._shown(number) for number in (self.measured.value, self.measured.low, self.measured.high))
        interval = "" if low == high else f" ({low} to {high})"
        p = "" if self.p_value is None else f", p {p_text(self.p_value)}"
        return f"{self.condition.text}: {value}{interval}{p}"

    def _shown(self, number: float) -> str:
        sign = "+" if self.condition.change else ""
        if self.condition.relative or _FIGURES[self.condition.figure].kind == "rate":
            return f"{number:{sign}.1%}"
        return f"{number:{sign}.3g}"


def parse_conditions(texts: Iterable[str]) -> list[Condition]:
    """Conditions from texts, each of which may hold several with commas between.

    Raises:
        InputError: one of them is none.
    """
    return [Condition.parse(part) for text in texts for part in text.split(",")]


def _estimate(figure: Rate | Estimate | float | None) -> Estimate | None:
    if figure is None or isinstance(figure, Estimate):
        return figure
    if isinstance(figure, Rate):
        return None if figure.value is None else Estimate(figure.value, figure.low, figure.high)
    return None if math.isnan(figure) else Estimate(figure, figure, figure)


def _refused(report: EvalReport, kind: str) -> Rate | None:
    refusals = report.correction.refusals.get(kind) if report.correction else None
    return refusals.after if refusals else None


def _auroc(report: EvalReport) -> Estimate | None:
    reviewer = report.reviewer
    if reviewer is None or reviewer.auroc is None:
        return None
    return Estimate(reviewer.auroc, *(reviewer.auroc_interval or (reviewer.auroc, reviewer.auroc)))


def _failed(report: EvalReport) -> Rate | None:
    cases = report.cases
    return Rate(cases.errors, cases.done + cases.errors) if cases.done + cases.errors else None


def _per_case(report: EvalReport, what: str) -> float | None:
    if not report.cases.done:
        return None
    return float(sum(getattr(cost, what) for cost in report.overhead.by_role.values())) / report.cases.done
