"""What GEPA works on: a candidate's instructions, tried on batches of cases by the executor, and what went wrong there."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gepa.core.adapter import EvaluationBatch

from conscience.cases.case import Case
from conscience.optimizers.objective import feedback, value
from conscience.optimizers.prompts.candidate import CandidateProgram, Predictor
from conscience.optimizers.prompts.trial import TrialRun, run_trials
from conscience.optimizers.runtime import Runtime

Instructions = Mapping[str, str]
"""Predictor → its instructions."""

Propose = Callable[[Instructions, Mapping[str, Any], Sequence[str]], dict[str, str]]


class TrialAdapter:
    """GEPA's view of a program; see ``gepa.GEPAAdapter``.

    Args:
        start: the candidate to begin with.
        runtime: pays.
        most_calls: the most calls of one run on a case.
        propose: writes new instructions of some predictors, from the old ones and what was seen of each.
        seed: of the steps that are shown where a predictor took several.
    """

    def __init__(self, start: CandidateProgram, runtime: Runtime, most_calls: int, propose: Propose, seed: int) -> None:
        self._start, self._runtime, self._most_calls = start, runtime, most_calls
        self._rng = random.Random(seed)
        self.propose_new_texts = propose

    def candidate(self, instructions: Instructions) -> CandidateProgram:
        """The program with these instructions."""
        made: CandidateProgram = self._start.deepcopy()
        for name, predictor in made.named_predictors():
            predictor.signature = predictor.signature.with_instructions(instructions[name])
        return made

    def evaluate(
        self, batch: Sequence[Case], candidate: Instructions, capture_traces: bool = False
    ) -> EvaluationBatch[TrialRun | None, TrialRun | None]:
        """Runs a candidate on some cases; one that failed, or that the budget left out, scores 0."""
        found = run_trials(self.candidate(candidate), batch, self._runtime, self._most_calls)
        runs = [*found, *[None] * (len(batch) - len(found))]
        return EvaluationBatch(
            outputs=runs, scores=[score(run) for run in runs], trajectories=runs if capture_traces else None
        )

    def make_reflective_dataset(
        self, candidate: Instructions, eval_batch: EvaluationBatch[Any, Any], components_to_update: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """What each predictor was given, what it said, and what was right or wrong about it.

        Raises:
            ValueError: none of them was used.
        """
        shown = {name: self._seen(name, eval_batch.trajectories or ()) for name in components_to_update}
        if not any(shown.values()):
            raise ValueError("no run used one of these predictors")
        return {name: seen for name, seen in shown.items() if seen}

    def _seen(self, name: str, runs: Sequence[TrialRun | None]) -> list[dict[str, Any]]:
        predictor: Predictor = "critique" if name == "critique" else "revise"
        seen = []
        for run in runs:
            if run is not None and (steps := [step for step in run.steps if step.predictor == predictor]):
                step = self._rng.choice(steps)
                seen.append(
                    {
                        "Inputs": {field: str(given) for field, given in step.inputs.items()},
                        "Generated Outputs": {field: str(said) for field, said in step.outputs.items()},
                        "Feedback": feedback(predictor, run.record),
                    }
                )
        return seen


def score(run: TrialRun | None) -> float:
    """The objective of a run, 0 to 1."""
    return 0.0 if run is None else max(0.0, min(1.0, value(run.record, overhead=False)))
