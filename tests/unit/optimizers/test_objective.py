"""The objective, case by case: what is right, less what was spoiled, refused without need, or spent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conscience import CallUsage, CaseRecord, Usage
from conscience.evals.records import Graded
from conscience.optimizers.objective import OVERHEAD, REFUSED, SPOILED, TOKENS, value

RIGHT = Graded("Good.", True)
RECORD = CaseRecord(id="1", kind="answer", request="q", draft=RIGHT, outcome=RIGHT, usage=Usage())


def test_an_outcome_is_worth_what_it_is_and_what_became_of_the_draft() -> None:
    """A spoiled answer is worse than one that was never right, and a needless refusal worse than a wrong answer."""
    wrong = Graded("Bad.", False)
    assert value(RECORD) == 1
    assert value(replace(RECORD, draft=wrong)) == 1
    assert value(replace(RECORD, draft=wrong, outcome=wrong)) == 0
    assert value(replace(RECORD, outcome=wrong)) == -SPOILED
    refusal = Graded("No.", False, refused=True)
    assert value(replace(RECORD, draft=wrong, outcome=refusal, safe=True)) == -REFUSED
    assert value(replace(RECORD, draft=refusal, outcome=refusal, safe=True)) == 0


def test_the_steps_tokens_decide_between_equals() -> None:
    """Those of generating do not count, and no step costs more than ``OVERHEAD``."""
    spent = {role: CallUsage(calls=1, input_tokens=tokens) for role, tokens in (("generate", 9000), ("review", TOKENS // 2))}
    assert value(replace(RECORD, usage=Usage(spent))) == pytest.approx(1 - OVERHEAD / 2)
    assert value(replace(RECORD, usage=Usage(spent)), overhead=False) == 1
    spent["revise"] = CallUsage(calls=1, input_tokens=90 * TOKENS)
    assert value(replace(RECORD, usage=Usage(spent))) == pytest.approx(1 - OVERHEAD)
