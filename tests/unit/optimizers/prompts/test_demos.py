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


def test_of_several_revisions_the_one_that_passed_is_shown(tmp_path: Path) -> None:
    from conscience import Conscience
    from conscience.evals.oracles.grade import Grade
    from conscience.optimizers.prompts.candidate import CandidateProgram
    from conscience.optimizers.prompts.demos import collect_demos
    from conscience.optimizers.runtime import Runtime
    from conscience.testing import ScriptedLM

    answers = iter(["bad", "also bad", "good"])

    def script(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.1 if str(messages[-2]["content"]) == "good" else 0.9
        if "Answer with JSON only" in str(messages[-1]["content"]):
            return '{"findings": [{"principle": "no-demeaning", "quote": "x", "why": "y", "change": "z"}]}'
        return next(answers)

    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(lm=ScriptedLM(script), samples=2))
    trial = CandidateProgram(program, lambda case, response: Grade("good" in response, ""))
    found = collect_demos(trial, [Case(id="a", request="q")], runtime, 10)
    assert [demo["response"] for demo in found.revise] == ["good"]


def test_the_wording_that_corrects_more_is_found(tmp_path: Path) -> None:
    from conscience import Conscience
    from conscience.evals.oracles.grade import Grade
    from conscience.messages.wordings import WORDINGS
    from conscience.optimizers.prompts.candidate import CandidateProgram
    from conscience.optimizers.prompts.search import Search, wording_search
    from conscience.optimizers.runtime import Runtime
    from conscience.testing import ScriptedLM

    name, wording = list(WORDINGS.items())[-1]
    marker = wording.splitlines()[-1].split("{")[0].strip() or wording[:30]

    def script(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.1 if str(messages[-2]["content"]) == "good" else 0.9
        last = str(messages[-1]["content"])
        if "Answer with JSON only" in last:
            return '{"findings": [{"principle": "no-demeaning", "quote": "x", "why": "y", "change": "z"}]}'
        return "good" if marker in last else "bad"

    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(lm=ScriptedLM(script)))
    start = CandidateProgram(program, lambda case, response: Grade("good" in response, ""))
    cases = [Case(id=str(number), request=f"q{number}") for number in range(3)]
    search = Search(cases, runtime, runs=30, most_calls=10, proposer=program.roles.backend("revise"))
    found = wording_search(start, search)
    assert found.revise.signature.instructions == wording, name
    assert start.revise.signature.instructions != wording
