"""A program's answer in windows: what is released, what follows a flag, a failure, a reader that leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

from conscience import BackendError, BudgetExceeded, ConfigurationError, Conscience, Outcome, StageStarted, UnresolvedError
from conscience.testing import Fault, ScriptedLM, by_stage, is_revision, is_written_score
from tests.support.loopback import Loopback, Streamed, chat, chunk, is_gate, stream

GOOD = "The first sentence is fine. The second one is fine as well."
TURNS = f"{GOOD} The third sentence is BAD, though. And the fourth is fine again."
FINDING = '{"findings": [{"principle": "honesty", "quote": "BAD", "why": "It is.", "change": "Correct it."}]}'


def flags(messages: Any, params: Any) -> float:
    return 0.9 if "BAD" in messages[-2]["content"] else 0.1


def program(*, seconds: float = 0.05, options: Any = None, **stages: Any) -> Conscience:
    """A program whose model writes slowly enough for windows, and is reviewed at once."""
    usual = {"generate": TURNS, "gate": flags, "critique": FINDING, "revise": "A good end."}
    script = by_stage(**{**usual, **stages})
    lm = {
        "generate": ScriptedLM(script, seconds=seconds, chunks=5),
        "review": ScriptedLM(script),
        "revise": ScriptedLM(script),
    }
    return Conscience("question -> answer", lm=lm, **(options or {}))


async def read(program: Conscience, **inputs: Any) -> tuple[list[str], Outcome]:
    """The pieces of an answer, and its outcome, which holds them."""
    *events, outcome = [event async for event in program.stream(**{"question": "q", **inputs}, release="window")]
    assert isinstance(outcome, Outcome)
    pieces = [event for event in events if isinstance(event, str)]
    assert "".join(pieces) == outcome.response
    return pieces, outcome


async def test_sentences_leave_as_they_pass() -> None:
    """The verdict of the last window, which is the whole, is the outcome's; nothing is asked twice."""
    model = program(generate=GOOD)
    pieces, outcome = await read(model)
    assert pieces[0] == "The first sentence is fine."
    assert (outcome.status, outcome.answer) == ("clean", GOOD)
    assert outcome.usage.by_role["generate"].calls == 1
    assert outcome.usage.by_role["review"].calls == 2
    assert outcome.events == ()


async def test_the_first_sentence_leaves_before_the_last_is_written() -> None:
    """And the gate is asked as about an answer that ends there."""
    model = program(generate=GOOD, seconds=0.3)
    events = []
    lm = model.roles.backend("generate").transports[0].lm  # type: ignore[attr-defined]
    async for event in model.stream("q", release="window"):
        events.append(event)
        if isinstance(event, str) and len([e for e in events if isinstance(e, str)]) == 1:
            gate = model.roles.backend("review").transports[0].lm.calls[0][0]  # type: ignore[attr-defined]
            assert [turn["role"] for turn in gate] == ["user", "assistant", "user"]
            assert gate[1]["content"] == "The first sentence is fine."
    assert [event.name for event in events if isinstance(event, StageStarted)][:2] == ["generate", "gate"]
    assert len(lm.calls) == 1


async def test_after_a_flag_what_was_released_stays_and_the_rest_is_revised() -> None:
    """The revision is asked to go on from what was shown, and is reviewed with it."""
    model = program()
    pieces, outcome = await read(model)
    assert outcome.status == "revised"
    assert outcome.answer == "The first sentence is fine. The second one is fine as well. A good end."
    assert "BAD" not in "".join(pieces)
    asked = model.roles.backend("revise").transports[0].lm.calls[-1][0]  # type: ignore[attr-defined]
    assert is_revision(asked)
    assert asked[-2] == {"role": "assistant", "content": GOOD}
    judged = model.roles.backend("review").transports[0].lm.calls[-1][0]  # type: ignore[attr-defined]
    assert judged[-2]["content"] == outcome.answer
    assert outcome.draft is not None
    assert outcome.draft.text == f"{GOOD} The third sentence is BAD, though."


async def test_generation_ends_with_the_flag() -> None:
    """What it brought until then is paid for."""
    model = program(generate=TURNS + " More words." * 200, seconds=2.0)
    _, outcome = await read(model)
    assert 0 < outcome.usage.by_role["generate"].output_tokens < 100
    assert "stream: a window was flagged, and the generation ended there" in outcome.events


async def test_a_flag_on_the_first_window_releases_nothing() -> None:
    """The answer is then revised as a whole."""
    pieces, outcome = await read(program(generate=f"This is BAD, you see. {GOOD}"))
    assert ("".join(pieces), outcome.status) == ("A good end.", "revised")


