"""``dspy.streamify`` takes a program in every form, and no word is streamed before its review."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import dspy
import pytest
from dspy.streaming import StatusMessage, StatusMessageProvider, StreamListener, StreamResponse
from dspy.utils.callback import BaseCallback

from conscience import Conscience
from conscience.messages.rendering import content_text
from conscience.testing import ScriptedLM, is_critique, is_gate, is_revision
from tests.support.loopback import Loopback, chat

MARK = "UNSEEN"
DRAFT, GATE, CRITIQUE, FIRST = (f"{MARK}-{stage}" for stage in ("draft", "gate", "critique", "first-revision"))
GOOD = "A kind answer,  in\n\nsome words: more of them than a stream's buffer has places, so here are a few and a few more."
FINDINGS = json.dumps(
    {"findings": [{"principle": "honesty", "quote": DRAFT, "why": CRITIQUE, "change": CRITIQUE, "severity": "high"}]}
)


def marks() -> ScriptedLM:
    """A model whose draft, critique and first revision hold marks; the second revision is good."""
    revisions: list[str] = []

    def script(messages: list[dict[str, Any]], params: dict[str, Any]) -> Any:
        whole = "\n".join(content_text(message.get("content")) for message in messages)
        if is_gate(messages):
            return 0.99 if MARK in whole and GOOD not in whole else 0.01
        if is_critique(messages):
            return FINDINGS
        if is_revision(messages):
            revisions.append(whole)
            text = FIRST if len(revisions) == 1 else GOOD
        elif "[[ ## next_tool_args ## ]]" in content_text(messages[0].get("content")):
            tool = "finish" if "observation_0" in whole else "look"
            return fields(next_thought=DRAFT, next_tool_name=tool, next_tool_args="{}")
        else:
            text = DRAFT
        if "[[ ##" not in whole:
            return text
        return fields(reasoning=text, outline=text, answer=text, kind="a", steps=json.dumps([text]))

    return ScriptedLM(script, name="scripted/marks")


def fields(**values: str) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()) + "\n\n[[ ## completed ## ]]"


class Typed(dspy.Signature):  # type: ignore[misc]
    """Answer kindly."""

    question: str = dspy.InputField()
    kind: Literal["a", "b"] = dspy.OutputField()
    steps: list[str] = dspy.OutputField()
    answer: str = dspy.OutputField()


class TwoSteps(dspy.Module):  # type: ignore[misc]
    """Its predictors write a field of the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = dspy.Predict("question -> outline, answer")
        self.write = dspy.Predict("question, outline -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.write(question=question, outline=self.plan(question=question).outline).answer)


class AsyncOnly(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.write = dspy.ChainOfThought("question -> answer")

    async def aforward(self, question: str) -> dspy.Prediction:
        return await self.write.acall(question=question)

    def forward(self, question: str) -> dspy.Prediction:
        return self.write(question=question)


class Outer(dspy.Module):  # type: ignore[misc]
    """A module of the user's with a program inside."""

    def __init__(self, program: Conscience) -> None:
        super().__init__()
        self.inner = program

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.inner(question=question).answer)

    async def aforward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=(await self.inner.acall(question=question)).answer)


_asked = dspy.Predict("question -> answer")


def callable_with_dspy(question: str) -> dict[str, str]:
    return {"answer": str(_asked(question=question).answer)}


async def async_callable(question: str) -> dict[str, str]:
    return {"answer": str((await _asked.acall(question=question)).answer)}


def look() -> str:
    """Looks."""
    return "seen"


PROGRAMS: dict[str, Callable[[], Any]] = {
    "text": lambda: "question -> answer",
    "reasoning": lambda: "question -> reasoning, answer",
    "typed": lambda: Typed,
    "ChainOfThought": lambda: dspy.ChainOfThought("question -> answer"),
    "ReAct": lambda: dspy.ReAct("question -> answer", tools=[look]),
    "two steps": TwoSteps,
    "async module": AsyncOnly,
    "callable": lambda: callable_with_dspy,
    "coroutine": lambda: async_callable,
}


