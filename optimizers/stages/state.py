"""What the stages of a compilation share, and the one rule by which something better takes the place of what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from conscience.artifacts.scores import ScoreSummary
from conscience.evals.oracles.grade import Oracle
from conscience.gate.settings import GateSettings
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.data.splits import in_order
from conscience.optimizers.figures import StageFigures
from conscience.optimizers.gate.compiler import CompiledGate
from conscience.optimizers.objective import wins
from conscience.optimizers.prompts.search import Method
from conscience.optimizers.runtime import Runtime
from conscience.program import Conscience


@dataclass(frozen=True)
class Effort:
    """How much a compilation tries.

    Attributes:
        pool: questions that are measured.
        questions: how many of them the gate may ask.
        proposals: questions that a model is asked to propose, where there is one for it.
        runs: program runs of each search over prompts.
        control: whether random search runs beside GEPA, at an equal budget.
        compared: drafts at most on which prompts and policy are compared.
    """

    pool: int
    questions: int
    proposals: int
    runs: int
    control: bool
    compared: int


EFFORTS: Mapping[str, Effort] = {
    "light": Effort(pool=12, questions=3, proposals=0, runs=60, control=False, compared=40),
    "medium": Effort(pool=32, questions=4, proposals=16, runs=200, control=True, compared=120),
    "heavy": Effort(pool=96, questions=6, proposals=48, runs=600, control=True, compared=240),
}


@dataclass(frozen=True)
class CompileOptions:
    """What was asked for.

    Attributes:
        effort: how much to try.
        target_fpr: the highest false positive rate wanted.
        embeddings: models that may embed.
        prompts: how instructions and demos are searched.
        proposes: whether a model was named for the role propose.
        oracle: decides in place of each case's own.
        seed: of all that is drawn.
    """

    effort: Effort
    target_fpr: float = 0.05
    embeddings: tuple[str, ...] = ()
    prompts: Method = "off"
    proposes: bool = False
    oracle: Oracle | None = None
    seed: int = 0


@dataclass
class CompileState:
    """One compilation under way.

    Attributes:
        program: the best so far, on the runtime's models.
        runtime: pays.
        options: what was asked for.
        drafts: all that are learned from, those of the calibration set included.
        calibration_set: drafts that choose nothing but the threshold.
        learning: drafts on which prompts are searched.
        deciding: drafts on which prompts and policy are compared; empty: the same ones.
        gate: the compiled gate; None where none was taken.
        gates_without: case id → a gate that was fitted without the case: see ``CandidateProgram``.
        scores: what the program's gate made of the drafts; None where that is not known.
        stages: name → what was tried, and what was taken.
        notes: what the reader should know.
    """

    program: Conscience
    runtime: Runtime
    options: CompileOptions
    drafts: list[LabeledDraft] = field(default_factory=list)
    calibration_set: list[LabeledDraft] = field(default_factory=list)
    learning: list[LabeledDraft] = field(default_factory=list)
    deciding: list[LabeledDraft] = field(default_factory=list)
    gate: CompiledGate | None = None
    gates_without: Mapping[str, GateSettings] = field(default_factory=dict)
    scores: ScoreSummary | None = None
    stages: dict[str, StageFigures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def shuffled(self, drafts: Sequence[LabeledDraft]) -> list[LabeledDraft]:
        """Drafts in an order drawn by the seed, those of a cluster together."""
        return [draft for cluster in in_order(drafts, self.options.seed) for draft in cluster]

    def to_compare_on(self) -> list[LabeledDraft]:
        """The drafts that decide about prompts and policy, as many as the effort allows."""
        return self.shuffled(self.deciding or self.learning)[: self.options.effort.compared]


@dataclass(frozen=True)
class Proposal:
    """A program that may be better, and what it was measured to be worth.

    Attributes:
        program: with the change in it.
        values: its value on each draft, the higher the better.
        incumbent: the value of what it would replace, on the same drafts.
        clusters: of the drafts.
        lead: by how much it is ahead, on average, of the best proposal that was accepted before it.
    """

    program: Conscience
    values: Sequence[float]
    incumbent: Sequence[float]
    clusters: Sequence[str]
    lead: float = float("inf")


class Stage(Protocol):
    """Looks for something better in one place.

    It yields a proposal, and may see from ``state.program`` whether that was accepted before it yields the next one. What
    it tried goes into ``state.stages``, what it could not try into ``state.notes``.
    """

    def propose(self, state: CompileState) -> Iterator[Proposal]: ...


def accept_if_better(proposal: Proposal, state: CompileState) -> bool:
    """The one rule: a proposal is taken when it is ahead of all before it and wins a paired comparison with the incumbent,
    beyond chance, on drafts that it did not learn from."""
    ahead = proposal.lead > 0
    if ahead and wins(proposal.values, proposal.incumbent, proposal.clusters, seed=state.options.seed):
        state.program = proposal.program
        return True
    return False
