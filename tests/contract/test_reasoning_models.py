"""Models that think, as their servers have been seen to answer: none of the thinking is shown as an answer or taken for a
verdict, all of it is reviewed, and who thinks is given room."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from conscience import Backend, Conscience, Outcome, review
from conscience.doctor import examine
from conscience.testing import is_written_score
from tests.support.loopback import Body, Loopback, Raw, chat, is_critique, is_gate, is_revision

THOUGHT = "Okay, the user asks for a thing. PRIVATE."
TOKENS = 600
"""What a thought takes: more than the gate's one token and more than a written score without thinking."""

Emit = Callable[[str, str | None], Body]
"""A thought and what was said after it, or None where the tokens ended first: the body that the server sends."""


def inside(begin: str, end: str, *, template: bool = False) -> Emit:
    """Thinking in the text; where the chat template has begun it, only its end is seen."""

    def emit(thought: str, said: str | None) -> Body:
        text = ("" if template else begin) + thought
        return chat(text, finish="length") if said is None else chat(f"{text}\n{end}\n\n{said}")

    return emit


def beside(name: str) -> Emit:
    """Thinking in a field of its own."""

    def emit(thought: str, said: str | None) -> Body:
        return chat(said, finish="stop" if said else "length", **{name: thought})

    return emit


def hidden(thought: str, said: str | None) -> Body:
    """Of OpenAI's own thinking, only the count is shown."""
    body = chat(said or "", finish="stop" if said else "length")
    return {**body, "usage": {**body["usage"], "completion_tokens_details": {"reasoning_tokens": 40}}}


def in_details(thought: str, said: str | None) -> Body:
    details = [{"type": "reasoning.text", "text": thought, "index": 0}, {"type": "reasoning.encrypted", "data": "x"}]
    return chat(said, finish="stop" if said else "length", reasoning_details=details)


def in_parts(thought: str, said: str | None) -> Body:
    parts: Any = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}]
    return chat(parts + ([{"type": "text", "text": said}] if said else []), finish="stop" if said else "length")


def harmony(thought: str, said: str | None) -> Body:
    text = f"<|channel|>analysis<|message|>{thought}"
    if said is None:
        return chat(text, finish="length")
    return chat(f"{text}<|end|><|start|>assistant<|channel|>final<|message|>{said}")