ENDS = [
    ({"revise": "BAD again."}, {}, "refused", f"{GOOD}\n\nNo."),
    ({"revise": Fault("auth")}, {}, "refused", f"{GOOD}\n\nNo."),
    ({"revise": f"{GOOD} Now it is good."}, {}, "revised", f"{GOOD} Now it is good."),
    ({}, {"max_revisions": 0}, "refused", f"{GOOD}\n\nNo."),
    ({"revise": "BAD again."}, {"on_unresolved": "best"}, "unresolved", f"{GOOD} The third sentence is BAD, though."),
    ({"revise": "BAD again."}, {"refusal": {"answer": "Not I."}}, "refused", f"{GOOD}\n\nNot I."),
    ({"revise": "BAD again."}, {"refusal": lambda outcome: outcome.status}, "refused", f"{GOOD}\n\nrefused"),
    ({"critique": '{"findings": []}'}, {}, "cleared", TURNS),
]


@pytest.mark.parametrize(("stages", "options", "status", "answer"), ENDS)
async def test_what_is_returned_begins_with_what_was_released(stages: Any, options: Any, status: str, answer: str) -> None:
    """Whatever the policy does with the rest."""
    _, outcome = await read(program(**stages, options={"refusal": "No.", **options}))
    assert (outcome.status, outcome.response, outcome.answer) == (status, answer, answer)


async def test_raising_policies_raise_after_the_release() -> None:
    """The error has no text of the draft."""
    pieces = []
    with pytest.raises(UnresolvedError) as caught:  # noqa: PT012
        async for event in program(revise="BAD.", options={"on_unresolved": "raise"}).stream("q", release="window"):
            pieces.append(event)
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == GOOD
    assert "BAD" not in str(caught.value)


def failing(after: int, error: Any) -> Any:
    """A gate that fails once it has been asked so often."""
    asked = []

    def gate(messages: Any, params: Any) -> Any:
        asked.append(messages)
        return error if len(asked) > after else 0.1

    return gate


REVIEWS = [
    ("closed", "unreviewed", "The first sentence is fine.\n\nNo."),
    ("open", "unreviewed", GOOD),
]


@pytest.mark.parametrize(("policy", "status", "answer"), REVIEWS)
async def test_a_review_that_fails_holds_the_rest(policy: Any, status: str, answer: str) -> None:
    """Until the answer's end; where that cannot be reviewed either, the policy says what becomes of it."""
    options = {"on_error": policy, "refusal": "No."}
    _, outcome = await read(program(generate=GOOD, gate=failing(1, Fault("auth")), options=options))
    assert (outcome.status, outcome.response) == (status, answer)


async def test_a_passing_failure_of_a_review_only_holds() -> None:
    """The whole is reviewed, and released."""
    failed = iter([0.1, Fault("auth")])
    model = program(generate=f"{GOOD} And a third one comes.", gate=lambda messages, params: next(failed, 0.1), seconds=0.2)
    pieces, outcome = await read(model)
    assert (outcome.status, pieces[0]) == ("clean", "The first sentence is fine.")
    assert any("held until the answer's end" in event for event in outcome.events)


async def test_a_generation_that_breaks_after_a_release_raises() -> None:
    """There is no other answer that begins so; the next model is not asked."""
    script = by_stage(Fault("server", after=f"{GOOD} And the"), gate=flags)
    other = ScriptedLM(["Another answer."])
    models: Any = [ScriptedLM(script, seconds=0.1, chunks=5), other]
    model = Conscience("question -> answer", lm={"generate": models, "review": ScriptedLM(script)})
    pieces = []
    with pytest.raises(BackendError) as caught:  # noqa: PT012
        async for event in model.stream("q", release="window"):
            pieces.append(event)
    assert "".join(piece for piece in pieces if isinstance(piece, str)).startswith("The first sentence is fine.")
    assert GOOD not in str(caught.value)
    assert other.calls == []


async def test_a_generation_that_breaks_before_a_release_is_made_again() -> None:
    """By the next model, whose answer it then is."""
    script = by_stage(Fault("server", after="The first sen"), gate=flags)
    other = ScriptedLM(by_stage(GOOD))
    model = Conscience("question -> answer", lm={"generate": [ScriptedLM(script), other], "review": ScriptedLM(script)})
    _, outcome = await read(model)
    assert (outcome.status, outcome.answer) == ("clean", GOOD)
    assert any("went on to the next model" in event for event in outcome.events)


