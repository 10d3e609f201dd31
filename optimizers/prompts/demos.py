"""Demos from the program's own successful corrections: what the critique and the revision saw and said when it went well."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from conscience.cases.case import Case
from conscience.evals.records import CaseRecord
from conscience.modules.forms import with_field
from conscience.modules.outputs import text_field
from conscience.optimizers.prompts.candidate import CandidateProgram
from conscience.optimizers.prompts.trial import TrialRun, run_trials
from conscience.optimizers.runtime import Runtime

MOST = 3
"""Demos that a predictor is shown: each is read again at every call."""

Demo = dict[str, Any]


@dataclass(frozen=True)
class DemoPool:
    """Demos to choose from, for each of the two predictors."""

    critique: tuple[Demo, ...]
    revise: tuple[Demo, ...]

    def sets(self, count: int, seed: int) -> list[tuple[list[Demo], list[Demo]]]:
        """Different choices of demos: for the revision, for the critique and for both in turn."""
        rng = random.Random(seed)
        chosen: list[tuple[list[Demo], list[Demo]]] = []
        for turn in range(6 * count):
            critique = _sample(self.critique, rng) if turn % 3 else []
            revise = _sample(self.revise, rng) if turn % 3 != 1 else []
            choice = (critique, revise)
            if (critique or revise) and choice not in chosen and len(chosen) < count:
                chosen.append(choice)
        return chosen


def collect_demos(candidate: CandidateProgram, cases: Sequence[Case], runtime: Runtime, most_calls: int) -> DemoPool:
    """Runs the program on cases and keeps what its predictors did where the outcome was right.

    The critique's demos show both kinds: a wrong draft that it objected to, and a right draft that it let pass. A case with
    references gives the revision a person's rewrite where the program's own was not good enough.
    """

    critique: list[Demo] = []
    revise: list[Demo] = []
    signature = candidate.program().generate.signature
    answer = text_field(signature)
    runs = run_trials(candidate, cases, runtime, most_calls)
    for case, run in zip(cases, runs, strict=False):
        if run is None:
            continue
        record = run.record
        steps = [(step.predictor, {**step.inputs, **step.outputs}) for step in run.steps]
        criticised = next((demo for name, demo in steps if name == "critique"), None)
        if criticised is not None and record.draft_ok is not None and _has_findings(record) != record.draft_ok:
            critique.append(criticised)
        rewrites = [demo for name, demo in steps if name == "revise"]
        if rewrites and not record.draft_ok:
            if record.outcome_ok and record.status == "revised":
                revise += [demo for demo in rewrites if _was_returned(demo, run)][:1]
            elif case.references:
                written = case.references[0]
                if signature is not None and answer is not None:  # in the form in which the program's answers are written
                    written = with_field(str(rewrites[0]["response"]), signature, answer, written)
                revise.append({**rewrites[0], "response": written})
    return DemoPool(tuple(critique), tuple(revise))


def set_demos(candidate: CandidateProgram, critique: Sequence[Demo], revise: Sequence[Demo]) -> CandidateProgram:
    """A copy of a candidate with these demos."""
    changed: CandidateProgram = candidate.deepcopy()
    changed.critique.demos = [dspy.Example(**demo) for demo in critique]
    changed.revise.demos = [dspy.Example(**demo) for demo in revise]
    return changed


def _was_returned(demo: Demo, run: TrialRun) -> bool:
    """Whether it is the revision that passed: several may be drawn, and several rounds made."""
    return str(demo["response"]).strip() == run.revision.strip()


def _has_findings(record: CaseRecord) -> bool:
    return record.verdict is not None and bool(record.verdict.findings)


def _sample(demos: Sequence[Demo], rng: random.Random) -> list[Demo]:
    return rng.sample(list(demos), rng.randint(1, min(MOST, len(demos)))) if demos else []
