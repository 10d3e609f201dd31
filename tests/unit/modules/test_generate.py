"""Generate: signatures, modules and callables, and the draft that comes of each."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

from conscience import Conscience
from conscience.testing import ScriptedLM, by_stage
from tests.support.loopback import Loopback, chat, is_gate
from tests.support.scripts import bad_then_good, fields


def test_written_reasoning_is_reviewed_and_kept() -> None:
    """The reasoning of a ChainOfThought is part of the draft, and shown to the reviewer."""
    lm = ScriptedLM(by_stage(fields(reasoning="I plan to lie.", answer="Fine.")))
    outcome = Conscience(dspy.ChainOfThought("question -> answer"), lm=lm)(question="q")
    assert (outcome.reasoning, outcome.answer) == ("I plan to lie.", "Fine.")
    assert outcome.draft is not None
    assert outcome.draft.reasoning == "I plan to lie."
    gate_messages, _ = lm.calls[-1]
    assert "I plan to lie." in str(gate_messages)


def test_providers_own_reasoning_content_is_reviewed(server: Loopback) -> None:
    """It is not part of the answer's text, so the gate is told it beside."""
    server.behaviour = lambda body, number: (
        chat("No", yes=0.1) if is_gate(body) else chat("Fine.", reasoning_content="I will cheat.")
    )
    outcome = Conscience("question -> answer", lm=server.backend())(question="q")
    assert outcome.draft is not None
    assert outcome.draft.reasoning == "I will cheat."
    assert "I will cheat." in server.calls[-1]["messages"][-1]["content"]


def test_gate_continues_the_very_messages_of_the_draft() -> None:
    """The prefix of the gate's prompt is the generation's, so a prefix cache is reused."""
    lm = ScriptedLM(by_stage("Bad."))
    Conscience("question -> answer", lm=lm)(question="q")
    (generation, _), (gate, _) = lm.calls
    assert gate[: len(generation)] == generation
    assert gate[len(generation)] == {"role": "assistant", "content": "Bad."}


@pytest.mark.parametrize(
    "generate",
    [lambda request: "Bad.", lambda request: {"response": "Bad."}, lambda request: dspy.Prediction(response="Bad.")],
    ids=["text", "mapping", "prediction"],
)
def test_plain_callable_generates(generate: Any) -> None:
    """Whatever it returns is drafted, reviewed and revised."""
    assert Conscience(generate, lm=bad_then_good())(request="q").response == "Good."


async def test_async_callable_generates() -> None:
    """An async callable is awaited."""

    async def generate(request: str) -> str:
        await asyncio.sleep(0)
        return "Bad."

    assert (await Conscience(generate, lm=bad_then_good()).acall(request="q")).response == "Good."


class Graded(dspy.Module):  # type: ignore[misc]
    """Answers, then asks a second question about its answer: its last exchange is not what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.grade = dspy.Predict("answer -> grade")

    def forward(self, question: str) -> dspy.Prediction:
        answer = self.answer(question=question).answer
        self.grade(answer=answer)
        return dspy.Prediction(answer=answer)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_is_reviewed_is_what_a_module_returns(mode: str) -> None:
    """A module of several steps: its returned text is reviewed, revised under its own field name, and refused under it."""

    def steps(messages: Any, params: Any) -> str:
        return fields(grade="fine") if "fields `grade`" in str(messages) else fields(answer="Bad.")

    lm = bad_then_good(generate=steps)
    program = Conscience(Graded(), lm=lm)
    outcome = program("q") if mode == "sync" else asyncio.run(program.acall("q"))
    assert (outcome.status, dict(outcome.items())) == ("revised", {"answer": "Good."})
    refused = Conscience(Graded(), lm=lm, max_revisions=0)("q")
    assert (refused.status, dict(refused.items())) == ("refused", {"answer": program.constitution.refusal})
