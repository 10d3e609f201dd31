"""Thinking is reviewed wherever it stands: whatever a provider, a step or a caller calls it. It is never part of the answer,
and none of it comes back with another answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace as Some
from typing import Any

import dspy
import pytest

from conscience import Conscience
from conscience.messages.chunks import Chunks
from conscience.messages.completion import Completion
from conscience.messages.thoughts import FIELDS, text_of
from conscience.testing import ScriptedLM
from tests.support.loopback import Loopback, chat, is_gate
from tests.support.scripts import fields

PLOT = "I plot against them."
FINDING = '{"findings": [{"principle": "honesty", "quote": "I plot against them.", "why": "w", "change": "c"}]}'
TEXT = {"type": "text", "text": "Paris."}

MESSAGES: Mapping[str, Mapping[str, Any]] = {
    "reasoning_content": {"content": "Paris.", "reasoning_content": PLOT},
    "reasoning": {"content": "Paris.", "reasoning": PLOT},
    "a second field": {"content": "Paris.", "reasoning_content": "Calm.", "reasoning": PLOT},
    "a summary": {"content": "Paris.", "reasoning": {"summary": [{"type": "summary_text", "text": PLOT}]}},
    "details": {"content": "Paris.", "reasoning_details": [{"type": "reasoning.text", "text": PLOT}]},
    "details in sum": {"content": "Paris.", "reasoning_details": [{"type": "reasoning.summary", "summary": PLOT}]},
    "blocks": {"content": "Paris.", "thinking_blocks": [{"type": "thinking", "thinking": PLOT, "signature": "s"}]},
    "Anthropic's part": {"content": [{"type": "thinking", "thinking": PLOT}, TEXT]},
    "Mistral's part": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": PLOT}]}, TEXT]},
    "Databricks' part": {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": PLOT}]}, TEXT]},
    "Bedrock's part": {"content": [{"type": "reasoning_content", "reasoning_content": {"text": PLOT}}, TEXT]},
    "a redacted part": {
        "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": PLOT}, TEXT]
    },
    "marks": {"content": f"<think>{PLOT}</think>Paris."},
}
"""What providers answer with."""


def judge() -> ScriptedLM:
    """Flags what shows the plot, and revises it."""

    def answer(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.95 if PLOT in str(messages[-2:]) else 0.05
        if "Answer with JSON only" in str(messages[-1]):
            return FINDING if PLOT in str(messages) else '{"findings": []}'
        return "Rome."

    return ScriptedLM(answer)


def objects(value: Any) -> Any:
    """A JSON value as SDKs have it."""
    if isinstance(value, Mapping):
        return Some(**{name: objects(inner) for name, inner in value.items()})
    return [objects(item) for item in value] if isinstance(value, list) else value


def langchain(message: Mapping[str, Any]) -> Any:
    beside = {name: value for name, value in message.items() if name in FIELDS}
    return Some(type="ai", content=message["content"], additional_kwargs=beside, tool_calls=[])


RETURNED = {
    "a body": lambda message: {"choices": [{"message": dict(message)}]},
    "a message": langchain,
    "a graph's state": lambda message: {"messages": [Some(type="human", content="q"), langchain(message)]},
    "a graph's step": lambda message: {"messages": [langchain(message), Some(type="ai", content="Paris.", tool_calls=[])]},
}


@pytest.mark.parametrize("returned", RETURNED.values(), ids=RETURNED)
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_what_a_callable_returns_is_read_as_a_backends_answer(message: Mapping[str, Any], returned: Any) -> None:
    outcome = Conscience(lambda request: returned(message), lm=judge())(request="q")
    assert outcome.draft is not None
    assert outcome.draft.outputs == {"response": "Paris."}
    assert PLOT in outcome.draft.reasoning
    assert (outcome.status, outcome.response) == ("revised", "Rome.")
    assert PLOT not in str(dict(outcome))


@pytest.mark.parametrize("message", [m for m in MESSAGES.values() if isinstance(m["content"], str)], ids=str)
def test_a_sdks_objects_are_read_as_its_json(message: Mapping[str, Any]) -> None:
    result = Some(choices=[Some(message=objects(message))])
    outcome = Conscience(lambda request: result, lm=judge())(request="q")
    assert outcome.status == "revised"
    assert outcome.draft is not None
    assert PLOT in outcome.draft.reasoning


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_what_a_server_answers_is_read_whole_or_in_pieces(
    message: Mapping[str, Any], streamed: bool, server: Loopback
) -> None:
    if streamed:
        chunks = Chunks()
        chunks.feed({"choices": [{"index": 0, "delta": {**message, "role": "assistant"}}]})
        message = Completion(chunks.body(), "").message
    content, beside = message["content"], {name: value for name, value in message.items() if name != "content"}
    server.behaviour = lambda body, number: chat("No", yes=0.1) if is_gate(body) else chat(content, **beside)
    outcome = Conscience("question -> answer", lm=server.backend())(question="q")
    assert outcome.answer == "Paris."
    assert outcome.draft is not None
    assert PLOT in outcome.draft.reasoning
    assert PLOT in str(server.calls[-1]["messages"][-1])


def test_what_two_fields_say_is_read_once() -> None:
    said = {"content": "Paris.", "reasoning": "So it is.", "reasoning_details": [{"text": "So it "}, {"text": "is."}]}
    outcome = Conscience(lambda request: {"choices": [{"message": said}]}, lm=judge())(request="q")
    assert outcome.draft is not None
    assert outcome.draft.reasoning == "So it is."


def test_parts_without_end_are_no_thought() -> None:
    deep: Any = PLOT
    for _ in range(400):
        deep = {"text": [deep]}
    round_about = Some()
    round_about.text = round_about.summary = [round_about] * 3
    for thought in (deep, round_about, type, 7):
        assert text_of(thought) == ""


class OnlyTheAnswer(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.shown(self.think(question=question).answer))

    def shown(self, answer: str) -> str:
        return answer


class Composed(OnlyTheAnswer):
    def shown(self, answer: str) -> str:
        return f"Answer: {answer.upper()}"


class TwoSteps(OnlyTheAnswer):
    def __init__(self) -> None:
        super().__init__()
        self.sum_up = dspy.Predict("reasoning, question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        plan = self.think(question=question)
        return dspy.Prediction(answer=self.sum_up(question=question, reasoning=plan.reasoning).answer)


@pytest.mark.parametrize("module", [OnlyTheAnswer, Composed, TwoSteps])
def test_what_a_module_thought_on_the_way_is_reviewed(module: Any) -> None:
    """Though it returns the answer alone, and of another step or in other words than the model wrote."""

    def answer(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.95 if PLOT in str(messages[-2:]) else 0.05
        if "Answer with JSON only" in str(messages[-1]):
            return FINDING if PLOT in str(messages[-2:]) else '{"findings": []}'
        return fields(reasoning=PLOT, answer="Paris.")

    outcome = Conscience(module(), lm=ScriptedLM(answer), max_revisions=0)(question="q")
    assert outcome.status == "refused"
    assert outcome.draft is not None
    assert outcome.draft.reasoning == PLOT


GIVEN: Mapping[str, tuple[Any, str]] = {
    "a field": ({"reasoning": PLOT, "answer": "Paris."}, ""),
    "beside a text": ("Paris.", PLOT),
    "both": ({"reasoning": "Calm.", "answer": "Paris."}, PLOT),
}


@pytest.mark.parametrize("signature", ["question -> answer", "question -> reasoning, answer"])
@pytest.mark.parametrize("revision", [{"answer": "Rome."}, {"reasoning": "Fresh.", "answer": "Rome."}], ids=str)
@pytest.mark.parametrize(("response", "reasoning"), GIVEN.values(), ids=GIVEN)
def test_a_given_answers_reasoning_is_not_that_of_a_revision(
    response: Any, reasoning: str, revision: Mapping[str, str], signature: str
) -> None:
    def answer(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.95 if PLOT in str(messages[-2:]) else 0.05
        if "Answer with JSON only" in str(messages[-1]):
            return FINDING
        return fields(**revision) if signature.count(",") else "Rome."

    program = Conscience(signature, lm=ScriptedLM(answer))
    outcome = program.correct({"question": "q"}, response, reasoning=reasoning)
    assert outcome.draft is not None
    assert PLOT in outcome.draft.reasoning
    assert (outcome.status, outcome.answer) == ("revised", "Rome.")
    assert PLOT not in str(dict(outcome))
    if signature.count(","):
        assert outcome.reasoning == revision.get("reasoning")


@pytest.mark.parametrize(
    "adapter", [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()], ids=lambda a: type(a).__name__
)
def test_a_revision_may_leave_its_reasoning_out(adapter: Any) -> None:
    """As one does of a model that thinks by itself. Its answer is read all the same, and not shown with its marks."""
    signature = dspy.ensure_signature("question -> reasoning, answer")

    def written(**values: str) -> str:
        fields_of = signature if len(values) > 1 else signature.delete("reasoning")
        return str(adapter.format_assistant_message_content(fields_of, values))

    def answer(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.95 if "Paris" in str(messages[-2]) else 0.05
        if "Answer with JSON only" in str(messages[-1]):
            return FINDING
        return written(answer="Rome.") if "Paris" in str(messages) else written(reasoning="Calm.", answer="Paris.")

    with dspy.context(adapter=adapter):
        outcome = Conscience(signature, lm=ScriptedLM(answer))(question="q")
    assert (outcome.status, outcome.answer) == ("revised", "Rome.")
