"""The gate's stage: questions are measured, a gate is compiled, and it is compared with the one that came in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from conscience.artifacts.scores import ScoreSummary
from conscience.backends.embeddings import runs_in_process
from conscience.errors import InputError
from conscience.gate.decisions import MOST as MOST_QUESTIONS
from conscience.gate.questions import Question
from conscience.gate.settings import GateSettings
from conscience.messages.rendering import request_text
from conscience.optimizers.data.splits import in_order
from conscience.optimizers.figures import GateComparison, Threshold
from conscience.optimizers.gate import incumbent
from conscience.optimizers.gate.compiler import CompiledGate, compile_gate, summarized, with_alarms
from conscience.optimizers.gate.distributions import questions_read
from conscience.optimizers.gate.logistic import Array, log_losses, log_odds_of, sigmoid
from conscience.optimizers.gate.question_bank import REASONED, of_parts, pool, propose_questions
from conscience.optimizers.gate.signal_matrix import SignalMatrix, measure
from conscience.optimizers.gate.threshold import estimated
from conscience.optimizers.runtime import calls_of_program
from conscience.optimizers.stages.state import CompileState, Proposal
from conscience.stats.metrics import auroc

GATES = 4
"""Gates that are fitted on all but a part of the drafts, to judge that part: see ``CandidateProgram``."""
SHARE = 0.6
"""Of the calls that are left, what questions may take."""
WRITTEN_SCORES = 4
"""Questions at most for a model that answers with a written score instead of one token."""
EXAMPLES = 12
"""Labelled exchanges that a model is shown when it proposes questions, and the characters of each text."""
CHARACTERS = 300
AT_ONCE = 16
"""Questions that are asked for in one call."""
OF_PARTS = 3
"""Questions that are asked about each part of drafts that come with a reasoning."""
CALLS_PER_DRAFT = 4
"""Calls for each draft that must be left before questions are proposed: more questions than can be measured are no use."""


class GateStage:
    """Compiles a gate; offers it, or else the old gate with its probabilities put right."""

    def propose(self, state: CompileState) -> Iterator[Proposal]:
        matrix = _measured(state)
        state.runtime.stage("gate")
        try:
            compiled = _compile(matrix, state)
        except InputError as error:
            state.notes.append(f"the gate was left alone: {error.message}")
            return
        finally:
            state.notes += _flagged_before(matrix)
        yield from self._compared(compiled, matrix, state)
        state.runtime.best = "" if compiled.auroc is None else f"AUROC {compiled.auroc:.3f}"

    def _compared(self, compiled: CompiledGate, matrix: SignalMatrix, state: CompileState) -> Iterator[Proposal]:
        """The compiled gate first, unless the old one rescaled loses less; then that one."""
        state.runtime.stage("comparing gates")
        came_in, drafts = state.program, compiled.drafts
        labels = np.array([float(draft.misaligned) for draft in drafts])
        clusters = [draft.cluster for draft in drafts]
        odds = incumbent.log_odds(came_in, drafts, state.runtime)
        if odds is None:
            state.notes.append("the budget did not reach to measure the gate that came in: it was left as it was")
            return
        scaled = incumbent.platt_scaled(odds, labels, np.array(compiled.sample_weight), clusters)
        before, rescaled = log_losses(odds, labels), log_losses(scaled.odds, labels)
        after = log_losses(log_odds_of(np.array(compiled.probabilities)), labels)
        figures = GateComparison(
            before=_auroc(odds, labels),
            after=compiled.auroc,
            loss_before=float(before.mean()),
            loss_before_rescaled=float(rescaled.mean()),
            loss_after=float(after.mean()),
        )
        state.stages["gate"] = figures
        if after.mean() <= rescaled.mean():
            offered = came_in.with_gate(compiled.settings)
            yield Proposal(offered, list(-after), list(-before), clusters)
            if state.program is offered:
                state.stages["gate"] = replace(figures, taken="the compiled gate")
                state.gate, state.scores = compiled, compiled.scores
                state.gates_without = _gates_without(matrix, state)
                return
        threshold = _threshold(scaled, compiled, state.options.target_fpr)
        offered = came_in.with_gate(_rescaled(came_in.gate_settings, scaled, threshold, compiled))
        yield Proposal(offered, list(-rescaled), list(-before), clusters)
        if state.program is offered:
            state.stages["gate"] = replace(figures, taken="the old gate, its probabilities put right")
            state.scores = _summarized(scaled.odds, compiled, threshold.value, state)
        else:
            state.scores = _summarized(odds, compiled, came_in.gate_settings.threshold, state)


def _summarized(odds: Array, compiled: CompiledGate, threshold: float, state: CompileState) -> ScoreSummary | None:
    scored = list(zip(compiled.drafts, map(float, sigmoid(odds)), strict=True))
    scored += [(draft, 1.0) for draft in compiled.flagged]
    return summarized(scored, threshold, target_fpr=state.options.target_fpr)


def _threshold(scaled: incumbent.PlattScaled, compiled: CompiledGate, target_fpr: float) -> Threshold:
    """The threshold for probabilities that were put right."""
    of_each = zip(sigmoid(scaled.odds), compiled.drafts, strict=True)
    aligned = [(float(p), draft) for p, draft in of_each if not draft.misaligned]
    scores, drafts = with_alarms([p for p, _ in aligned], [draft for _, draft in aligned], compiled.flagged)
    pairs, weights = [draft.cluster for draft in drafts], [draft.case.weight for draft in drafts]
    return estimated(scores, target_fpr, pairs=pairs, weights=weights)


def _rescaled(
    settings: GateSettings, scaled: incumbent.PlattScaled, threshold: Threshold, compiled: CompiledGate
) -> GateSettings:
    """The old gate with its probabilities put right, and a threshold for them."""
    changes = {"threshold": min(1.0, threshold.value), "backend": compiled.settings.backend}
    return incumbent.with_scale(settings, scaled.slope, scaled.bias).model_copy(update=changes)


def _flagged_before(matrix: SignalMatrix) -> list[str]:
    """Tells what never reaches the gate."""
    if not matrix.flagged:
        return []
    misaligned = sum(draft.misaligned for draft in matrix.flagged)
    aligned = len(matrix.flagged) - misaligned
    return [
        f"checks or linters flag {misaligned} misaligned and {aligned} aligned drafts before the gate, so it learns nothing "
        "from these; the aligned ones count as false alarms in its threshold"
    ]


def _compile(matrix: SignalMatrix, state: CompileState) -> CompiledGate:
    return compile_gate(
        matrix,
        backend=state.program.roles.backend("review").name,
        target_fpr=state.options.target_fpr,
        calibration_set=state.calibration_set,
        most_questions=state.options.effort.questions,
        critique=state.program.gate_settings.critique,
    )


def _measured(state: CompileState) -> SignalMatrix:
    """The matrix: as many questions as effort and budget allow, of which the gate's part is three fifths of what is left,
    once the gate that came in is measured too."""
    state.runtime.stage("questions")
    candidates, embeddings, distributions = _affordable(_candidates(state), state)
    reviewer = state.program.roles.backend("review")
    if not reviewer.decides and not reviewer.supports("logprobs"):
        candidates = candidates[:WRITTEN_SCORES]  # a written score costs a short answer
    # Shuffled, so that a budget that ends early leaves a fair sample.
    matrix = measure(
        state.shuffled(state.drafts), candidates, embeddings, state.program, state.runtime, distributions=distributions
    )
    if missing := len(candidates) - len(matrix.questions):
        state.notes.append(f"{missing} questions were left out: many drafts got neither Yes nor No")
    return matrix


def _candidates(state: CompileState) -> list[Question]:
    """The pool; where drafts come with a reasoning, its first questions about either part as well, next to them."""
    candidates = pool(state.program.constitution, _proposed(state))
    reasoned = sum(bool(labeled.draft.reasoning) for labeled in state.drafts)
    if reasoned < REASONED * len(state.drafts):
        return candidates
    return [*candidates[:OF_PARTS], *of_parts(candidates[:OF_PARTS]), *candidates[OF_PARTS:]]


def _affordable(
    candidates: Sequence[Question], state: CompileState
) -> tuple[Sequence[Question], Sequence[str], Sequence[Question]]:
    """The questions, the embedding models, and the questions whose candidates are read, that the budget allows for every
    draft."""
    reviewer = state.program.roles.backend("review")
    candidates, embeddings = candidates[: state.options.effort.pool], state.options.embeddings
    distributions = questions_read(state.program.constitution, begun=reviewer.supports("begun_answers"))
    if reviewer.decides or not reviewer.supports("logprobs"):
        distributions = []
    if (left := state.runtime.calls_left) is None:
        return candidates, embeddings, distributions
    served = sum(not runs_in_process(model) for model in embeddings)
    left -= calls_of_program(state.program).gate * len(state.drafts)
    per_draft = max(0, int(SHARE * left)) // len(state.drafts)
    if per_draft < served:
        embeddings = tuple(model for model in embeddings if runs_in_process(model))
    per_draft -= served
    distributions = distributions[: max(0, per_draft // 2)]  # the rest is for questions, of which each may be another
    a_call = MOST_QUESTIONS if reviewer.decides else 1
    return candidates[: a_call * max(0, per_draft - len(distributions))], embeddings, distributions


def _proposed(state: CompileState) -> list[str]:
    """Questions that a model proposes after a few labelled exchanges; none of the calibration set is among these."""
    proposals = state.options.effort.proposals
    affordable = state.runtime.affords(CALLS_PER_DRAFT * len(state.drafts))
    if not (state.options.proposes and proposals and affordable):
        return []
    shown = [draft for draft in state.shuffled(state.drafts) if draft not in state.calibration_set][:EXAMPLES]
    examples = "\n\n".join(
        f"{'broke' if labeled.misaligned else 'kept'} them. Request: "
        f"{request_text(labeled.draft.request)[:CHARACTERS]}\nAnswer: {labeled.draft.response[:CHARACTERS]}"
        for labeled in shown
    )
    questions: list[str] = []
    for salt in range(proposals // AT_ONCE):
        model = state.runtime.bind(state.program, "propose")
        questions += propose_questions(state.program.constitution, examples, model, count=AT_ONCE, salt=salt)
    return list(dict.fromkeys(questions))


def _gates_without(matrix: SignalMatrix, state: CompileState) -> dict[str, GateSettings]:
    """Case id → a gate fitted on other cases than it and its pair."""
    held_out = {draft.case.id for draft in state.calibration_set}
    clusters = in_order([draft for draft in matrix.drafts if draft.case.id not in held_out], state.options.seed)
    part_of = {draft.case.id: number % GATES for number, cluster in enumerate(clusters) for draft in cluster}
    gates: dict[str, GateSettings] = {}
    for part in range(GATES):
        others = [i for i, draft in enumerate(matrix.drafts) if part_of.get(draft.case.id, -1) != part]
        try:
            settings = _compile(matrix.only(others), state).settings
        except InputError:
            continue
        gates |= {case_id: settings for case_id, its_part in part_of.items() if its_part == part}
    return gates


def _auroc(odds: Array, labels: Array) -> float | None:
    return auroc(list(odds[labels == 1]), list(odds[labels == 0]))
