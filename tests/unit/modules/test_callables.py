"""Whatever generates: functions, objects, modules, Runnables, agents; sync, async and inside a running loop."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from types import SimpleNamespace as Some
from typing import Any

import dspy
import pydantic
import pytest

from conscience import ConfigurationError, Conscience, InputError
from conscience.modules.results import understood
from conscience.testing import ScriptedLM

FINDING = '{"findings": [{"principle": "honesty", "quote": "Bad", "why": "w", "change": "c"}]}'


def judge() -> ScriptedLM:
    """Flags Bad., and revises it to Good."""

    def answer(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.9 if "Bad" in str(messages[-2]) else 0.1
        return FINDING if "Answer with JSON only" in str(messages[-1]) else "Good."

    return ScriptedLM(answer)


async def later(request: str) -> str:
    await asyncio.sleep(0)
    return f"Bad. {request}"


def now(request: str, greeting: str = "") -> str:
    return f"Bad. {request}"


class Callable:
    def __call__(self, request: str) -> str:
        return now(request)


class AsyncCallable:
    async def __call__(self, request: str) -> str:
        return await later(request)


class OnlyAsync(dspy.Module):  # type: ignore[misc]
    async def aforward(self, request: str) -> dspy.Prediction:
        return dspy.Prediction(response=await later(request))


class Positional(dspy.Module):  # type: ignore[misc]
    def forward(self, request: str, /, tone: str = "plain") -> dspy.Prediction:
        return dspy.Prediction(response=now(request))


class Chain:
    def invoke(self, value: Any) -> Any:
        return Some(type="ai", content=f"Bad. {value}", tool_calls=[])

    async def ainvoke(self, value: Any) -> Any:
        return self.invoke(value)


class Agent:
    def run_sync(self, prompt: str) -> Any:
        return Some(output=f"Bad. {prompt}", all_messages=list)

    async def run(self, prompt: str) -> Any:
        return self.run_sync(prompt)


def any_arguments(*values: str) -> str:
    return now(*values)


SYNC = [now, any_arguments, functools.partial(now, greeting="hi"), Callable(), Callable().__call__, Positional(), Chain()]
ASYNC = [later, lambda request: later(request), functools.partial(later), AsyncCallable(), OnlyAsync(), Agent()]


def name(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize("generate", [*SYNC, *ASYNC], ids=name)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_whatever_generates_is_reviewed_and_revised(generate: Any, mode: str) -> None:
    """Without a model of its own for generation: the reviewing model revises too."""
    program, lm = Conscience(generate, lm={"review": (lm := judge())}), lm
    outcome = program("hello") if mode == "sync" else asyncio.run(program.acall("hello"))
    assert (outcome.status, outcome.response) == ("revised", "Good.")
    assert outcome.draft.response == "Bad. hello"
    assert set(outcome.usage.by_role) == {"review", "revise"}
    assert "hello" in str(lm.calls[0])


@pytest.mark.parametrize("generate", ASYNC, ids=name)
async def test_sync_call_of_async_code_on_a_running_loop_is_one_line(generate: Any) -> None:
    """It says what to do, and leaves no coroutine behind."""
    with pytest.raises(ConfigurationError, match=r"event loop is running.*await program\.acall") as caught:
        Conscience(generate, lm={"review": judge()})("hello")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("generate", SYNC, ids=name)
async def test_sync_code_runs_on_a_running_loop(generate: Any) -> None:
    """As it does today in notebooks."""
    assert Conscience(generate, lm={"review": judge()})("hello").response == "Good."


class Retrieves(dspy.Module):  # type: ignore[misc]
    """Its inputs are those of its forward, not of its predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("context, question -> answer")

    def forward(self, question: str, k: int = 3) -> Any:
        return self.answer(context=[f"passage {n}" for n in range(k)], question=question)


def test_a_module_is_called_by_its_own_inputs() -> None:
    """By keyword and in order."""
    lm = ScriptedLM({"Yes or No": 0.1, "": "[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]"})
    program = Conscience(Retrieves(), lm=lm)
    assert program.generate.inputs == ("question", "k")
    assert program("q", 2).answer == program(question="q", k=2).answer == "42"
    with pytest.raises(InputError, match="question, k"):
        program("q", 2, 3)


@pytest.mark.parametrize("signature", ["question -> answer", "context, question -> answer, score: int"])
def test_a_misspelled_input_is_not_left_out(signature: str) -> None:
    """DSPy would ask without it."""
    lm = ScriptedLM([])
    program = Conscience(signature, lm=lm)
    with pytest.raises(InputError, match=r"no input 'quesion' .did you mean question"):
        program(quesion="What?", **({"context": "c"} if "context" in signature else {}))
    with pytest.raises(InputError, match=r"no input 'zzz' .it has"):
        program(zzz="What?")
    with pytest.raises(InputError, match=r"no output 'anser' .did you mean answer"):
        program.correct("What?", {"anser": "Paris."})
    assert lm.calls == []