def program_of(kind: str) -> Conscience:
    return Conscience(PROGRAMS[kind](), lm=marks(), max_revisions=2)


def streamed(program: Any, *, sync: bool = False, **options: Any) -> list[Any]:
    """All that comes out of a program of DSPy's, streamed."""
    wrapped = dspy.streamify(program, async_streaming=not sync, **options)
    if sync:
        out: Iterator[Any] = wrapped(question="How?")
        return list(out)

    async def collect() -> list[Any]:
        out: AsyncIterator[Any] = wrapped(question="How?")
        return [event async for event in out]

    return asyncio.run(collect())


def shown(events: list[Any]) -> str:
    """Everything that a user could read in these events."""
    return "\n".join(map(repr, events))


def text_of(events: list[Any], field: str = "answer") -> str:
    return "".join(e.chunk for e in events if isinstance(e, StreamResponse) and e.signature_field_name == field)


@pytest.mark.parametrize("sync", [False, True], ids=["async stream", "sync stream"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync program", "async program"])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_listener_hears_the_reviewed_text_in_words(kind: str, is_async: bool, sync: bool) -> None:
    """Then comes the prediction; nothing else of the call is heard."""
    events = streamed(program_of(kind), stream_listeners=[StreamListener("answer")], is_async_program=is_async, sync=sync)
    assert MARK not in shown(events)
    chunks = [event for event in events if isinstance(event, StreamResponse)]
    assert text_of(events) == GOOD == events[-1].answer
    assert len(chunks) > 20
    assert [chunk.is_last_chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert isinstance(events[-1], dspy.Prediction)
    assert events[-1].status == "revised"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync program", "async program"])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_without_a_listener_the_reviewed_text_comes_as_a_models_chunks(kind: str, is_async: bool) -> None:
    """As DSPy's own predictors stream without listeners; only after review."""
    *events, last = streamed(program_of(kind), is_async_program=is_async)
    assert MARK not in shown([*events, last])
    chunks = "".join(e.choices[0].delta.content for e in events if not isinstance(e, StatusMessage))
    assert chunks.endswith(GOOD)
    assert last.answer == GOOD


@pytest.mark.parametrize("final", [True, False])
def test_the_prediction_can_be_left_out(final: bool) -> None:
    """As ``include_final_prediction_in_output_stream`` says, where a listener heard something."""
    listeners = [StreamListener("answer")]
    events = streamed(program_of("text"), stream_listeners=listeners, include_final_prediction_in_output_stream=final)
    assert text_of(events) == GOOD
    assert any(isinstance(event, dspy.Prediction) for event in events) is final


def test_an_inner_field_is_never_heard() -> None:
    """What a step inside wrote is part of no answer: the prediction alone comes, reviewed."""
    program = program_of("two steps")
    events = streamed(program, stream_listeners=[StreamListener("outline", predict=program.generate.predict.plan)])
    assert MARK not in shown(events)
    assert [type(event).__name__ for event in events] == ["Outcome"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", ["text", "ChainOfThought", "typed", "two steps", "callable"])
def test_a_listener_may_name_its_predictor(kind: str, is_async: bool) -> None:
    """An inner one, the one that revises, or the program."""
    program = program_of(kind)
    for predictor in [*program.generate.predictors(), program.revise.predict, program]:
        program.set_lm(marks())
        listener = StreamListener("answer", predict=predictor, predict_name="mine")
        events = streamed(program, stream_listeners=[listener], is_async_program=is_async)
        assert MARK not in shown(events)
        assert text_of(events) == GOOD
        assert {e.predict_name for e in events if isinstance(e, StreamResponse)} == {"mine"}


def test_several_fields_are_heard_each_by_its_listener() -> None:
    """Lists as JSON text, a choice as it is."""
    listeners = [StreamListener(name) for name in ("kind", "steps", "answer")]
    events = streamed(program_of("typed"), stream_listeners=listeners)
    assert MARK not in shown(events)
    assert (text_of(events, "kind"), text_of(events)) == ("a", GOOD)
    assert json.loads(text_of(events, "steps")) == [GOOD]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("listeners", [False, True])
def test_a_program_inside_a_module(is_async: bool, listeners: bool) -> None:
    """The module streams what its program returned, reviewed."""
    heard = [StreamListener("answer")] if listeners else []
    events = streamed(Outer(program_of("typed")), stream_listeners=heard, is_async_program=is_async)
    assert MARK not in shown(events)
    assert events[-1].answer == GOOD
    assert not listeners or text_of(events) == GOOD


class Chatty(StatusMessageProvider):  # type: ignore[misc]
    """Says all that it is told."""

    def module_start_status_message(self, instance: Any, inputs: Any) -> str:
        return f"{type(instance).__name__} begins {inputs}"

    def module_end_status_message(self, outputs: Any) -> str:
        return f"module ends {outputs}"

    def lm_start_status_message(self, instance: Any, inputs: Any) -> str:
        return f"{instance.model} begins {inputs}"

    def lm_end_status_message(self, outputs: Any) -> str:
        return f"lm ends {outputs}"

    def tool_start_status_message(self, instance: Any, inputs: Any) -> str:
        return f"tool {instance.name} begins {inputs}"

    def tool_end_status_message(self, outputs: Any) -> str:
        return f"tool ends {outputs[0]}"


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_status_messages_say_what_runs_and_nothing_of_its_content(kind: str, is_async: bool, sync: bool) -> None:
    """Those about the program itself hold its inputs and its outcome; those about what is inside, names."""
    options: dict[str, Any] = {"is_async_program": is_async, "sync": sync, "stream_listeners": [StreamListener("answer")]}
    events = streamed(program_of(kind), status_message_provider=Chatty(), **options)
    said = [event.message for event in events if isinstance(event, StatusMessage)]
    assert MARK not in shown(events)
    assert said[0] == "Conscience begins {'args': (), 'kwargs': {'question': 'How?'}}"
    assert GOOD in said[-1] or repr(GOOD) in said[-1]
    assert any("marks begins {}" in one for one in said)
    assert text_of(events) == GOOD


def test_tools_are_announced() -> None:
    """By DSPy's default provider, while the call runs."""
    events = streamed(program_of("ReAct"), stream_listeners=[StreamListener("answer")])
    assert events[0] == StatusMessage("Calling tool look...")


def test_listeners_serve_again() -> None:
    """A streamified program is called for every request of a server."""
    wrapped = dspy.streamify(Conscience("question -> answer", lm=ScriptedLM({"Yes or No": 0.1, "": "Fine words."})),
                             stream_listeners=[StreamListener("answer")])  # fmt: skip

    async def ask() -> str:
        return text_of([event async for event in wrapped(question="How?")])

    async def many() -> list[str]:
        return await asyncio.gather(ask(), ask(), ask())

    assert asyncio.run(many()) == ["Fine words."] * 3


def test_a_stream_may_be_left_early() -> None:
    """Whoever closes it after its first word leaves nothing hanging."""
    wrapped = dspy.streamify(program_of("text"), stream_listeners=[StreamListener("answer")])

    async def first() -> Any:
        out = wrapped(question="How?")
        async for event in out:
            await out.aclose()
            return event

    assert asyncio.run(asyncio.wait_for(first(), 20)).chunk == "A "


class Blocking(Outer):
    """Calls its program sync on the event loop: the stream's reader cannot run meanwhile."""

    async def aforward(self, question: str) -> dspy.Prediction:
        return self.forward(question)


class Threads(Outer):
    """Calls its program in threads that no event loop knows of."""

    def forward(self, question: str) -> dspy.Prediction:
        (outcome,) = dspy.Parallel(num_threads=2, disable_progress_bar=True)([(self.inner, {"question": question})])
        return dspy.Prediction(answer=outcome.answer)


@pytest.mark.parametrize(("outer", "is_async"), [(Blocking, True), (Threads, False)])
def test_where_words_cannot_be_sent_in_turn_the_call_ends_all_the_same(outer: Any, is_async: bool) -> None:
    """The prediction comes, and before it what there was room for."""
    program = outer(program_of("text"))
    options: dict[str, Any] = {"stream_listeners": [StreamListener("answer")], "status_message_provider": Chatty()}
    events = streamed(program, is_async_program=is_async, **options)
    assert MARK not in shown(events)
    assert events[-1].answer == GOOD
    assert text_of(events) in (GOOD, "")


@pytest.mark.parametrize("signature", ["question -> answer", Typed], ids=["text", "typed"])
@pytest.mark.parametrize("model", ["a string", "a Backend", "dspy.configure", "through LiteLLM"])
def test_over_the_wire(server: Loopback, monkeypatch: pytest.MonkeyPatch, model: str, signature: Any) -> None:
    """A server is asked for whole answers, and none of its words leaves before its review."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret-0123")
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    played = marks()

    def answer(body: dict[str, Any], number: int) -> Any:
        said = played._played._pick(number - 1, body["messages"], {})
        return chat("Yes" if said > 0.5 else "No", yes=said) if isinstance(said, float) else chat(said)

    server.behaviour = answer
    ours = {"a string": "openai/fake", "a Backend": server.backend()}.get(model)
    engine = "litellm" if model == "through LiteLLM" else "auto"
    theirs = dspy.LM("openai/fake", api_base=server.url, api_key="sk-test-secret-0123", cache=False, engine=engine)
    program = Conscience(signature, lm=ours, max_revisions=2)
    with dspy.context(lm=None if ours else theirs):
        for is_async in (False, True):
            events = streamed(program, stream_listeners=[StreamListener("answer")], is_async_program=is_async)
            assert MARK not in shown(events)
            assert text_of(events) == events[-1].answer == GOOD
    assert not any(call.get("stream") for call in server.calls)


def test_a_refusal_is_streamed_as_the_answer() -> None:
    """The refusal text, in the field that is listened to."""
    program = Conscience("question -> answer", lm=marks(), max_revisions=1)
    events = streamed(program, stream_listeners=[StreamListener("answer")])
    assert MARK not in shown(events)
    assert text_of(events) == events[-1].answer == program.constitution.refusal


def test_the_programs_own_stream_is_silent_inside_of_dspys() -> None:
    """``program.stream`` within a module that DSPy streams."""

    class Own(dspy.Module):  # type: ignore[misc]
        async def aforward(self, question: str) -> dspy.Prediction:
            pieces = [piece async for piece in program_of("text").stream(question=question)]
            return dspy.Prediction(answer="".join(piece for piece in pieces if isinstance(piece, str)))

    events = streamed(Own(), is_async_program=True)
    assert MARK not in shown(events)
    assert [event.answer for event in events] == [GOOD]


def test_a_review_by_itself_streams_nothing() -> None:
    """Its questions and their answers are nobody's words."""
    from conscience import Review

    reviewer = dspy.streamify(Review(lm=marks()))

    async def collect() -> list[Any]:
        return [event async for event in reviewer(request="How?", response=DRAFT)]

    (event,) = asyncio.run(collect())
    assert event.flagged


def test_other_callbacks_still_see_all() -> None:
    """Silence is for the stream alone."""

    class Count(BaseCallback):  # type: ignore[misc]
        calls = 0

        def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            self.calls += 1

    count, program = Count(), program_of("text")
    with dspy.context(callbacks=[count]):
        streamed(program)
    assert count.calls == len(program.get_lm().backend.transports[0].lm.calls)
