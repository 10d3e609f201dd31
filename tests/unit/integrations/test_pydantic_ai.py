"""pydantic-ai's own agents, whose outputs a program validates, and models that it reviews."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext, UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from conscience import BackendError, ConfigurationError, UnresolvedError
from conscience.integrations.pydantic_ai import ReviewedModel, output_validator
from conscience.integrations.tools import guard
from tests.unit.integrations.reviewers import BAD, DOWN, MENDED, REFUSED, mends, program, scripted


class Person(BaseModel):
    name: str


@dataclass
class Pet:
    name: str


def says(*turns: str | ToolCallPart | list[Any]) -> FunctionModel:
    """A model that says these things one after the other: a text, a call, or parts."""
    left = iter(turns)

    def whole(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = next(left)
        return ModelResponse(turn if isinstance(turn, list) else [TextPart(turn) if isinstance(turn, str) else turn])

    async def pieces(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        turn = next(left)
        if isinstance(turn, ToolCallPart):
            yield {0: DeltaToolCall(turn.tool_name, turn.args_as_json_str(), tool_call_id=turn.tool_call_id)}
        else:
            for word in str(turn).split():
                yield f"{word} "

    return FunctionModel(whole, stream_function=pieces)


def tool() -> tuple[Callable[[str], str], list[str]]:
    """A tool, and what it has done."""
    done: list[str] = []

    def act(what: str) -> str:
        done.append(what)
        return "Done."

    return act, done


def output(name: str) -> ToolCallPart:
    return ToolCallPart("final_result", {"name": name})


def written(value: str) -> str:
    """A revision of an output, in the form that it is asked for."""
    return f"[[ ## output ## ]]\n{value}\n\n[[ ## completed ## ]]"


async def test_a_text_is_passed_revised_or_refused() -> None:
    """As the program has it."""
    for said, judge, expected in [
        ("Fine.", program(), "Fine."),
        (f"Say {BAD}.", program(), MENDED),
        (f"Say {BAD}.", program(max_revisions=0), REFUSED),
        ("Fine.", program(gate=DOWN), REFUSED),
        ("Fine.", program(gate=DOWN, on_error="open"), "Fine."),
        (f"Say {BAD}.", program(mode="observe"), BAD),
    ]:
        agent = Agent(says(said))
        agent.output_validator(output_validator(judge))
        assert expected in (await agent.run("Hello?")).output


def test_an_agent_that_is_run_sync() -> None:
    """On the loop that the agent makes."""
    agent = Agent(TestModel(custom_output_text=f"Say {BAD}."))
    agent.output_validator(output_validator(program()))
    assert agent.run_sync("Hello?").output == MENDED


@pytest.mark.parametrize(
    ("kind", "said", "revision", "expected"),
    [
        (Person, {"name": BAD}, '{"name": "Jo"}', Person(name="Jo")),
        (Pet, {"name": BAD}, '{"name": "Rex"}', Pet("Rex")),
        (list[Person], {"response": [{"name": BAD}]}, '[{"name": "Jo"}]', [Person(name="Jo")]),
        (list[str], {"response": [BAD]}, '["Jo"]', ["Jo"]),
    ],
)
async def test_an_object_is_revised_in_its_type(kind: Any, said: Any, revision: str, expected: Any) -> None:
    """Whatever it is made of."""
    form = revision if kind is Pet else written(revision)
    agent = Agent(says(ToolCallPart("final_result", said)), output_type=kind)
    agent.output_validator(output_validator(program(form)))
    assert (await agent.run("Who?")).output == expected


async def test_an_object_has_no_value_that_says_no() -> None:
    """So a refusal is an error, and so is an outage, by another name."""
    for judge, error in [(program(max_revisions=0), UnresolvedError), (program(gate=DOWN), BackendError)]:
        agent = Agent(says(output(BAD if error is UnresolvedError else "Kim")), output_type=Person, retries=0)
        agent.output_validator(output_validator(judge))
        with pytest.raises(error) as raised:
            await agent.run("Who?")
        assert BAD not in str(raised.value)


async def test_a_revision_that_is_of_no_use_is_asked_of_the_agent() -> None:
    """As one that it has to write anew."""
    agent = Agent(says(output(BAD), output("Jo")), output_type=Person, retries=1)
    agent.output_validator(output_validator(program("No names.")))
    assert (await agent.run("Who?")).output == Person(name="Jo")


async def test_a_retry_tells_the_model_the_rule_and_nothing_of_its_answer() -> None:
    """As often as the agent's retries allow; then the answer is refused."""
    lm = scripted()
    agent = Agent(says(f"Say {BAD}.", "Fine."), retries=1)
    agent.output_validator(output_validator(program(lm=lm), on_flag="retry"))
    result = await agent.run("Hello?")
    assert result.output == "Fine."
    (asked,) = [part for message in result.all_messages() for part in message.parts if part.part_kind == "retry-feedback"]
    assert "Rule: " in str(asked.content)
    assert BAD not in str(asked.content)
    assert not any("revise" in repr(params) for _, params in lm.calls)

    agent = Agent(says(f"Say {BAD}.", f"Still {BAD}."), retries=1)
    agent.output_validator(output_validator(program(), on_flag="retry"))
    assert REFUSED in (await agent.run("Hello?")).output


