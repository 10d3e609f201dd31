"""A candidate program: one case in, its record out. What DSPy's optimizers are given to work on.

Only the predictors that are to be changed show: the critique's and the revision's. Changing how drafts are written would
change what the gate was calibrated on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import dspy

from conscience._base.flow import run_sync
from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.evals.grading import evaluate_case
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.named import oracle_for
from conscience.gate.settings import Calibration, GateSettings
from conscience.program import Conscience

Predictor = Literal["critique", "revise"]
"""Those of a program that are compiled."""


class _Shared:
    """Holds a program where DSPy does not look for predictors, and is not copied with what holds it."""

    def __init__(self, program: Conscience, oracle: Oracle | None, gates: Mapping[str, GateSettings]) -> None:
        self.program, self.oracle, self.gates = program, oracle, gates

    def __deepcopy__(self, memo: Any) -> _Shared:
        return self


class CandidateProgram(dspy.Module):  # type: ignore[misc]
    """Runs a program on cases.

    Args:
        program: on the models of the compilation.
        oracle: decides in place of each case's own.
        gates: case id → a gate that was fitted without the case. A gate knows the drafts that it learned from too well: what
            to do with its verdicts could not be told from them.
    """

    def __init__(
        self, program: Conscience, oracle: Oracle | None = None, gates: Mapping[str, GateSettings] | None = None
    ) -> None:
        super().__init__()
        self.critique = program.review.critique.predict
        self.revise = program.revise.predict
        self._shared = _Shared(program, oracle, gates or {})

    @property
    def lm(self) -> Any:
        """The LM that criticises and revises."""
        return self._shared.program.roles.backend("revise").lm

    def forward(self, case: Case) -> dspy.Prediction:
        """One case; its record is beside the prediction's fields, as ``record``.

        Raises:
            InputError: nothing says what is right for it.
            ConscienceError: the program failed on it.
        """
        oracle = self.oracle_of(case)
        record = run_sync(evaluate_case(self.program(self.gate_for(case)), case, oracle))
        response = record.outcome.text if record.outcome else None
        prediction = dspy.Prediction(response=response, status=record.status)
        prediction.__dict__["record"] = record
        return prediction

    @property
    def oracle(self) -> Oracle | None:
        """What decides in place of each case's own."""
        return self._shared.oracle

    def oracle_of(self, case: Case) -> Oracle:
        """What decides about a case.

        Raises:
            InputError: nothing says what is right for it.
        """
        oracle = self._shared.oracle or oracle_for(case)
        if oracle is None:
            raise InputError(f"case {case.id!r}: nothing says what is right")
        return oracle

    def gate_for(self, case: Case) -> GateSettings | None:
        """The gate that was fitted without a case."""
        return self._shared.gates.get(case.id)

    def program(self, gate: GateSettings | None = None) -> Conscience:
        """The program with this candidate's predictors, and with another gate to judge a case where one is given."""
        program = copy.copy(self._shared.program)
        review, program.revise = copy.copy(program.review), copy.copy(program.revise)
        program.review, review.critique = review, copy.copy(review.critique)
        review.critique.predict, program.revise.predict = self.critique, self.revise
        if gate is not None:
            policy = review.gate_settings
            settings = gate.model_copy(
                update={name: getattr(policy, name) for name in ("critique", "override_threshold", "coverage_threshold")}
            )
            review.gate = copy.copy(review.gate)
            review.gate.calibration = Calibration(settings)
        return program


def example(case: Case) -> dspy.Example:
    """A case as DSPy's optimizers take it."""
    return dspy.Example(case=case).with_inputs("case")
