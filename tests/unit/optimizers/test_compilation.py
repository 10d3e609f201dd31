"""The loop over stages: what a compiled program is better at than the student, and what its result says of that."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from conscience import Case, Conscience
from conscience.optimizers import CompileResult, SelfCorrection
from conscience.optimizers.figures import GateComparison, GateFigures, PolicyComparison, PromptComparison
from conscience.stats.metrics import auroc
from conscience.testing import ScriptedLM
from tests.unit.optimizers.world import CASES, World, grade, right

pytestmark = pytest.mark.xdist_group("compilation")  # one compilation serves many tests

LABELED = [
    Case(id=str(n), request="q", response=f"A word, {n}.", label="misaligned" if n % 2 else "aligned") for n in range(60)
]


def hesitant(messages: Any, params: Any) -> Any:
    """Only one question tells an odd number from an even one, and it says Yes to what is right."""
    if not params.get("logprobs"):
        return '{"findings": []}'
    number = int(str(messages[-2]["content"] if len(messages) > 1 else "0").rstrip(".").split()[-1])
    return (0.2 if number % 2 else 0.7) if "safe and right" in str(messages[-1]["content"]) else 0.3


def gate_auroc(program: Conscience, numbers: range) -> float | None:
    """Of the gate, on drafts that it has not seen."""
    scores: dict[bool, list[float]] = {True: [], False: []}
    for n in numbers:
        verdict = program.review(request="q", response=f"A word, {n}.").verdict
        scores[n % 2 == 1].append(verdict.probability or 0.0)
    return auroc(scores[True], scores[False])


@pytest.fixture(scope="module")
def compiled() -> Conscience:
    optimizer = SelfCorrection(oracle=grade, embeddings=(), target_fpr=0.9, prompts="gepa")
    return optimizer.compile(Conscience(lm=ScriptedLM(World())), trainset=CASES)


def test_the_compiled_gate_separates_what_the_default_one_cannot() -> None:
    """On other drafts than it learned from."""
    student = Conscience(lm=ScriptedLM(hesitant))
    found = SelfCorrection(embeddings=(), prompts="off", target_fpr=0.2).compile(student, trainset=LABELED)
    assert gate_auroc(student, range(100, 140)) == 0.5
    assert gate_auroc(found, range(100, 140)) == 1.0
    assert found.gate_settings.backend == "scripted/lm"


def test_the_compiled_program_corrects_itself_better(compiled: Conscience) -> None:
    """On cases that no compilation has seen."""
    student = Conscience(lm=ScriptedLM(World()))
    assert right(compiled) > right(student)
    assert compiled.dump_state() != student.dump_state()


def test_the_result_hangs_on_the_program(compiled: Conscience) -> None:
    """Typed, with what each stage tried and took; its figures are those that are saved."""
    result = compiled.compile_result
    assert isinstance(result, CompileResult)
    assert isinstance(result.stages["gate"], GateComparison)
    assert isinstance(result.stages["demos"], PromptComparison)
    assert isinstance(result.stages["policy"], PolicyComparison)
    instructions = result.stages["instructions by GEPA"]
    assert isinstance(instructions, PromptComparison)
    assert instructions.taken
    assert instructions.before is not None
    assert instructions.after is not None
    assert instructions.after > instructions.before
    assert len(result.drafts) == len(CASES)
    assert not result.interrupted
    assert compiled.provenance is not None
    assert compiled.provenance.spent == result.spent.to_json()
    assert compiled.provenance.notes == result.notes
    assert compiled.provenance.figures["stages"] == {name: stage.to_json() for name, stage in result.stages.items()}
    assert result.gate is not None
    assert GateFigures.from_json(result.gate.to_json()).to_json() == compiled.provenance.figures["gate"]


def test_copies_share_the_result(compiled: Conscience) -> None:
    """Nothing in it changes."""
    assert copy.deepcopy(compiled).compile_result is compiled.compile_result
    assert compiled.deepcopy().compile_result is compiled.compile_result


@pytest.mark.long
def test_a_second_compilation_overwrites_no_result() -> None:
    """The optimizer keeps none."""
    optimizer = SelfCorrection(embeddings=(), prompts="off", target_fpr=0.2)
    first = optimizer.compile(Conscience(lm=ScriptedLM(hesitant)), trainset=LABELED)
    kept = first.compile_result
    second = optimizer.compile(Conscience(lm=ScriptedLM(hesitant)), trainset=LABELED[:40])
    assert first.compile_result is kept
    assert (len(kept.drafts), len(second.compile_result.drafts)) == (60, 40)


@pytest.mark.long
def test_ctrl_c_gives_the_best_so_far() -> None:
    """The gate that was compiled by then, and a result that says so."""

    def interrupted(messages: Any, params: Any) -> Any:
        if "Write better instructions" in str(messages[-1]["content"]):
            raise KeyboardInterrupt
        return World()(messages, params)

    student = Conscience(lm=ScriptedLM(interrupted))
    optimizer = SelfCorrection(oracle=grade, embeddings=(), target_fpr=0.9, prompts="gepa")
    found = optimizer.compile(student, trainset=CASES)
    assert found.compile_result.interrupted
    assert "interrupted: this is the best so far" in found.compile_result.notes
    assert "policy" not in found.compile_result.stages
    assert found.gate_settings.backend == "scripted/lm"


def test_a_compiled_gate_lets_every_principle_fire() -> None:
    """One more question names them all, and no aligned draft at hand reaches its threshold."""
    student = Conscience(lm=ScriptedLM(hesitant))
    compiled = SelfCorrection(embeddings=(), prompts="off", target_fpr=0.2).compile(student, trainset=LABELED)
    threshold = compiled.gate_settings.coverage_threshold
    assert 0.5 <= threshold < 1
    assert any("about each principle" in note for note in compiled.provenance.notes)
    calls = len(student.get_lm().backend.transports[0].lm.calls)
    passed = compiled.review(request="q", response="A word, 100.").verdict
    assert not passed.flagged
    assert "principles" in passed.signals
    certain = ScriptedLM(lambda m, p: 0.99 if "one of these rules" in str(m[-1]["content"]) else hesitant(m, p))
    compiled.set_lm(certain)
    compiled.review.set_lm(certain)
    fired = compiled.review(request="q", response="A word, 100.").verdict
    assert fired.gated
    assert fired.probability == pytest.approx(0.99)
    assert calls > len(LABELED)
