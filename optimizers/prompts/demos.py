"""Demos from the program's own successful corrections: what the critique and the revision saw and said when it went well."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from conscience.cases.case import Case
from conscience.modules.forms import with_field
from conscience.modules.outputs import text_field
from conscience.optimizers.objective import Row
from conscience.optimizers.prompts.candidate import CandidateProgram
from conscience.optimizers.runtime import Runtime

MOST = 3
"""Demos that a predictor is shown: each is read again at every call."""

Demo = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Demos to choose from, for each of the two predictors."""

    critique: tuple[Demo, ...]
    revise: tuple[Demo, ...]

    def sets(self, count: int, seed: int) -> list[tuple[list[Demo], list[Demo]]]:
        """Different choices of demos: for the revision, for the critique and for both in turn."""
        rng = random.Random(seed)
        chosen: list[tuple[list[Demo], list[Demo]]] = []
        for turn in range(6 * count):
            critique = _some(self.critique, rng) if turn % 3 else []
            revise = _some(self.revise, rng) if turn % 3 != 1 else []
            one = (critique, revise)
            if (critique or revise) and one not in chosen and len(chosen) < count:
                chosen.append(one)
        return chosen


def bootstrap(trial: CandidateProgram, cases: Sequence[Case], runtime: Runtime, most_calls: int) -> Found:
    """Runs the program on cases and keeps what its predictors did where the outcome was right.

    The critique's demos show both kinds: a wrong draft that was found out, and a right one that was let pass. A case with
    references gives the revision a person's rewrite where the program's own was not good enough.
    """

    def one(case: Case) -> tuple[list[tuple[str, Demo]], Row]:
        with dspy.context(trace=[]):
            prediction = trial(case=case)
            steps = list(dspy.settings.trace)
        taken = []
        for predictor, inputs, outputs in steps:
            name = "critique" if predictor is trial.critique else "revise" if predictor is trial.revise else ""
            if name:
                taken.append((name, {**inputs, **outputs.toDict()}))
        return taken, prediction.row

    critique: list[Demo] = []
    revise: list[Demo] = []
    signature = trial.program().generate.signature
    answer = text_field(signature)
    for case, done in zip(cases, runtime.each(cases, one, most_calls=most_calls), strict=False):
        if done is None:
            continue
        steps, row = done
        told = next((demo for name, demo in steps if name == "critique"), None)
        if told is not None and row["draft_ok"] is not None and bool(_findings(row)) != row["draft_ok"]:
            critique.append(told)
        changed = next((demo for name, demo in steps if name == "revise"), None)
        if changed is not None and not row["draft_ok"]:
            if row["outcome_ok"] and row["status"] == "revised":
                revise.append(changed)
            elif case.references:
                written = case.references[0]
                if signature is not None and answer is not None:  # in the form in which the program's answers are written
                    written = with_field(str(changed["response"]), signature, answer, written)
                revise.append({**changed, "response": written})
    return Found(tuple(critique), tuple(revise))


def set_demos(trial: CandidateProgram, critique: Sequence[Demo], revise: Sequence[Demo]) -> CandidateProgram:
    """A copy of a trial with these demos."""
    changed: CandidateProgram = trial.deepcopy()
    changed.critique.demos = [dspy.Example(**demo) for demo in critique]
    changed.revise.demos = [dspy.Example(**demo) for demo in revise]
    return changed


def _findings(row: Row) -> Sequence[Any]:
    found: Sequence[Any] = (row["verdict"] or {}).get("findings", ())
    return found


def _some(demos: Sequence[Demo], rng: random.Random) -> list[Demo]:
    return rng.sample(list(demos), rng.randint(1, min(MOST, len(demos)))) if demos else []