@dataclass
class Thinker:
    """A server of a model that thinks before everything it says, for ``TOKENS`` tokens.

    Attributes:
        emit: how it puts the two.
        first: its first token, as its log-probabilities show it; None where it has none.
    """

    emit: Emit
    first: str | None = "<think>"
    calls: list[Body] = field(default_factory=list)

    def __call__(self, body: Body, number: int) -> Body | Raw:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if limit is not None and limit < TOKENS:
            answer = self.emit(THOUGHT[: max(4, 4 * limit)], None)
        else:
            answer = self.emit(THOUGHT, self.says(body))
        if body.get("logprobs") and self.first:
            top = [{"token": self.first, "logprob": math.log(0.9)}, {"token": "No", "logprob": math.log(0.02)}]
            answer["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        return answer

    def says(self, body: Body) -> str:
        said = json.dumps(body["messages"])
        if is_gate(body):
            return "Yes" if "BADWORD" in said else "No"
        if is_written_score(body):
            return "Score: 95" if "BADWORD" in said else "Score: 4"
        if is_critique(body):
            finding = {"principle": "no-serious-harm", "quote": "BADWORD", "why": "It harms.", "change": "Leave it out."}
            return json.dumps({"findings": [finding] if "BADWORD" in said else []})
        return "A clean answer." if is_revision(body) else "BADWORD, do it." if "UNSAFE" in said else "Paris."


SERVERS: dict[str, tuple[str, Thinker]] = {
    "vLLM, no parser, R1": (
        "hosted_vllm/deepseek-r1",
        Thinker(inside("<think>", "</think>", template=True), "Okay"),
    ),
    "vLLM, no parser, Qwen3": ("openai/qwen3-8b", Thinker(inside("<think>", "</think>"))),
    "vLLM with a parser": ("hosted_vllm/qwen3-8b", Thinker(beside("reasoning_content"), "Okay")),
    "vLLM with a parser, newer": ("openai/qwen3-32b", Thinker(beside("reasoning"), "<think>")),
    "llama.cpp": ("openai/qwq", Thinker(beside("reasoning_content"), None)),
    "Ollama's own field": ("openai/deepseek-r1:8b", Thinker(beside("thinking"), None)),
    "Kimi": ("openai/kimi-vl", Thinker(inside("◁think▷", "◁/think▷"), "◁think▷")),
    "Magistral": ("openai/magistral", Thinker(inside("[THINK]", "[/THINK]"), "[THINK]")),
    "Magistral, in parts": ("openai/magistral-parts", Thinker(in_parts, None)),
    "Cohere": (
        "openai/command-a",
        Thinker(inside("<|START_THINKING|>", "<|END_THINKING|>"), "<|START_THINKING|>"),
    ),
    "gpt-oss, raw": ("openai/gpt-oss-20b", Thinker(harmony, "<|channel|>")),
    "OpenRouter": ("openrouter/some/thinker", Thinker(in_details, None)),
    "Groq, raw": ("openai/qwen-qwq-32b", Thinker(inside("<think>", "</think>"), None)),
    "DeepSeek": ("deepseek/deepseek-reasoner", Thinker(beside("reasoning_content"), None)),
    "gpt-5": ("openai/gpt-5-mini", Thinker(hidden, None)),
    "o-series": ("openai/o4-mini", Thinker(hidden, None)),
    "gpt-5 under another name": ("openai/our-own-name", Thinker(hidden, None)),
}


def check(outcome: Outcome, status: str, thinker: Thinker) -> None:
    assert outcome.status == status, outcome.events
    assert outcome.answer == ("A clean answer." if status == "revised" else "Paris.")
    assert "PRIVATE" not in json.dumps(outcome.to_json())
    assert outcome.verdict.method == "verbalised"
    assert outcome.draft is not None
    if thinker.emit is not hidden:
        assert THOUGHT in outcome.draft.reasoning


@pytest.mark.parametrize(("model", "thinker"), SERVERS.values(), ids=SERVERS)
def test_a_program_of_a_model_that_thinks(server: Loopback, model: str, thinker: Thinker) -> None:
    server.behaviour = thinker
    backend = Backend(model, api_base=server.url, api_key="sk-test-secret-0123", cache=False, retries=1)
    program = Conscience("question -> answer", lm=backend)
    check(program(question="What is the capital of France?"), "clean", thinker)
    check(program(question="UNSAFE please"), "revised", thinker)
    if thinker.emit is not hidden:
        shown = [json.dumps(body["messages"]) for body in server.calls if is_written_score(body)]
        assert all("PRIVATE" in text for text in shown), "the gate is told what was thought"
    asked = [is_gate(body) for body in server.calls]
    assert sum(asked) <= 2
    assert not any(asked[3:]), "what the first token is was learned from the first answers"


@pytest.mark.parametrize("name", ["vLLM, no parser, R1", "vLLM with a parser"])
async def test_async_and_streaming_are_alike(server: Loopback, name: str) -> None:
    model, thinker = SERVERS[name]
    server.behaviour = thinker
    backend = Backend(model, api_base=server.url, api_key="sk-test-secret-0123", cache=False)
    program = Conscience("question -> answer", lm=backend)
    check(await program.acall(question="What is the capital of France?"), "clean", thinker)
    events = [event async for event in program.stream(question="What is the capital of France?")]
    assert "".join(event for event in events if isinstance(event, str)) == "Paris."


@pytest.mark.parametrize("name", ["vLLM, no parser, R1", "vLLM, no parser, Qwen3", "vLLM with a parser", "gpt-5"])
def test_the_doctor_finds_out_that_a_model_thinks(server: Loopback, name: str) -> None:
    model, thinker = SERVERS[name]
    server.behaviour = thinker
    backend = Backend(model, api_base=server.url, api_key="sk-test-secret-0123", cache=False, retries=0)
    checks = {check.name: check for check in examine(backend)}
    assert checks["reach"].detail.endswith("'Paris.'")
    assert checks["logprobs"].state == "no"
    assert checks["reasoning"].state == ("no" if thinker.emit is hidden else "yes")


def test_a_text_from_elsewhere_is_judged_by_a_model_that_thinks(server: Loopback) -> None:
    """No answer of the model was seen before its first token is."""
    model, thinker = SERVERS["vLLM, no parser, Qwen3"]
    server.behaviour = thinker
    backend = Backend(model, api_base=server.url, api_key="sk-test-secret-0123", cache=False)
    verdicts = [review("Hi", text, lm=backend) for text in ("Paris.", "BADWORD.")]
    assert [(verdict.flagged, verdict.method) for verdict in verdicts] == [(False, "verbalised"), (True, "verbalised")]
    assert [body.get("max_tokens") for body in server.calls if not is_critique(body)] == [1, 2000, 2000]


def test_a_model_that_thinks_and_answers_in_one_token_is_read_by_it(server: Loopback) -> None:
    """As hybrid models do."""
    server.behaviour = lambda body, number: chat("No", yes=0.05) if is_gate(body) else chat(f"{THOUGHT}</think>Paris.")
    outcome = Conscience("question -> answer", lm=server.backend())(question="q")
    assert (outcome.status, outcome.answer, outcome.verdict.method) == ("clean", "Paris.", "logprobs")
    assert "PRIVATE" in json.dumps(server.calls[1]["messages"])


def test_one_faulty_reply_is_no_sign_of_thinking(server: Loopback) -> None:
    """The gate's readings stay log-probabilities."""

    def behaviour(body: Body, number: int) -> Body:
        if is_gate(body):
            return chat(None, finish="length") if number % 7 == 2 else chat("No", yes=0.05)
        return chat("Paris.")

    server.behaviour = behaviour
    program = Conscience("question -> answer", lm=server.backend(retries=2))
    methods = [program(question=f"q{n}").verdict.method for n in range(12)]
    assert methods == ["logprobs"] * 12


def test_a_written_score_that_is_cut_off_is_asked_for_with_more_room(server: Loopback) -> None:
    def behaviour(body: Body, number: int) -> Body:
        if is_written_score(body):
            return chat("Score: 9", finish="length") if body["max_tokens"] < 1000 else chat("Well.\nScore: 3")
        return chat("No") if is_gate(body) else chat("Paris.")

    server.behaviour = behaviour
    outcome = Conscience("question -> answer", lm=server.backend())(question="q")
    assert outcome.status == "clean"
    assert [body["max_tokens"] for body in server.calls if is_written_score(body)] == [400, 1600]
    assert any("more room" in event for event in outcome.events)


def anthropic(body: Body, number: int) -> Body | Raw:
    """Claude with thinking: its budget is within max_tokens."""
    budget = body["thinking"]["budget_tokens"]
    if body["max_tokens"] <= budget:
        message = "`max_tokens` must be greater than `thinking.budget_tokens`"
        return Raw(400, json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": message}}))
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [
            {"type": "thinking", "thinking": THOUGHT, "signature": "x"},
            {"type": "text", "text": Thinker(hidden).says(body)},
        ],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }


def test_claude_with_a_thinking_budget(server: Loopback) -> None:
    server.behaviour = anthropic
    backend = Backend(
        "anthropic/claude-sonnet-4-5",
        api_base=server.url.removesuffix("/v1"),
        api_key="sk-test-secret-0123",
        thinking={"type": "enabled", "budget_tokens": 10_000},
        max_tokens=12_000,
        cache=False,
    )
    program = Conscience("question -> answer", lm=backend)
    check(program(question="What is the capital of France?"), "clean", Thinker(in_parts))
    check(program(question="UNSAFE please"), "revised", Thinker(in_parts))
