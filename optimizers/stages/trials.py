"""Trials: a program run on the cases of labelled drafts, for the stages that compare programs."""

from __future__ import annotations

from collections.abc import Sequence

from conscience.cases.case import Case
from conscience.errors import BudgetExceeded
from conscience.evals.oracles.named import oracle_for
from conscience.evals.records import CaseRecord
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.objective import value
from conscience.optimizers.prompts.candidate import CandidateProgram
from conscience.optimizers.runtime import calls_of_program, calls_of_ruling
from conscience.optimizers.stages.state import CompileState
from conscience.program import Conscience


def candidate_of(program: Conscience, state: CompileState) -> CandidateProgram:
    """A program whose gate, on each draft, is one that was fitted without it."""
    return CandidateProgram(program, state.options.oracle, state.gates_without)


def run_on(program: Conscience, drafts: Sequence[LabeledDraft], state: CompileState) -> list[CaseRecord | None]:
    """The record of each draft's case; None where the program failed, and shorter where the budget ended.

    A text that a spent budget left unreviewed says nothing of the program.
    """
    candidate = candidate_of(program, state)

    def record_of(case: Case) -> CaseRecord:
        record: CaseRecord = candidate(case=case).record
        if record.status == "unreviewed" and state.runtime.spent:
            raise BudgetExceeded("the budget is spent")
        return record

    return state.runtime.each([draft.case for draft in drafts], record_of, most_calls=calls_of_trial(program, state))


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
