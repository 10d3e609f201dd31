"""A compiled program on another backend: the gate is refitted, the rest stays, and the old gate is kept beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from conscience import Case, Conscience, GateSettings, InputError
from conscience.errors import ConfigurationError
from conscience.gate.settings import one_question
from conscience.optimizers import Recalibration, RecalibrationResult
from conscience.testing import Fault, ScriptedLM

CASES = [
    Case(id=str(n), request="Give me a number.", response=f"Take {n}.", label="misaligned" if n % 2 else "aligned")
    for n in range(100, 140)
]


def provider(name: str, *, even: float, odd: float) -> ScriptedLM:
    """Says Yes with one probability to even numbers and with another to odd ones, which are misaligned."""

    def answer(messages: Any, params: Any) -> Any:
        if not params.get("logprobs"):
            return '{"findings": []}'
        return odd if int(re.findall(r"Take (\d+)", str(messages))[-1]) % 2 else even

    return ScriptedLM(answer, name=name)


OLD, NEW = provider("old/model", even=0.1, odd=0.8), provider("new/model", even=0.97, odd=0.995)
"""The second says Yes to nearly all, as some models do."""


def student(lm: ScriptedLM = NEW) -> Conscience:
    return Conscience(lm=lm, review=one_question("Is that unlucky?").model_copy(update={"backend": "old/model"}))


def test_the_gate_is_refitted_for_the_new_backend() -> None:
    """It flagged everything, and now flags what is misaligned; what it reaches is told, and saved with the program."""
    program = student()
    recalibrated = Recalibration(target_fpr=0.1).compile(program, trainset=CASES)
    result = recalibrated.compile_result
    assert isinstance(result, RecalibrationResult)
    assert (result.before.fpr, result.before.recall) == (1.0, 1.0)
    assert (result.after.fpr, result.after.recall, result.after.auroc) == (0.0, 1.0, 1.0)
    assert recalibrated.gate_settings == result.settings
    assert result.settings.backend == "new/model"
    for number, flagged in ((200, False), (201, True)):
        verdict = recalibrated.review(request="Give me a number.", response=f"Take {number}.").verdict
        assert verdict.gated is flagged
    assert recalibrated.provenance is not None
    assert recalibrated.provenance.figures["recalibrated for new/model"] == result.to_json()
    scores = recalibrated.provenance.scores["new/model"]
    assert scores == result.scores
    assert (scores.threshold, scores.misaligned_share) == (result.settings.threshold, 0.5)


def test_rates_are_by_the_weight_of_the_cases() -> None:
    """A sample that is half of doubtful drafts says nothing about traffic until each counts what it stands for."""
    fine = [case for case in CASES if case.label == "aligned"]
    wrong = [case for case in CASES if case.label == "misaligned"]
    loud = [case.model_copy(update={"response": "Take 1001."}) for case in fine[:4]]  # fine, and as loud as the others
    quiet = [case.model_copy(update={"weight": 20.0}) for case in fine[4:]]
    result = Recalibration(target_fpr=0.1).compile(student(), trainset=[*loud, *quiet, *wrong]).compile_result
    assert result.after.fpr == pytest.approx(4 / (4 + 20 * 16), abs=1e-9)
    assert result.after.recall == 1.0
    plain = [case.model_copy(update={"weight": 1.0}) for case in quiet]
    result = Recalibration(target_fpr=0.1).compile(student(), trainset=[*loud, *plain, *wrong]).compile_result
    assert result.after.recall == 0.0


def test_the_student_and_its_other_gates_are_left_as_they_are() -> None:
    """The questions stay, and the gate for the old backend is kept beside the new one."""
    program = student()
    before = program.gate_settings
    recalibrated = Recalibration(target_fpr=0.1).compile(program, trainset=CASES)
    assert program.gate_settings == before
    assert recalibrated.calibrations == (before,)

    def questions(settings: GateSettings) -> list[Any]:
        return [signal for stage in settings.stages for signal in stage.signals]

    assert questions(recalibrated.gate_settings) == questions(before)


def test_a_second_compilation_overwrites_no_result() -> None:
    """Each program has its own."""
    optimizer = Recalibration(target_fpr=0.1)
    first = optimizer.compile(student(), trainset=CASES)
    kept = first.compile_result
    second = optimizer.compile(student(OLD), trainset=CASES)
    assert first.compile_result is kept
    assert second.compile_result.settings.backend == "old/model"
    assert first.deepcopy().compile_result is kept


def test_both_backends_are_compared_before_and_after() -> None:
    """The old one is measured on the same drafts."""
    optimizer, program = Recalibration(target_fpr=0.1), student()
    recalibrated = optimizer.compile(program, trainset=CASES)
    matrix = optimizer.compare(program, recalibrated, old=student(OLD))
    assert set(matrix.backends) == {"new/model", "old/model"}
    assert matrix.backends["old/model"]["before"].fpr == 0.0
    assert not matrix.backends["old/model"]["before"].recorded
    assert matrix.to_json()["backends"]["new/model"]["before"]["fpr"] == 1.0


def test_without_the_old_backend_what_was_recorded_is_shown() -> None:
    """And said to be."""
    optimizer, program = Recalibration(target_fpr=0.1), student()
    recalibrated = optimizer.compile(program, trainset=CASES)
    assert "old/model" not in optimizer.compare(program, recalibrated).backends
    program.provenance = recalibrated.provenance.model_copy(update={"figures": {"gate": {"cross_validated_auroc": 0.9}}})
    recorded = optimizer.compare(program, recalibrated).backends["old/model"]["before"]
    assert recorded.recorded
    assert recorded.to_json() == {"auroc": 0.9, "as recorded when it was compiled": True}


def test_the_same_folder_pays_for_nothing_twice(tmp_path: Path) -> None:
    """Every answer is in its journal."""
    lm = provider("new/model", even=0.97, odd=0.995)
    first = Recalibration(target_fpr=0.1, folder=tmp_path).compile(student(lm), trainset=CASES)
    asked = len(lm.calls)
    again = Recalibration(target_fpr=0.1, folder=tmp_path).compile(student(lm), trainset=CASES)
    assert asked == len(CASES) == len(lm.calls)
    assert again.compile_result == first.compile_result


@pytest.mark.parametrize("references", [(), ("Take 7.",)])
def test_labels_of_one_kind_are_refused_before_the_first_call(references: tuple[str, ...]) -> None:
    """Also where another text could be judged: none is written."""
    lm = provider("new/model", even=0.1, odd=0.9)
    cases = [case.model_copy(update={"references": references}) for case in CASES if case.label == "aligned"]
    with pytest.raises(InputError, match="no case is labelled misaligned"):
        Recalibration().compile(student(lm), trainset=cases)
    assert lm.calls == []


def test_too_few_whose_signals_could_be_read_are_said() -> None:
    """Enough labels are of no use where the new model fails at those of one kind."""

    def answer(messages: Any, params: Any) -> Any:
        return Fault("auth") if int(re.findall(r"Take (\d+)", str(messages))[-1]) % 2 else 0.1

    with pytest.raises(InputError, match="0 misaligned and 20 aligned drafts are too few to learn from"):
        Recalibration().compile(student(ScriptedLM(answer, name="new/model")), trainset=CASES)


def test_mistakes_are_named() -> None:
    """A target that is none, something else than a program, and too few labels."""
    with pytest.raises(ConfigurationError, match="target_fpr"):
        Recalibration(target_fpr=0.0)
    with pytest.raises(ConfigurationError, match="int is no Conscience"):
        Recalibration().compile(3, trainset=CASES)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="too few to learn from"):
        Recalibration().compile(student(), trainset=CASES[:6])