async def test_an_outage_is_not_told_the_model_as_a_fault_of_its_answer() -> None:
    """No retry: nobody judged it."""
    agent = Agent(says("Fine."), retries=3)
    agent.output_validator(output_validator(program(gate=DOWN), on_flag="retry"))
    assert REFUSED in (await agent.run("Hello?")).output


def test_a_wrong_option_is_told_at_once() -> None:
    """When the validator is made."""
    with pytest.raises(ConfigurationError, match="on_flag"):
        output_validator(program(), on_flag="mend")  # type: ignore[arg-type]


async def test_the_run_and_its_dependencies_are_the_context() -> None:
    """Instructions, tools and what they returned, and what the application adds."""
    lm = scripted()
    agent = Agent(says(ToolCallPart("weather", {}), "Take an umbrella."), deps_type=str, instructions="Be a vet.")

    @agent.tool_plain
    def weather() -> str:
        return "It rains."

    def known(ctx: RunContext[str]) -> str:
        return f"The user is {ctx.deps}."

    agent.output_validator(output_validator(program(lm=lm), context=known))
    await agent.run("Umbrella?", deps="Kim")
    ((messages, _),) = lm.calls
    for text in ("Be a vet.", "It rains.", "The user is Kim.", "Umbrella?"):
        assert text in repr(messages)
    assert repr(messages).count("Take an umbrella.") == 1


@pytest.mark.parametrize("said", ["All is fine here.", f"One {BAD} two."])
async def test_a_stream_shows_the_whole_output_once_it_is_reviewed(said: str) -> None:
    """And reviews it once, however often it is asked for."""
    lm = scripted()
    agent = Agent(says(said))
    agent.output_validator(output_validator(program(lm=lm)))
    async with agent.run_stream("Hello?") as stream:
        seen = [text async for text in stream.stream_output(debounce_by=None)]
        assert seen == [await stream.get_output()]
    assert BAD not in repr(seen)
    assert len(lm.calls) == (1 if BAD not in said else 4)


