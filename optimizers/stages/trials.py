"""Trials: a program run on the cases of labelled drafts, for the stages that compare programs."""

from __future__ import annotations

from collections.abc import Sequence

from conscience.evals.oracles.named import oracle_for
from conscience.evals.records import CaseRecord
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.objective import value
from conscience.optimizers.prompts.candidate import CandidateProgram
from conscience.optimizers.prompts.trial import run_trials
from conscience.optimizers.runtime import calls_of_program, calls_of_ruling
from conscience.optimizers.stages.state import CompileState
from conscience.program import Conscience


def candidate_of(program: Conscience, state: CompileState) -> CandidateProgram:
    """A program whose gate, on each draft, is one that was fitted without it."""
    return CandidateProgram(program, state.options.oracle, state.gates_without)


def run_on(program: Conscience, drafts: Sequence[LabeledDraft], state: CompileState) -> list[CaseRecord | None]:
    """The record of each draft's case; None where the program failed, and shorter where the budget ended."""
    cases, calls = [draft.case for draft in drafts], calls_of_trial(program, state)
    runs = run_trials(candidate_of(program, state), cases, state.runtime, calls)
    return [None if run is None else run.record for run in runs]


def calls_of_trial(program: Conscience, state: CompileState) -> int:
    """The most calls of one run on a case: the program's, and the rulings on draft and outcome."""
    calls = calls_of_program(program)
    return calls.generate + calls.correct + 2 * calls_of_ruling(state.options.oracle)


def is_judgeable(draft: LabeledDraft, state: CompileState) -> bool:
    """Whether something can judge another text for the case, which its label cannot."""
    case = draft.case
    if state.options.oracle is None and oracle_for(case) is None:
        return False
    return case.response is None or case.is_mendable


def was_gated(record: CaseRecord | None) -> bool:
    """Whether the gate flagged the draft."""
    return record is not None and record.verdict is not None and record.verdict.gated


def mean_value(records: Sequence[CaseRecord]) -> float:
    """The mean objective, to four decimals: what differs by less is the same."""
    return round(sum(map(value, records)) / len(records), 4)
