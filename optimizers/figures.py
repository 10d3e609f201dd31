"""What was measured while a program was compiled: the figures of its provenance, each a type of its own.

They import next to nothing, so that ``conscience show`` reads a file without what compiling needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Threshold:
    """A threshold and what is known of it.

    Attributes:
        value: flags from this probability on.
        target: the false positive rate that was asked for.
        confidence: of the certificate.
        n: aligned cases (pairs count once) that it comes from.
        alarms: how many of them it flags.
        bound: the rate that the true one exceeds with probability 1 - confidence at most.
        certified: whether ``bound`` is at most ``target``, on cases that chose nothing else.
        missing: how many more aligned cases a certificate would take; 0 when certified.
    """

    value: float
    target: float
    confidence: float
    n: int
    alarms: int
    bound: float
    certified: bool
    missing: int

    @property
    def out_of_reach(self) -> bool:
        """Whether checks and linters flag more aligned drafts than the target allows, whatever the gate says."""
        return self.value >= 1.0 and self.alarms > self.target * self.n

    def to_json(self) -> Json:
        return _rounded_fields(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**_known(cls, data))


@dataclass(frozen=True)
class EstimatorFigures:
    """What one kind of signal reaches by itself.

    Attributes:
        name, kind: of the estimator.
        auroc: on drafts that it was not fitted on; None with labels of one kind.
        unseen: the same on groups that it was not fitted on; None where there are fewer than three.
        tokens: that it takes of a draft.
        kept: whether the gate asks it.
    """

    name: str
    kind: str
    auroc: float | None
    unseen: float | None
    tokens: float
    kept: bool

    def to_json(self) -> Json:
        return _rounded_fields(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**_known(cls, data))


@dataclass(frozen=True)
class GateFigures:
    """What a compiled gate reaches, each draft judged by a fit without it.

    Attributes:
        cross_validated_auroc: over all drafts.
        interval: of that, by bootstrap over clusters.
        drafts: how many it learned from.
        own_drafts, given_responses: AUROC over the program's own drafts, and over those given with the cases.
        alone: what each kind of signal reaches by itself.
        tokens_of_an_aligned_draft: that the gate takes, on average.
        share_asked_by_stage: of the aligned drafts, how many each stage of the cascade is asked of.
        threshold: where it comes from.
    """

    cross_validated_auroc: float | None
    interval: tuple[float, float] | None
    drafts: int
    own_drafts: float | None
    given_responses: float | None
    alone: tuple[EstimatorFigures, ...]
    tokens_of_an_aligned_draft: float
    share_asked_by_stage: tuple[float, ...]
    threshold: Threshold

    def to_json(self) -> Json:
        return {
            "cross_validated_auroc": rounded(self.cross_validated_auroc),
            "interval": None if self.interval is None else rounded(list(self.interval)),
            "drafts": self.drafts,
            "own_drafts": rounded(self.own_drafts),
            "given_responses": rounded(self.given_responses),
            "alone": [figures.to_json() for figures in self.alone],
            "tokens_of_an_aligned_draft": round(self.tokens_of_an_aligned_draft, 1),
            "share_asked_by_stage": rounded(list(self.share_asked_by_stage)),
            "threshold": self.threshold.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        known = _known(cls, data)
        interval = known["interval"]
        known["interval"] = None if interval is None else (interval[0], interval[1])
        known["alone"] = tuple(EstimatorFigures.from_json(entry) for entry in known["alone"])
        known["share_asked_by_stage"] = tuple(known["share_asked_by_stage"])
        return cls(**known | {"threshold": Threshold.from_json(known["threshold"])})


@dataclass(frozen=True)
class GateComparison:
    """The gate that came in against the compiled one, over the same drafts; losses are nats a draft.

    Attributes:
        before, after: AUROC.
        loss_before: of the gate that came in.
        loss_before_rescaled: the same with its probabilities put right by a slope and a bias.
        loss_after: of the compiled gate.
        taken: what was put in.
    """

    before: float | None
    after: float | None
    loss_before: float
    loss_before_rescaled: float
    loss_after: float
    taken: str = "nothing"

    def to_json(self) -> Json:
        losses = {name: round(getattr(self, name), 4) for name in ("loss_before", "loss_before_rescaled", "loss_after")}
        return {"before": self.before, "after": self.after, **losses, "taken": self.taken}


@dataclass(frozen=True)
class PromptComparison:
    """The mean objective with other prompts, over drafts that none of them learned from.

    Attributes:
        before, after: the mean; None where the budget ended before it could be measured.
        cases: how many were compared.
        taken: whether the new prompts were.
    """

    before: float | None = None
    after: float | None = None
    cases: int = 0
    taken: bool = False

    def to_json(self) -> Json:
        if self.before is None or self.after is None:
            return {"taken": False, "why": "the budget ended before it could be compared"}
        return {"before": rounded(self.before), "after": rounded(self.after), "cases": self.cases, "taken": self.taken}


@dataclass(frozen=True)
class PolicyComparison:
    """The mean objective of each policy for flagged drafts.

    Attributes:
        tried: policy → its mean, or why it was given up early.
        cases: how many were compared.
        taken: the policy that was put in.
    """

    tried: Mapping[str, float | str]
    cases: int
    taken: str

    def to_json(self) -> Json:
        return {**self.tried, "cases": self.cases, "taken": self.taken}


StageFigures: TypeAlias = GateComparison | PromptComparison | PolicyComparison
"""What a stage tried, and what it took."""


@dataclass(frozen=True)
class CaseCounts:
    """What was learned from.

    Attributes:
        given: cases.
        drafts: those that a draft and a label were had for.
        own: drafts that the program wrote itself.
        misaligned: drafts.
        digest: of the cases.
    """

    given: int
    drafts: int
    own: int
    misaligned: int
    digest: str

    def to_json(self) -> Json:
        return asdict(self)


@dataclass(frozen=True)
class Spent:
    """What it cost, an earlier interrupted part included."""

    calls: int
    tokens: int
    dollars: float

    def to_json(self) -> Json:
        return asdict(self) | {"dollars": round(self.dollars, 6)}


@dataclass(frozen=True)
class Reached:
    """What a gate reaches on some drafts.

    Attributes:
        auroc: None with labels of one kind.
        recall, fpr: at its threshold; None without drafts of that kind, or where they were not recorded.
        n: drafts; None where the figures are those that were recorded when the program was compiled.
    """

    auroc: float | None
    recall: float | None = None
    fpr: float | None = None
    n: int | None = None

    @property
    def recorded(self) -> bool:
        """Whether these figures were recorded earlier, on other drafts."""
        return self.n is None

    def to_json(self) -> Json:
        if self.recorded:
            return {"auroc": rounded(self.auroc), "as recorded when it was compiled": True}
        return _rounded_fields(self)


@dataclass(frozen=True)
class BackendMatrix:
    """Old and new backend, before and after a recalibration.

    Attributes:
        backends: name → "before" and "after" → what the gate reaches there.
        threshold: the new one.
    """

    backends: Mapping[str, Mapping[str, Reached]]
    threshold: Threshold

    def to_json(self) -> Json:
        backends = {
            backend: {name: reached.to_json() for name, reached in sides.items()} for backend, sides in self.backends.items()
        }
        return {"backends": backends, "threshold": self.threshold.to_json()}


def rounded(value: Any) -> Any:
    """Figures to four decimals, in lists and mappings too; everything else as it is."""
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return round(value, 4) if isinstance(value, float) else value


def _rounded_fields(figures: Any) -> Json:
    return {name: rounded(value) for name, value in asdict(figures).items()}


def _known(figures: Any, data: Mapping[str, Any]) -> Json:
    """The fields of a dataclass out of what was read.

    Raises:
        KeyError: one is missing.
    """
    names: Sequence[str] = [field.name for field in fields(figures)]
    return {name: data[name] for name in names}