async def test_a_stream_of_partial_texts_is_not_shown_unreviewed() -> None:
    """It is refused, and told what does it."""
    agent = Agent(says("All is fine here."))
    agent.output_validator(output_validator(program()))
    with pytest.raises(ModelRetry, match="ReviewedModel"):
        async with agent.run_stream("Hello?") as stream:
            [text async for text in stream.stream_text(debounce_by=None)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_no_tool_runs_before_its_call_is_reviewed(streamed: bool) -> None:
    """A flagged call is revised, or not made; the history has what was shown."""
    for judge, ran in [(program(mends(what="help")), ["help"]), (program(max_revisions=0), [])]:
        act, done = tool()
        model = ReviewedModel(says(ToolCallPart("act", {"what": BAD}, "call_1"), "Well."), judge)
        agent = Agent(model, tools=[act])
        if streamed:
            async with agent.run_stream_events("Hello?") as events:
                seen = [event async for event in events]
            assert BAD not in repr(seen)
        else:
            result = await agent.run("Hello?")
            assert BAD not in repr(result.all_messages())
        assert done == ran


async def test_a_reviewed_model_streams_what_was_reviewed() -> None:
    """Deltas too, with the usage of the call."""
    agent = Agent(ReviewedModel(says(f"One {BAD} two."), program()))
    async with agent.run_stream("Hello?") as stream:
        assert "".join([text async for text in stream.stream_text(delta=True, debounce_by=None)]) == MENDED
        assert stream.usage.output_tokens


async def tells(details: dict[str, Any]) -> bool:
    """Whether a reviewed model hands on what a provider tells beside an answer."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("Fine.")], provider_details=details)

    result = await Agent(ReviewedModel(FunctionModel(answer), program())).run("Hello?")
    return result.all_messages()[-1].provider_details == details  # type: ignore[union-attr]


async def test_a_reviewed_model_changes_nothing_that_passes() -> None:
    """Its thoughts stay with it, and are reviewed with it."""
    parts = [ThinkingPart("Hm.", signature="s"), TextPart("Fine.")]
    result = await Agent(ReviewedModel(says(parts), program())).run("Hello?")
    response = result.all_messages()[-1]
    assert list(response.parts) == parts
    assert response.metadata is not None
    assert response.metadata["conscience"]["status"] == "clean"
    assert await tells({"logprobs": [{"token": "Fi"}, {"token": "ne."}]})
    assert not await tells({"logprobs": [{"token": BAD}, {"token": "Fine."}]})  # of thoughts that are not shown
    thought = [ThinkingPart(f"Why not {BAD}?"), TextPart("Fine.")]
    result = await Agent(ReviewedModel(says(thought), program())).run("Hello?")
    assert BAD not in repr(result.all_messages())


async def test_structured_output_of_a_reviewed_model() -> None:
    """It is a call like any other."""
    judge = program(mends(call="final_result", name="Jo"))
    assert (await Agent(ReviewedModel(says(output(BAD)), judge), output_type=Person).run("Who?")).output == Person(name="Jo")
    refused = Agent(ReviewedModel(says(output(BAD), output(BAD)), program(max_revisions=0)), output_type=Person, retries=1)
    with pytest.raises(UnexpectedModelBehavior) as raised:
        await refused.run("Who?")
    assert BAD not in str(raised.value)


def test_batches_are_refused() -> None:
    """They would be decoded without a review."""
    with pytest.raises(ConfigurationError, match="batches"):
        ReviewedModel(says("Fine."), program()).batch_decode(None, None)  # type: ignore[arg-type]


async def test_a_guarded_function_makes_the_same_tool() -> None:
    """With its context, which nobody sees; what the run has said and done so far is known from it."""
    lm = scripted("{}")
    sent = []

    async def send(ctx: RunContext[str], to: str) -> str:
        """Sends a mail.

        Args:
            to: who gets it.
        """
        sent.append(to)
        return f"{ctx.deps}: sent to {to}"

    send.__annotations__["ctx"] = RunContext[str]
    model = says(ToolCallPart("send", {"to": BAD}), ToolCallPart("send", {"to": "Ann"}), "Done.")
    agent = Agent(model, deps_type=str, tools=[guard(send, program=program(lm=lm))])
    run = await agent.run("Write to Ann.", deps="hunter2-hunter2")
    told = [str(part.content) for message in run.all_messages() for part in message.parts if part.part_kind == "tool-return"]
    assert "did not run" in told[0]
    assert told[1] == "hunter2-hunter2: sent to Ann"
    assert sent == ["Ann"]
    assert "Write to Ann." in str(lm.calls[0])
    assert "hunter2" not in str(lm.calls)
    assert "did not run" in str(lm.calls[-1])  # what the first call came to
