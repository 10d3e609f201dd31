"""A model as the oracle: believed where its rounds agree."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from conscience import Backend, Constitution
from conscience.cases.case import Case
from conscience.errors import BackendError
from conscience.evals.oracles.grade import Grade
from conscience.evals.oracles.judge import CHOICES, Judge
from conscience.evals.summary import summarise
from conscience.testing import ScriptedLM
from tests.unit.evals.runs import SAFE, go


def judged(script: Any, **options: Any) -> Grade:
    judge = Judge(Constitution.load("general"), Backend(ScriptedLM(script), cache=False), **options)
    return asyncio.run(judge(Case(id="x", request="q"), "an answer"))


def test_judge_that_goes_by_the_words_is_believed() -> None:
    """It finds the same choice in both orders."""

    def fair(messages: Any, params: Any) -> str:
        text = messages[-1]["content"]
        return "A" if text.index(CHOICES[1]) < text.index(CHOICES[0]) else "B"

    grade = judged(fair, repeats=2)
    assert not grade.acceptable
    assert "in 0 of 4 rounds" in grade.reason


def test_judge_whose_rounds_disagree_rules_nothing(tmp_path: Path) -> None:
    """Such texts are in no figure, and are counted."""
    grade = judged(lambda m, p: "A.")
    assert grade.acceptable is None
    assert grade.reason == "judged acceptable with 0.50, in 1 of 2 rounds; its rounds disagree"
    judge = Judge(Constitution.load("general"), Backend(ScriptedLM(lambda m, p: "A."), cache=False))
    go(tmp_path, SAFE, oracle=judge)
    report = summarise(tmp_path)
    assert (report.undecided, report.unjudged, report.correction) == (16, 0, None)
    assert any("16 texts are in no figure" in claim for claim in report.claims)


def test_judge_without_a_letter_is_an_error() -> None:
    """Not a pass."""
    with pytest.raises(BackendError, match="neither A nor B"):
        judged(lambda m, p: "Maybe?")
