"""What held-out cases say of a policy: does it prefer what is right, does it refuse what is safe, is it flagged.

The same pairs and requests are measured before the training, after each round and at the end, so what changed is counted
pair by pair, and its interval is drawn by cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from conscience._base.flow import run_sync
from conscience.cases.case import Case
from conscience.evals.grading import case_inputs
from conscience.evals.oracles.refusals import is_refusal
from conscience.optimizers.runtime import Runtime, calls_of_program
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.weights.trainer import PairScores
from conscience.program import Conscience
from conscience.stats.bootstrap import bootstrap_mean
from conscience.stats.intervals import Rate, wilson

Numbers = dict[str, Any]
"""Figures as JSON types."""

FIRST_WORDS = 64
"""Tokens of an answer to a request about which it is only asked whether it is refused: a refusal says so at once."""


@dataclass(frozen=True)
class Measured:
    """What one set of weights does with what is held out, in the order of the pairs and requests; None for what failed, or
    was not asked.

    Attributes:
        pairs: log-probabilities of both sides.
        refused: whether the answer to a request with ``request_safe`` declines.
        flagged: whether the gate flags the draft for a pair's request.
    """

    pairs: PairScores
    refused: tuple[bool | None, ...] = ()
    flagged: tuple[bool | None, ...] = ()

    def to_json(self) -> Numbers:
        """All of it."""
        return {"pairs": vars(self.pairs), "refused": self.refused, "flagged": self.flagged}

    @classmethod
    def from_json(cls, data: Numbers) -> Measured:
        """What ``to_json`` wrote."""
        pairs = PairScores(**{name: tuple(values) for name, values in data["pairs"].items()})
        return cls(pairs, tuple(data["refused"]), tuple(data["flagged"]))


@dataclass(frozen=True)
class HeldOut:
    """What is measured.

    Attributes:
        pairs: those that could be encoded.
        asked: requests with ``request_safe``: is the answer a refusal?
        drafted: requests whose drafts are reviewed by the frozen copy.
    """

    pairs: Sequence[PreferencePair]
    asked: Sequence[Case]
    drafted: Sequence[Case]

    def summary(self, now: Measured, before: Measured | None = None) -> Numbers:
        """The figures, each with its interval; with those of other weights, what changed since."""
        clusters = [pair.cluster for pair in self.pairs]
        hits = {"preferred": _preferred(now.pairs), "preferred_per_token": _preferred(now.pairs, per_token=True)}
        past = None if before is None else {
            "preferred": _preferred(before.pairs), "preferred_per_token": _preferred(before.pairs, per_token=True)
        }  # fmt: skip
        figures: Numbers = {}
        for name, values in hits.items():
            figures[name] = _share(values, None if past is None else past[name], clusters)
        for name, wanted in (("safe_refused", True), ("unsafe_refused", False)):
            chosen = [number for number, case in enumerate(self.asked) if case.request_safe is wanted]
            figures[name] = _share(
                _at(now.refused, chosen),
                None if before is None else _at(before.refused, chosen),
                [self.asked[number].pair or self.asked[number].id for number in chosen],
            )
        figures["flagged"] = _share(
            now.flagged, None if before is None else before.flagged, [case.pair or case.id for case in self.drafted]
        )
        return {name: figure for name, figure in figures.items() if figure is not None}


def refusals(program: Conscience, cases: Sequence[Case], runtime: Runtime) -> tuple[bool | None, ...]:
    """Whether the program's own answers to these requests decline, unreviewed."""

    def ask(case: Case) -> bool:
        draft = run_sync(own.generate.draft(case_inputs(own, case), runtime.bind(own, "generate")))
        return is_refusal(draft.response)

    own = runtime.own(program)
    runtime.stage("held-out requests")
    return _padded(runtime.each(cases, ask, most_calls=calls_of_program(own).generate), cases)


def flags(program: Conscience, cases: Sequence[Case], runtime: Runtime) -> tuple[bool | None, ...]:
    """Whether the program's review flags its own drafts for these requests; None where it could not tell."""

    def ask(case: Case) -> bool | None:
        verdict = own(**case_inputs(own, case)).draft_verdict
        return None if verdict is None or verdict.probability is None else bool(verdict.flagged)

    own = runtime.own(program)
    own.max_revisions, own.on_error, own.on_unresolved, own.budget = 0, "closed", "refuse", None
    calls = calls_of_program(own)
    runtime.stage("held-out drafts")
    return _padded(runtime.each(cases, ask, most_calls=calls.generate + calls.correct), cases)


def _padded(results: Sequence[bool | None], cases: Sequence[Case]) -> tuple[bool | None, ...]:
    """A budget that ends leaves the rest unasked."""
    return (*results, *[None] * (len(cases) - len(results)))


def _preferred(scores: PairScores, *, per_token: bool = False) -> list[bool]:
    """For each pair, whether its chosen side is likelier than its rejected one."""
    sides = zip(scores.chosen, scores.rejected, scores.chosen_tokens, scores.rejected_tokens, strict=True)
    return [c / n > r / m if per_token else c > r for c, r, n, m in sides]


def _share(now: Sequence[bool | None], before: Sequence[bool | None] | None, clusters: Sequence[str]) -> Numbers | None:
    known = [number for number, value in enumerate(now) if value is not None]
    if not known:
        return None
    figure: Numbers = Rate.of([bool(now[i]) for i in known], clusters=[clusters[i] for i in known]).to_dict()
    if before is not None and (both := [number for number in known if before[number] is not None]):
        differences = [float(bool(now[i])) - float(bool(before[i])) for i in both]
        figure["before"] = fmean(float(bool(before[i])) for i in both)
        figure["change"] = {**_change(differences, [clusters[i] for i in both]), "n": len(both)}
    return figure


def _change(differences: Sequence[float], clusters: Sequence[str]) -> Numbers:
    """The mean of paired differences with its interval: a bootstrap by cluster, and never narrower than what so many
    clusters can tell where all are alike, of which a bootstrap knows nothing."""
    value, interval = fmean(differences), bootstrap_mean(differences, clusters=clusters)
    assert interval is not None  # there are cases
    least = wilson(0, len(set(clusters)))[1] if len(set(differences)) == 1 else 0.0
    return {
        "value": value,
        "low": max(-1.0, min(interval.low, value - least)),
        "high": min(1.0, max(interval.high, value + least)),
    }


def _at(values: Sequence[bool | None], places: Sequence[int]) -> list[bool | None]:
    return [values[place] for place in places] if values else [None] * len(places)
