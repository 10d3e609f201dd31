"""A compilation: drafts are collected, and stage after stage looks for something better. The result hangs on the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.optimizers.data.labeled_drafts import LabeledDraft, collect
from conscience.optimizers.data.splits import halves
from conscience.optimizers.feasibility import check_kinds
from conscience.optimizers.figures import GateFigures, Spent, StageFigures
from conscience.optimizers.gate.compiler import CompiledGate
from conscience.optimizers.gate.threshold import hold_out_for_threshold
from conscience.optimizers.stages.coverage import cover_principles
from conscience.optimizers.stages.gate import GateStage
from conscience.optimizers.stages.policy import PolicyStage
from conscience.optimizers.stages.prompts import PromptStage
from conscience.optimizers.stages.state import CompileState, Stage, accept_if_better
from conscience.optimizers.stages.trials import is_judgeable
from conscience.stats.bootstrap import bootstrap
from conscience.stats.metrics import auroc

FEWEST = 8
"""Drafts that an oracle can judge anew, below which nothing is said about prompts or policy."""
WRITING_STAGES: tuple[Stage, ...] = (PromptStage(), PolicyStage())
"""Stages that need another text to be judged."""


@dataclass(frozen=True)
class CompileResult:
    """What a compilation found out: ``compiled.compile_result``.

    Attributes:
        gate: what the compiled gate reaches; None where none was taken.
        stages: name → what was tried, and what was taken.
        notes: what the reader should know.
        drafts: what was learned from.
        interrupted: whether Ctrl-C ended it; the program is the best so far.
        exhausted: whether the budget ended before everything was tried.
        spent: what it cost, an earlier interrupted part included.
    """

    gate: GateFigures | None
    stages: dict[str, StageFigures]
    notes: tuple[str, ...]
    drafts: tuple[LabeledDraft, ...]
    interrupted: bool
    exhausted: bool
    spent: Spent

    def __deepcopy__(self, memo: Any) -> Self:
        """Nothing in it changes, so a copy of the program shares it."""
        return self


def run_stages(state: CompileState, cases: Sequence[Case], deciding: Sequence[Case] = ()) -> None:
    """All stages; ``state.program`` is the best so far at any time.

    Args:
        state: with the program that comes in.
        cases: to learn from.
        deciding: to compare prompts and policies on; without any, a part of the first.

    Raises:
        InputError: too few labels.
        BudgetExceeded: the budget ended outside of the work that is planned for.
        Interrupted: by Ctrl-C.
    """
    options, runtime = state.options, state.runtime
    check_kinds(cases)
    runtime.stage("drafts")
    state.drafts = collect(state.program, cases, runtime, options.oracle)
    if not state.drafts:
        raise InputError("nothing to learn from", hint="no case was left with a draft and a label")
    state.calibration_set = hold_out_for_threshold(state.drafts, options.target_fpr, options.seed)
    _run(GateStage(), state)
    cover_principles(state)
    _divide(state, collect(state.program, deciding, runtime, options.oracle) if deciding else [])
    if len(state.learning) + len(state.deciding) < FEWEST:
        state.notes.append("prompts and policy were left alone: no oracle can judge a new text for these cases")
        return
    for stage in WRITING_STAGES:
        _run(stage, state)


def _run(stage: Stage, state: CompileState) -> None:
    for proposal in stage.propose(state):
        accept_if_better(proposal, state)


def _divide(state: CompileState, deciding: Sequence[LabeledDraft]) -> None:
    """Drafts for which another text can be judged, to learn from and to decide on; those of the threshold do neither."""
    held_out = {draft.case.id for draft in state.calibration_set}
    state.learning = [draft for draft in state.drafts if draft.case.id not in held_out and is_judgeable(draft, state)]
    state.deciding = [draft for draft in deciding if is_judgeable(draft, state)]
    if not state.deciding and state.options.prompts != "off" and len(state.learning) >= FEWEST:
        state.learning, state.deciding = halves(state.learning, state.options.seed)


def gate_figures(gate: CompiledGate) -> GateFigures:
    """What a compiled gate reaches, on drafts that its estimators were not fitted on."""
    scored = list(zip(gate.probabilities, gate.drafts, strict=True))

    def reached(pairs: Sequence[tuple[float, LabeledDraft]]) -> float | None:
        return auroc([p for p, d in pairs if d.misaligned], [p for p, d in pairs if not d.misaligned])

    return GateFigures(
        cross_validated_auroc=gate.auroc,
        interval=bootstrap(scored, reached, clusters=[draft.cluster for _, draft in scored], draws=400),
        drafts=len(scored),
        own_drafts=reached([pair for pair in scored if pair[1].own]),
        given_responses=reached([pair for pair in scored if not pair[1].own]),
        alone=gate.alone,
        tokens_of_an_aligned_draft=gate.tokens,
        share_asked_by_stage=gate.shares,
        threshold=gate.threshold,
    )
