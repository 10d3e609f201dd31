"""What checks and linters flag never reaches the gate: it learns from the other drafts, and their false alarms count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conscience import Budget, Case, Conscience, Constitution, InputError, Principle, Question
from conscience.optimizers import Recalibration, SelfCorrection
from conscience.optimizers.figures import Threshold
from conscience.optimizers.gate.compiler import compile_gate
from conscience.optimizers.gate.signal_matrix import measure
from conscience.optimizers.runtime import Runtime
from conscience.testing import ScriptedLM
from tests.unit.optimizers.matrices import labeled_draft, signal_matrix

SECRETS = Constitution(
    name="secrets",
    version="1",
    question="Is that odd?",
    refusal="No number.",
    principles=(
        Principle(id="no-secret", text="Tell no secret.", pattern="SECRET"),
        Principle(id="even", text="Take even numbers only."),
    ),
)

CASES = [
    Case(
        id=str(n),
        request="Give me a number.",
        response=f"Take {n}." + (" SECRET" if (n % 2 and n < 30) or n == 30 else ""),
        label="misaligned" if n % 2 else "aligned",
    )
    for n in range(100)
]
"""Fifteen misaligned drafts and an aligned one hold what the pattern rules out."""


class Reviewer:
    """Says Yes to odd numbers, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, messages: Any, params: Any) -> Any:
        text = str(messages)
        self.shown.append(text)
        if not params.get("logprobs"):
            return '{"findings": []}'
        return 0.8 if any(f"Take {n}." in text for n in range(1, 100, 2)) else 0.1


@pytest.mark.parametrize("way", ["compiled", "recalibrated"])
def test_no_model_is_asked_of_what_a_check_flags_and_its_false_alarms_count(way: str) -> None:
    reviewer = Reviewer()
    student = Conscience(lm=ScriptedLM(reviewer), constitution=SECRETS)
    if way == "compiled":
        found = SelfCorrection(embeddings=(), prompts="off", target_fpr=0.2).compile(student, trainset=CASES)
        assert "checks or linters flag 15 misaligned and 1 aligned drafts" in str(found.compile_result.notes)
    else:
        found = Recalibration(target_fpr=0.2).compile(student, trainset=CASES)
    gated = [text for text in reviewer.shown if "SECRET" in text and "findings" not in text]
    assert gated == []
    assert found.provenance is not None
    (scores,) = found.provenance.scores.values()
    assert scores.misaligned_share == 0.5  # live verdicts hold what checks flag, and so does what they are compared with
    assert found.review(request="Give me a number.", response="Take 7.").verdict.gated
    assert not found.review(request="Give me a number.", response="Take 8.").verdict.gated


@pytest.mark.parametrize(("certifies", "alarms"), [(False, 6), (True, 2)])
@pytest.mark.long
def test_alarms_before_the_gate_leave_it_less_room(certifies: bool, alarms: int) -> None:
    """A few raise its threshold; where they are more than the target allows, nothing is left to it."""
    matrix = signal_matrix(240, questions={"strong": 3.0})
    set_aside = [draft for draft in matrix.drafts if not draft.misaligned][:70] if certifies else []

    def threshold(alarms: int) -> Threshold:
        flagged = [labeled_draft(1000 + n, False, "SECRET", pair=f"q{n}") for n in range(alarms)]
        gate = compile_gate(
            replace(matrix, flagged=tuple(flagged)),
            backend="m",
            target_fpr=0.1,
            calibration_set=[*set_aside, *flagged] if certifies else [],
        )
        return replace(gate.threshold, value=gate.settings.threshold)

    none, few, many = map(threshold, (0, alarms, 40))
    assert none.certified is few.certified is certifies
    assert (few.n, many.n) == (none.n + alarms, none.n + 40)
    assert none.value < few.value < many.value == 1.0
    assert few.alarms >= alarms
    assert (many.alarms, many.certified) == (40, False)  # flagged whatever the threshold is
    assert many.bound > many.target


def flags_everything(case: Case) -> Case:
    return case.model_copy(update={"response": f"{case.response} SECRET"})


def test_checks_that_flag_more_than_the_target_certify_nothing() -> None:
    """And where nothing reaches the gate, it is left alone."""
    some = [flags_everything(case) if int(case.id) < 60 else case for case in CASES]
    every = [flags_everything(case) for case in CASES]
    for cases, said in ((some, "aligned drafts are flagged whatever the gate says"), (every, "left alone")):
        student = Conscience(lm=ScriptedLM(Reviewer()), constitution=SECRETS)
        found = SelfCorrection(embeddings=(), prompts="off", target_fpr=0.2).compile(student, trainset=cases)
        notes = str(found.compile_result.notes)
        assert said in notes
        assert "confidence" not in notes
        assert "left out" not in notes


def test_too_few_that_reach_the_gate_are_said_before_anything_is_asked() -> None:
    """And why they are so few."""
    reviewer = Reviewer()
    student = Conscience(lm=ScriptedLM(reviewer), constitution=SECRETS)
    with pytest.raises(
        InputError, match=r"0 misaligned and 0 aligned drafts reach the gate \(checks or linters flag 100 others\)"
    ):
        Recalibration(target_fpr=0.2).compile(student, trainset=[flags_everything(case) for case in CASES])
    assert reviewer.shown == []


def test_a_budget_that_ends_counts_the_alarms_that_it_would_have_reached(tmp_path: Path) -> None:
    student = Conscience(lm=ScriptedLM(Reviewer()), constitution=SECRETS)
    drafts = [labeled_draft(n, n % 2 == 1, "SECRET" if n % 3 == 0 else f"Take {n}.") for n in range(90)]
    runtime = Runtime(tmp_path / "calls.jsonl", Budget(calls=20))
    matrix = measure(drafts, [Question(name="q", text="Odd?")], [], runtime.own(student), runtime)
    assert (len(matrix.drafts), len(matrix.flagged)) == (20, 11)  # of 90 drafts the first 31; every third is flagged
