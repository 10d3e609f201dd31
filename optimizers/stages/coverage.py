"""Keeps every principle able to fire: a gate compiled from cases knows nothing of principles that none of them breaks.

This stage does not look for something better, so nothing is proposed: it adds the question about the principles behind the
compiled gate, with a threshold that none of the aligned drafts at hand reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

from conscience.gate.rules import RulesQuestion
from conscience.gate.settings import sigmoid
from conscience.optimizers.data.labeled_drafts import LabeledDraft, divided
from conscience.optimizers.gate.readings import ReadDraft
from conscience.optimizers.runtime import Runtime
from conscience.optimizers.stages.state import CompileState
from conscience.program import Conscience

MARGIN = 0.01
"""Probability by which the threshold lies above the highest of an aligned draft."""
LEAST, MOST = 0.5, 0.999
"""The threshold's bounds; the upper one also where the budget does not reach to measure."""


def cover_principles(state: CompileState) -> None:
    """Adds the question to a compiled gate that asks of no principle.

    The embedded model is left alone: it says Yes to that question whatever the answer is, so a note says what is not asked.
    """
    settings = state.program.gate_settings
    if state.gate is None or settings.names_the_principles:
        return
    if state.program.roles.backend("review").name == "local":
        state.notes.append("principles that no case breaks are not asked about: the embedded model cannot tell them apart")
        return
    reaching, _ = divided(state.drafts, state.program)
    threshold = coverage_threshold(state.program, reaching, state.runtime)
    state.program = state.program.with_gate(settings.model_copy(update={"coverage_threshold": threshold}))
    state.notes.append(f"one more question asks about each principle, and flags from {threshold:.3f} on")


def coverage_threshold(program: Conscience, drafts: Sequence[LabeledDraft], runtime: Runtime) -> float:
    """The threshold of the question about the principles: no aligned draft reaches it; ``MOST`` where that is not measured
    for all of them."""
    question = RulesQuestion.of(program.constitution, "principles")
    aligned = [draft for draft in drafts if not draft.misaligned]
    if not aligned or not runtime.affords(len(aligned)):
        return MOST
    runtime.stage("principles")
    answers = runtime.each([labeled.draft for labeled in aligned], ReadDraft(program, [question]), most_calls=1)
    read = [sigmoid(value) for answer in answers if answer is not None and (value := answer.values[0]) is not None]
    if not read or len(answers) < len(aligned):
        return MOST
    return round(min(MOST, max(LEAST, max(read) + MARGIN)), 4)