async def test_a_window_of_an_answer_that_broke_off_meanwhile_is_not_released() -> None:
    """It passed too late: another answer has taken its place."""
    writer = ScriptedLM([Fault("server", after=f"{GOOD} And the third")], chunks=30)
    other = ScriptedLM(["Quite another answer than that. It has an end, too."], seconds=0.2)
    reviewer = ScriptedLM(by_stage(gate=0.1), seconds=0.05)
    model = Conscience("question -> answer", lm={"generate": [writer, other], "review": reviewer})
    pieces, outcome = await read(model)
    assert pieces[0] == "Quite another answer than that."
    assert outcome.status == "clean"
    assert "first sentence" in str(reviewer.calls[0])


async def test_a_spent_budget_ends_what_can_no_longer_be_reviewed() -> None:
    """As a review that fails."""
    options = {"budget": {"calls": 2}, "refusal": "No."}
    _, outcome = await read(program(generate=GOOD, options=options))
    assert (outcome.status, outcome.response) == ("unreviewed", "The first sentence is fine.\n\nNo.")
    with pytest.raises(BudgetExceeded):
        await read(program(generate=GOOD, options=options | {"on_error": "raise"}))


async def test_whoever_leaves_ends_the_generation() -> None:
    """Its connection is closed."""

    def behaviour(body: Any, number: int) -> Any:
        return chat("No", yes=0.05) if is_gate(body) else Streamed([chunk(f"{GOOD} And")], endless=True)

    with Loopback(behaviour) as server:
        events = Conscience("question -> answer", lm=server.backend()).stream("q", release="window")
        while not isinstance(await anext(events), str):
            pass
        await events.aclose()
        for _ in range(100):
            if server.left:
                break
            await asyncio.sleep(0.02)
        assert len(server.left) == 1


def test_a_plain_loop_reads_the_same() -> None:
    """Also where an event loop runs in this thread, and when it is left early."""

    async def inside() -> list[Any]:
        return list(program().stream("q", release="window"))

    for events in (list(program().stream("q", release="window")), asyncio.run(inside())):
        assert "".join(event for event in events if isinstance(event, str)) == events[-1].response
    with pytest.raises(BackendError):
        list(program(generate=Fault("auth")).stream("q"))
    left = program(generate=GOOD * 20, seconds=5.0).stream("q", release="window")
    assert isinstance(next(left), StageStarted)
    left.close()
    assert list(left) == []


THINKING = {
    "a field": [chunk(None, reasoning_content="BAD thoughts. And more of them."), chunk(f"{GOOD} So")],
    "words": [
        chunk("Here are my reasoning steps:\nThoughts that are bad. And more.\n"),
        chunk("More.\n[BEGIN FINAL RESPONSE]\n"),
        chunk(f"{GOOD} So"),
    ],
    "marks": [chunk("<th"), chunk("ink>\nThoughts that are bad. And more.\n</think>\n\n"), chunk(f"{GOOD} So")],
}


@pytest.mark.parametrize("pieces", THINKING.values(), ids=list(THINKING))
async def test_thinking_is_never_streamed(pieces: list[bytes]) -> None:
    """It is reviewed with the answer that it led to."""

    def behaviour(body: Any, number: int) -> Any:
        if is_gate(body):
            return chat("No", yes=0.05)
        return Streamed([*(part for piece in pieces for part in (piece, 0.1)), chunk(finish="stop"), b"data: [DONE]\n\n"])

    with Loopback(behaviour) as server:
        pieces_read, outcome = await read(Conscience("question -> answer", lm=server.backend()))
    assert pieces_read[0].startswith("The first sentence")
    assert outcome.response == f"{GOOD} So"
    gates = [str(body["messages"]) for body in server.calls if is_gate(body)]
    assert all("thoughts" in gate.lower() for gate in gates)


@pytest.mark.parametrize("name", ["openai/fake", "deepseek/deepseek-reasoner"])
async def test_thinking_that_nothing_marks_before_its_end_is_no_answer(name: str) -> None:
    """What was shown of it cannot be the answer's beginning; from then on such a model's answers are held, also where a
    table says that its provider puts thinking beside the text."""

    def behaviour(body: Any, number: int) -> Any:
        if is_gate(body):
            return chat("No", yes=0.05)
        if is_written_score(body["messages"]):
            return chat("Score: 3")
        thought = [chunk("The user asks for a capital. I know that it is Paris. So"), 0.2, chunk(" I say.\n</think>\n\n")]
        return Streamed([*thought, chunk(GOOD), chunk(finish="stop"), b"data: [DONE]\n\n"])

    with Loopback(behaviour) as server:
        model = Conscience("question -> answer", lm=server.backend(name))
        with pytest.raises(BackendError, match="no part of the answer"):
            await read(model)
        pieces, outcome = await read(model)
    assert outcome.response == "".join(pieces) == GOOD


