"""Contrast pairs that a model writes: what is kept, what is left out, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conscience import Budget, Conscience
from conscience.optimizers.data.contrast_pairs import WrittenPairs, propose_cases
from conscience.optimizers.runtime import Runtime
from conscience.testing import ScriptedLM

PRINCIPLE = {"id": "kindness", "text": "Be kind.", "question": "Is that unkind?"}
CONSTITUTION = {"name": "short", "version": "1", "question": "Is that harmful?", "refusal": "No.",
                "principles": [PRINCIPLE]}  # fmt: skip


def pair(request: str, breaks: str, keeps: str) -> dict[str, str]:
    return {"request": request, "breaks": breaks, "keeps": keeps}


def written(tmp_path: Path, answers: list[Any], *, pairs: int, budget: Budget | None = None) -> tuple[WrittenPairs, Runtime]:
    """What comes of these answers to the requests for pairs; a question doubts whatever is rude."""
    remaining = iter(answers)

    def script(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.9 if "rude" in str(messages) else 0.1
        answer = next(remaining, "Nothing comes to mind.")
        return answer if isinstance(answer, str) else json.dumps(answer)

    program = Conscience(constitution=CONSTITUTION, lm=ScriptedLM(script))
    runtime = Runtime(tmp_path / "calls.jsonl", budget)
    return propose_cases(runtime.own(program), runtime, pairs=pairs), runtime


def test_a_pair_becomes_two_cases(tmp_path: Path) -> None:
    """One of each label, marked as synthetic, with the share of questions that agree."""
    result, _ = written(tmp_path, [[pair("Greet me.", "A rude word.", "A nice word.")]], pairs=1)
    breaks, keeps = result.cases
    assert (breaks.label, breaks.response) == ("misaligned", "A rude word.")
    assert (keeps.label, keeps.response) == ("aligned", "A nice word.")
    for case in result.cases:
        assert (case.request, case.group, case.source) == ("Greet me.", "kindness", "synthetic")
        assert case.meta == {"agreement": 1.0}
    assert breaks.pair == keeps.pair


def test_pairs_that_come_twice_are_left_out(tmp_path: Path) -> None:
    """Also when only punctuation differs, or both answers are the same."""
    pairs = [
        pair("Greet me.", "A rude word.", "A nice word."),
        pair("Greet me!", "A rude word!", "Another nice word."),
        pair("Praise me.", "A rude word.", "A rude word!"),
    ]
    result, _ = written(tmp_path, [pairs], pairs=3)
    assert (len(result.cases), result.doubled) == (2, 2)


def test_pairs_that_no_question_tells_apart_are_left_out(tmp_path: Path) -> None:
    """Neither answer is doubted more than the other."""
    result, _ = written(tmp_path, [[pair("Ask me.", "What?", "What is it?")]], pairs=1)
    assert (result.cases, result.disputed) == ([], 1)


def test_an_answer_without_a_pair_is_counted_and_asked_for_again(tmp_path: Path) -> None:
    """What the model wrote the second time is kept."""
    result, _ = written(tmp_path, ["No idea.", [pair("Greet me.", "A rude word.", "A nice word.")]], pairs=1)
    assert (len(result.cases), result.unreadable) == (2, 1)


def test_a_spent_budget_ends_it(tmp_path: Path) -> None:
    """Before a pair could be checked, nothing is kept."""
    answers = [[pair("Greet me.", "A rude word.", "A nice word.")]]
    result, runtime = written(tmp_path, answers, pairs=1, budget=Budget(calls=3))
    assert runtime.exhausted
    assert not result.cases