def test_a_signature_program_without_a_model_still_says_so() -> None:
    """The reviewing model does not generate behind the user's back."""
    with pytest.raises(ConfigurationError, match="role generate"):
        Conscience("question -> answer", lm={"review": judge()})(question="q")


def test_a_runnable_takes_a_value_or_its_named_inputs() -> None:
    """As ``invoke`` would have got them; chat messages of LangChain's are a conversation to reviewers."""
    seen: list[Any] = []

    class Echo:
        def invoke(self, value: Any) -> str:
            seen.append(value)
            return "Good."

    program, lm = Conscience(Echo(), lm=(lm := judge())), lm
    human = Some(type="human", content="Hi there")
    for call in ({"question": "q", "context": "c"}, [human], "plain"):
        program(call)
    program(question="q", context="c")
    assert seen == [{"question": "q", "context": "c"}, [human], "plain", {"question": "q", "context": "c"}]
    assert {"role": "user", "content": "Hi there"} in lm.calls[1][0]


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


@dataclass
class Answer:
    text: str
    sources: list[str]


def completion(**message: Any) -> Any:
    return Some(choices=[Some(message=Some(**message))])


CALL = {"name": "find", "args": {"q": "x"}}
RETURNED = [
    ("text", {"response": "text"}),
    ({"answer": "a", "n": 1}, {"answer": "a", "n": 1}),
    (dspy.Prediction(answer="a"), {"answer": "a"}),
    (dspy.Example(answer="a"), {"answer": "a"}),
    (completion(content="hi", tool_calls=None), {"response": "hi"}),
    (completion(content=None, refusal="no"), {"response": "no"}),
    (completion(content="hi", reasoning_content="hm", tool_calls=[CALL]),
     {"response": "hi", "reasoning": "hm", "tool_calls": [CALL]}),
    ({"choices": [{"message": {"content": "hi"}}]}, {"response": "hi"}),
    (Some(output_text="hi", output=[Some(type="message", content=[])]), {"response": "hi"}),
    (Some(output_text="hi", output=[Some(type="reasoning", summary=[Some(text="hm")])]),
     {"response": "hi", "reasoning": "hm"}),
    (Some(type="ai", content="hi"), {"response": "hi"}),
    (Some(type="ai", content=["h", {"type": "text", "text": "i"}, {"type": "thinking", "thinking": "hm"}]),
     {"response": "hi", "reasoning": "hm"}),
    ({"messages": [Some(type="human", content="q"), Some(type="ai", content="hi")]}, {"response": "hi"}),
    (Some(output="hi", all_messages=list), {"response": "hi"}),
    (Some(output=Weather(city="Oslo", degrees=3), all_messages=list), {"city": "Oslo", "degrees": 3}),
    (Weather(city="Oslo", degrees=3), {"city": "Oslo", "degrees": 3}),
    (Answer("a", ["s"]), {"text": "a", "sources": ["s"]}),
]  # fmt: skip


@pytest.mark.parametrize(("result", "fields"), RETURNED)
def test_results_are_understood_by_their_shape(result: Any, fields: Any) -> None:
    """No package of theirs is imported."""
    assert understood(result).fields == fields


@pytest.mark.parametrize("result", [("a", "b"), 3, None, (x for x in "ab"), object()], ids=lambda r: type(r).__name__)
def test_other_results_are_refused_by_name(result: Any) -> None:
    """In one line that says what may be returned."""
    with pytest.raises(ConfigurationError, match=f"returned ({type(result).__name__}|nothing) .*return a text"):
        Conscience(lambda request: result, lm=judge())("q")


def test_what_an_agents_tools_returned_is_seen_by_reviewers() -> None:
    """pydantic-ai's messages are a conversation to gate, critique and revision."""
    parts = [
        Some(part_kind="system-prompt", content="You are terse."),
        Some(part_kind="user-prompt", content="Weather?"),
        Some(part_kind="tool-call", tool_name="find", args={"city": "Oslo"}, tool_call_id="1"),
        Some(part_kind="tool-return", tool_name="find", content="3 degrees", tool_call_id="1"),
        Some(part_kind="text", content="Bad."),
    ]
    result = Some(output="Bad.", all_messages=lambda: [Some(parts=parts)])
    outcome = Conscience(lambda request: result, lm=(lm := judge()))("Weather?")
    assert outcome.response == "Good."
    for messages, _ in lm.calls:
        assert all(word in str(messages) for word in ("terse", "find", "3 degrees")), messages
