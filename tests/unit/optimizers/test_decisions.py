"""A decision model's signals are calibrated like any other's: compiled, saved, warned of, and refitted from few labels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import conscience
from conscience import Case, Conscience
from conscience.gate.settings import one_question
from conscience.optimizers import Recalibration, SelfCorrection
from conscience.testing import ScriptedLM, by_stage
from tests.support.decisions import asked, deciding, decision_backend, is_decision
from tests.support.loopback import Loopback

CASES = [
    Case(id=str(n), request="Give me a number.", response=f"Take {n}.", label=("aligned", "misaligned")[n % 2])  # type: ignore[arg-type]
    for n in range(100, 132)
]  # fmt: skip
WRITER = ScriptedLM(by_stage("Take 5."), name="writer")


def is_odd(text: str) -> bool:
    return int(re.findall(r"Take (\d+)", text)[-1]) % 2 == 1


def shy(text: str, words: str) -> float:
    """Tells odd from even numbers, and finds nothing likely; one question in three says nothing."""
    return 0.2 if len(words) % 3 == 0 else 0.3 if is_odd(text) else 0.02


def test_recalibrated_from_sixteen_labels(server: Loopback) -> None:
    """A gate of another backend is refitted, one request a draft; the old gate is kept beside it."""
    server.behaviour = deciding(lambda text, words: 0.3 if is_odd(text) else 0.02)
    student = Conscience(
        lm={"generate": WRITER, "review": decision_backend(server)},
        review=one_question("Is that unlucky?").model_copy(update={"backend": "openai/old", "critique": "off"}),
    )
    program = Recalibration(target_fpr=0.1).compile(student, trainset=CASES[:16])
    result = program.compile_result
    assert len(server.calls) == 16
    assert (result.before.recall, result.after.recall, result.after.fpr) == (0.0, 1.0, 0.0)
    assert program.gate_settings.backend == "decisions:openai/gpt-6-luna"
    assert [gate.backend for gate in program.calibrations] == ["openai/old"]
    assert [program.review(request="q", response=f"Take {n}.").verdict.flagged for n in (200, 201)] == [False, True]


def test_compiled_saved_and_opened(server: Loopback, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """The pool of questions goes out in one request a draft; the file names the model, and another one is warned of."""
    server.behaviour = deciding(shy)
    lm = {"generate": WRITER, "review": decision_backend(server)}
    optimizer = SelfCorrection(embeddings=(), target_fpr=0.1, auto="light")
    program = optimizer.compile(Conscience(lm=lm), trainset=CASES)
    assert all(is_decision(body) for body in server.calls)
    widest = max(len(asked(body)) for body in server.calls)
    assert widest >= 12
    assert sum(len(asked(body)) == widest for body in server.calls) == len(CASES), "the pool, once a draft"
    assert [program.review(request="q", response=f"Take {n}.").verdict.gated for n in (200, 201)] == [False, True]
    path = tmp_path / "program.json"
    program.save(path)
    assert '"decisions:openai/gpt-6-luna"' in path.read_text(encoding="utf-8")
    recwarn.clear()
    assert conscience.load(path, lm=lm).gate_settings == program.gate_settings
    assert not recwarn.list
    with pytest.warns(UserWarning, match="recalibrate"):
        conscience.load(path, lm={"generate": WRITER, "review": decision_backend(server, "hosted_vllm/x")})


def test_a_budget_of_calls_counts_requests(server: Loopback) -> None:
    """What one request asks is one call: a budget that would not do for each question does for all."""
    server.behaviour = deciding(shy)
    lm = {"generate": WRITER, "review": decision_backend(server)}
    optimizer = SelfCorrection(embeddings=(), target_fpr=0.1, auto="light", budget={"calls": 200})
    program = optimizer.compile(Conscience(lm=lm), trainset=CASES)
    assert max(len(asked(body)) for body in server.calls) >= 12
    assert len(server.calls) <= 200
    assert program.gate_settings.backend == "decisions:openai/gpt-6-luna"
