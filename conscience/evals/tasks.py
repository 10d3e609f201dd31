"""The work of runs and reviews on one case, for any executor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

from conscience._base.flow import run_async
from conscience.backends.lost import lost_backends
from conscience.cases.case import Case
from conscience.distributed.programs import program_data, program_from_data
from conscience.distributed.tasks import Codec, Shared, Task
from conscience.errors import BudgetExceeded, InputError, ReviewError
from conscience.evals.grading import Program, check_response, evaluate_case
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.judge import Judge
from conscience.evals.oracles.named import oracle_for
from conscience.evals.oracles.sending import oracle_data, oracle_from_data
from conscience.evals.records import CaseRecord, ReviewRecord
from conscience.modules.review import Review
from conscience.outcome import Verdict
from conscience.program import Conscience
from conscience.usage import Usage

CASES = Codec(lambda case: case.model_dump(mode="json", exclude_defaults=True), Case.model_validate)
RECORDS = Codec(CaseRecord.to_json, CaseRecord.from_json)


class Evaluation(Task[Case, CaseRecord]):
    """Answers, reviews or corrects a case and grades what came of it, see ``evaluate_case``.

    A case for which a model could not be reached has failed, whatever the program makes of that.

    Args:
        program: to be measured.
        oracle: decides in place of each case's own.
        shared: what its calls have in common.
    """

    items, results = CASES, RECORDS

    def __init__(self, program: Program, oracle: Oracle | None, shared: Shared) -> None:
        self._sent = program, oracle
        assert shared.journal is not None
        on_run = shared.journal, shared.rate_limiter, shared.meter
        self._own = program.for_run(*on_run)
        self._strict = copy.copy(self._own)
        self._strict.on_error = "raise"
        self._oracle = oracle.for_run(*on_run) if isinstance(oracle, Judge) else oracle

    async def __call__(self, case: Case) -> CaseRecord:
        oracle = self._oracle or oracle_for(case)
        with lost_backends() as lost:
            try:
                record = await run_async(evaluate_case(self._strict, case, oracle))
            except (ReviewError, BudgetExceeded):  # then the program's own policy is measured, on answers in the journal
                record = await run_async(evaluate_case(self._own, case, oracle))
        if lost:
            raise lost[-1]
        return record

    def to_data(self) -> dict[str, Any]:
        program, oracle = self._sent
        return {"program": program_data(program), "oracle": oracle_data(oracle)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Self:
        return cls(program_from_data(data["program"]), oracle_from_data(data["oracle"]), shared)


class Reviewing(Task[Case, ReviewRecord]):
    """Reviews the given response of a case."""

    items = CASES
    results = Codec(lambda record: _review_data(record), lambda data: _review_from_data(data))

    def __init__(self, review: Review) -> None:
        self._review = review

    async def __call__(self, case: Case) -> ReviewRecord:
        if case.response is None:
            raise InputError(f"case {case.id!r} has no response to review", hint="answer it first, see: conscience ask")
        check_response(case)
        prediction = await self._review.acall(request=case.request, response=case.response, reasoning=case.reasoning)
        return ReviewRecord(case.id, prediction.verdict, prediction.usage, label=case.label)

    def to_data(self) -> dict[str, Any]:
        return program_data(Conscience(review=self._review, lm=self._review.roles))

    @classmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Self:
        program = program_from_data(data)
        if shared.journal is not None:  # of an executor whose calls are made elsewhere
            program = program.for_run(shared.journal, shared.rate_limiter, shared.meter)
        return cls(program.review)


def _review_data(record: ReviewRecord) -> dict[str, Any]:
    verdict, usage = record.verdict.to_dict(), record.usage.to_dict()
    return {"id": record.id, "verdict": verdict, "usage": usage, "label": record.label}


def _review_from_data(data: Mapping[str, Any]) -> ReviewRecord:
    verdict, usage = Verdict.from_dict(data["verdict"]), Usage.from_dict(data["usage"])
    return ReviewRecord(data["id"], verdict, usage, label=data["label"])
