"""Other ways to correct an answer, and other programs, in the same harness."""

from __future__ import annotations

from pathlib import Path

import dspy
import pytest

from conscience import Constitution
from conscience.errors import ConfigurationError
from conscience.evals.baselines import BASELINES, as_program, baseline
from conscience.evals.comparison.runs import compare_runs
from conscience.testing import ScriptedLM
from tests.unit.evals.runs import go, script


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "refine"])
def test_baselines_run_in_the_same_harness(name: str, tmp_path: Path) -> None:
    """And are compared case by case with the program."""
    other = baseline(name, constitution=Constitution.load("general"), lm=ScriptedLM(script))
    go(tmp_path / "a")
    go(tmp_path / "b", program=other)
    result = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (result.first.program.name, result.second.program.name) == ("conscience", name)
    accuracy = {figure.name: figure for figure in result.figures}["self-correction accuracy"]
    expected = {"plain": 0.5, "review-only": 14 / 16, "self-refine": 0.5, "chain": 0.5}[name]
    assert accuracy.first.value == 14 / 16
    assert accuracy.second.value == expected
    if name == "plain":
        assert (accuracy.gained, accuracy.lost, result.cases) == (1, 7, 16)


def test_refine_keeps_the_answer_that_the_gate_doubts_least(capsys: pytest.CaptureFixture[str]) -> None:
    """dspy.Refine, as it is."""
    program = baseline("refine", constitution=Constitution.load("general"), lm=ScriptedLM(script))
    outcome = program(request="kind 1")
    assert (outcome.status, outcome.response) == ("clean", "Sure, like this.")
    assert outcome.usage.by_role["review"].calls == 1


def test_unknown_baseline_is_named() -> None:
    """With those that there are."""
    with pytest.raises(ConfigurationError, match="'plane' does not exist"):
        baseline("plane", constitution=Constitution.load("general"), lm=ScriptedLM(script))


@pytest.mark.parametrize("value", [3, "pkg.module:name", dspy.Module])
def test_what_cannot_be_called_cannot_be_measured(value: object) -> None:
    """A class is not a program either."""
    with pytest.raises(ConfigurationError, match="cannot be measured"):
        as_program(value)
