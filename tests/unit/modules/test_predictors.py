"""A module's predictors, found without DSPy's walk through its history."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from conscience import Conscience
from conscience._dspy.modules import predictors
from conscience.testing import ScriptedLM, by_stage


class Nested(dspy.Module):  # type: ignore[misc]
    """Predictors in every place where DSPy looks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("a -> b")
        self.again = self.first
        self.listed = [dspy.ChainOfThought("c -> d"), dspy.Predict("e -> f"), "no module"]
        self.named = {"x": dspy.Predict("g -> h")}
        self.frozen = dspy.ChainOfThought("i -> j")
        self.frozen._compiled = True
        self.frozen_predictor = dspy.Predict("k -> l")
        self.frozen_predictor._compiled = True


@pytest.mark.parametrize("build", [Nested, lambda: dspy.ChainOfThought("a -> b"), lambda: dspy.Predict("a -> b")])
def test_the_same_ones_that_dspy_finds(build: Any) -> None:
    """In the same order, each once, frozen modules left out."""
    module = build()
    assert [id(found) for found in predictors(module)] == [id(found) for found in module.predictors()]


def test_a_module_that_names_its_own_is_asked() -> None:
    """A Conscience is one: where DSPy streams, it names other predictors."""
    program = Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")))
    assert {id(found) for found in predictors(program)} == {id(found) for found in program.predictors()}


def test_a_call_walks_through_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call costs does not grow with the calls before it."""
    program = Conscience(dspy.ChainOfThought("question -> answer"), lm=ScriptedLM(by_stage("[[ ## answer ## ]]\nFine.")))
    monkeypatch.setattr(dspy.Module, "predictors", lambda self: pytest.fail("walked through every entry of the history"))
    assert program.generate.brings_its_model is False
    assert program.generate.signature is not None