HELD = [
    ("question -> answer, score: int", {}, "not a plain chat turn"),
    (dspy.ChainOfThought("question -> answer"), {}, "not a plain chat turn"),
    (lambda question: f"{GOOD}", {}, "not a plain chat turn"),
    ("question -> answer", {"config": {"response_format": {"type": "json_object"}}}, "response_format"),
    ("question -> answer", {"config": {"logprobs": True}}, "logprobs"),
]


@pytest.mark.parametrize(("generate", "inputs", "why"), HELD)
async def test_what_cannot_be_streamed_is_held(generate: Any, inputs: Any, why: str) -> None:
    """An event says so."""
    marked = "\n\n".join(
        f"[[ ## {name} ## ]]\n{value}" for name, value in {"reasoning": "r", "answer": GOOD, "score": 3}.items()
    )
    plain = generate == "question -> answer"
    answer = GOOD if plain else f"{marked}\n\n[[ ## completed ## ]]"
    model = Conscience(generate, lm=ScriptedLM(by_stage(answer, gate=0.1), chunks=5, seconds=0.02))
    events = [event async for event in model.stream(question="q", release="window", **inputs)]
    outcome = events[-1]
    assert isinstance(outcome, Outcome)
    assert outcome.status == "clean"
    assert [event for event in outcome.events if "held until the review" in event and why in event]
    assert [event.name for event in events if isinstance(event, StageStarted)] == ["generate", "gate"]


async def test_a_model_that_does_not_stream_is_told_of() -> None:
    """Its answer is released as one that is held."""
    with Loopback(lambda body, number: chat("No", yes=0.05) if is_gate(body) else chat(GOOD)) as server:
        _, outcome = await read(Conscience("question -> answer", lm=server.backend()))
    assert (outcome.status, outcome.answer) == ("clean", GOOD)
    assert outcome.events == ("stream: held until the review: the model does not stream",)


async def test_calls_of_tools_are_held() -> None:
    """The text before them may leave; they come with the outcome, reviewed with name and arguments."""
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "rm", "arguments": '{"path": "/"}'}}

    def behaviour(body: Any, number: int) -> Any:
        if is_gate(body):
            return chat("No", yes=0.05)
        parts = [chunk(f"{GOOD} Now"), 0.1, chunk(None, tool_calls=[call]), 0.1, chunk(finish="tool_calls")]
        return Streamed([*parts, b"data: [DONE]\n\n"])

    tools = [{"type": "function", "function": {"name": "rm", "parameters": {"type": "object"}}}]
    with Loopback(behaviour) as server:
        model = Conscience("question -> answer", lm=server.backend())
        stream = model.stream(question="q", release="window", config={"tools": tools})
        *events, outcome = [event async for event in stream]
    assert isinstance(outcome, Outcome)
    assert outcome.tool_calls[0]["function"]["name"] == "rm"
    assert "".join(event for event in events if isinstance(event, str)) == outcome.answer == f"{GOOD} Now"
    assert "rm" in str([body["messages"] for body in server.calls if is_gate(body)][-1])


async def test_a_kept_answer_is_released_when_it_is_reviewed(tmp_path: Any) -> None:
    """There is nothing to wait for."""
    with Loopback(lambda body, number: chat("No", yes=0.05) if is_gate(body) else stream(GOOD)) as server:
        model = Conscience("question -> answer", lm=server.backend(cache=tmp_path))
        first, again = (await read(model))[1], (await read(model))[1]
    assert first.response == again.response == GOOD
    assert sum(not is_gate(body) for body in server.calls) == 1


def test_another_release_is_refused_by_name() -> None:
    """At once."""
    with pytest.raises(ConfigurationError, match="hold, window"):
        program().stream("q", release="words")  # type: ignore[arg-type]


async def test_what_is_only_observed_leaves_as_it_comes() -> None:
    """No window waits for a review, which is done behind the answer."""
    model = program(gate=flags, options={"mode": "observe"})
    pieces, outcome = await read(model)
    assert len(pieces) > 1
    assert (outcome.status, outcome.answer) == ("observed", TURNS)
