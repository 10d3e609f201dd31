"""Trials: a candidate program on one case, for any executor: what came of it, what its predictors were given and said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import dspy

from conscience._base.flow import run_async
from conscience.cases.case import Case
from conscience.distributed.data import is_json
from conscience.distributed.programs import program_data
from conscience.distributed.tasks import Codec, Shared, Task
from conscience.errors import ConfigurationError
from conscience.evals.grading import evaluate_case
from conscience.evals.oracles.sending import oracle_data, oracle_on
from conscience.evals.records import CaseRecord
from conscience.evals.tasks import CASES, RECORDS
from conscience.gate.settings import GateSettings
from conscience.optimizers.prompts.candidate import CandidateProgram, Predictor
from conscience.optimizers.runtime import Runtime


class TrialCase(NamedTuple):
    """A case, and the gate that was fitted without it, where there is one."""

    case: Case
    gate: GateSettings | None = None


class Step(NamedTuple):
    """One use of a predictor: what it was given, and what it said."""

    predictor: Predictor
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class TrialRun:
    """What came of one case.

    Attributes:
        record: as any run would write it.
        steps: of critique and revision, in order.
        revision: the last revision's text; empty where there was none.
    """

    record: CaseRecord
    steps: tuple[Step, ...]
    revision: str

    def to_data(self) -> dict[str, Any]:
        """As JSON types."""
        steps = [list(step) for step in self.steps]
        if not is_json(steps):
            raise ConfigurationError("what a predictor was given cannot be sent: JSON cannot say it")
        return {"record": RECORDS.to_data(self.record), "steps": steps, "revision": self.revision}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """What ``to_data`` wrote."""
        return cls(RECORDS.from_data(data["record"]), tuple(Step(*step) for step in data["steps"]), data["revision"])


class Trial(Task[TrialCase, TrialRun]):
    """Runs a candidate on a case.

    Args:
        candidate: on the runtime's models.
    """

    by_batch = False  # a search asks for its next candidate when it has seen this one
    items = Codec(lambda item: _item_data(item), lambda data: _item_from_data(data))
    results = Codec(TrialRun.to_data, TrialRun.from_data)

    def __init__(self, candidate: CandidateProgram) -> None:
        self._candidate = candidate

    async def __call__(self, item: TrialCase) -> TrialRun:
        oracle = self._candidate.oracle_of(item.case)
        with dspy.context(trace=[]):
            record = await run_async(evaluate_case(self._candidate.program(item.gate), item.case, oracle))
            steps = tuple(_steps(self._candidate, dspy.settings.trace))
        return TrialRun(record, steps, record.revisions[-1].draft.text if record.revisions else "")

    def to_data(self) -> dict[str, Any]:
        return {"program": program_data(self._candidate.program()), "oracle": oracle_data(self._candidate.oracle)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Self:
        return cls(CandidateProgram(shared.open(data["program"]), oracle_on(data["oracle"], shared)))


def run_trials(
    candidate: CandidateProgram, cases: Sequence[Case], runtime: Runtime, most_calls: int
) -> list[TrialRun | None]:
    """What comes of each case; None where the program failed, and shorter where the budget ended.

    A text that a spent budget left unreviewed says nothing of the program.
    """
    items = [TrialCase(case, candidate.gate_for(case)) for case in cases]
    runs = runtime.each(items, Trial(candidate), most_calls=most_calls)
    for number, run in enumerate(runs):
        if runtime.spent and run is not None and run.record.status == "unreviewed":
            runtime.exhausted = True
            return runs[:number]
    return runs


def _steps(candidate: CandidateProgram, trace: Sequence[Any]) -> list[Step]:
    """What critique and revision did, from DSPy's trace."""
    names: dict[int, Predictor] = {id(candidate.critique): "critique", id(candidate.revise): "revise"}
    return [
        Step(names[id(predictor)], dict(inputs), outputs.toDict())
        for predictor, inputs, outputs in trace
        if id(predictor) in names
    ]


def _item_data(item: TrialCase) -> dict[str, Any]:
    gate = None if item.gate is None else item.gate.model_dump(mode="json")
    return {"case": CASES.to_data(item.case), "gate": gate}


def _item_from_data(data: Mapping[str, Any]) -> TrialCase:
    gate = None if data["gate"] is None else GateSettings.model_validate(data["gate"])
    return TrialCase(CASES.from_data(data["case"]), gate)
