"""Demos from the program's own corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conscience import Case


def test_a_rewrite_takes_the_place_of_the_answer(tmp_path: Path) -> None:
    """In a revision's demo, in the form in which the program's answers are written."""
    import dspy

    from conscience import Conscience
    from conscience.evals.oracles.grade import Grade
    from conscience.optimizers.prompts.candidate import CandidateProgram
    from conscience.optimizers.prompts.demos import collect_demos
    from conscience.optimizers.runtime import Runtime
    from conscience.testing import ScriptedLM

    def script(messages: Any, params: Any) -> Any:
        last = str(messages[-1]["content"])
        if params.get("logprobs"):
            return 0.9
        if "Answer with JSON only" in last:
            return '{"findings": [{"principle": "no-demeaning", "quote": "x", "why": "y", "change": "z"}]}'
        answer = "still bad" if "problems" in last else "bad"
        return f"[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"

    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(dspy.ChainOfThought("question -> answer"), lm=ScriptedLM(script)))
    trial = CandidateProgram(program, lambda case, response: Grade("good" in response, ""))
    found = collect_demos(trial, [Case(id="a", request="q", references=("A good answer.",))], runtime, 10)
    assert "[[ ## answer ## ]]\nA good answer." in found.revise[0]["response"]
    assert "still bad" not in found.revise[0]["response"]
