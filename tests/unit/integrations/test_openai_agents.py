"""The Agents SDK's own runs, with a program as guardrail and around the model."""

from __future__ import annotations

from typing import Any

import pytest
from agents import (
    Agent,
    InputGuardrailTripwireTriggered,
    ModelTracing,
    OutputGuardrailTripwireTriggered,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from agents.exceptions import UserError
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from agents.tool_context import ToolContext
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from conscience import BackendError, ConfigurationError
from conscience.integrations.openai_agents import ReviewedModel, input_guardrail, output_guardrail, tool_guardrail
from conscience.integrations.tools import conversation, guard
from tests.unit.integrations.reviewers import BAD, DOWN, MENDED, REFUSED, mends, program, scripted

pytestmark = pytest.mark.long  # by what it imports


@pytest.fixture(autouse=True)
def _no_traces() -> None:
    set_tracing_disabled(True)


class Person(BaseModel):
    name: str


def says(*turns: Any) -> ScriptedModel:
    return ScriptedModel([[assistant_message(turn) if isinstance(turn, str) else turn] for turn in turns])


def acts(what: str) -> Any:
    return function_call("act", {"what": what}, call_id="call_1")


class Tool:
    """A tool, and what it has done."""

    def __init__(self, **options: Any) -> None:
        self.done: list[str] = []

        def act(what: str) -> str:
            """Acts."""
            self.done.append(what)
            return "Done."

        self.tool = function_tool(act)
        for name, value in options.items():
            setattr(self.tool, name, value)


async def test_an_output_that_may_not_be_shown_trips() -> None:
    """With what may be shown instead; one that passes does not."""
    agent = Agent(name="a", model=says("Fine."), output_guardrails=[output_guardrail(program())])
    result = await Runner.run(agent, "Hello?")
    assert result.final_output == "Fine."
    assert result.output_guardrail_results[0].output.output_info["status"] == "clean"
    agent = Agent(name="a", model=says(f"Say {BAD}."), output_guardrails=[output_guardrail(program())])
    with pytest.raises(OutputGuardrailTripwireTriggered) as tripped:
        await Runner.run(agent, "Hello?")
    told = tripped.value.guardrail_result.output.output_info
    assert (told["status"], told["response"]) == ("revised", MENDED)
    assert BAD not in repr(told)


async def test_a_program_that_observes_trips_nothing() -> None:
    """On either side."""
    judge = program(mode="observe")
    tool = Tool(tool_input_guardrails=[tool_guardrail(judge)])
    guardrails: Any = {"input_guardrails": [input_guardrail(judge)], "output_guardrails": [output_guardrail(judge)]}
    agent = Agent(name="a", model=says(acts(BAD), f"Say {BAD}."), tools=[tool.tool], **guardrails)
    assert (await Runner.run(agent, f"You {BAD}!")).final_output == f"Say {BAD}."
    assert tool.done == [BAD]


async def test_an_output_is_judged_in_the_light_of_the_run() -> None:
    """What was asked, what tools returned."""
    lm = scripted()
    model = says(acts("help"), "Well.")
    agent = Agent(name="a", model=model, tools=[Tool().tool], output_guardrails=[output_guardrail(program(lm=lm))])
    await Runner.run(agent, "Hello?")
    assert "Hello?" in repr(lm.calls[0])


async def test_an_object_is_judged_too() -> None:
    """By its fields."""
    for name, trips in [("Kim", False), (BAD, True)]:
        judge = output_guardrail(program(max_revisions=0))
        agent = Agent(name="a", model=says(f'{{"name": "{name}"}}'), output_type=Person, output_guardrails=[judge])
        if trips:
            with pytest.raises(OutputGuardrailTripwireTriggered):
                await Runner.run(agent, "Who?")
        else:
            assert (await Runner.run(agent, "Who?")).final_output == Person(name="Kim")


@pytest.mark.parametrize("guardrail", [output_guardrail, input_guardrail, tool_guardrail])
async def test_an_outage_trips_no_wire(guardrail: Any) -> None:
    """It is an error of its own; where the policy is open, the run goes on."""
    for judge in (program(gate=DOWN), program(gate=DOWN, on_error="open")):
        kind = {output_guardrail: "output_guardrails", input_guardrail: "input_guardrails"}.get(guardrail)
        tool = Tool(**({} if kind else {"tool_input_guardrails": [guardrail(judge)]}))
        more: Any = {kind: [guardrail(judge)]} if kind else {}
        agent = Agent(name="a", model=says(acts("help"), "Well."), tools=[tool.tool], **more)
        if judge.on_error == "open":
            assert (await Runner.run(agent, "Hello?")).final_output == "Well."
        else:
            with pytest.raises((BackendError, UserError), match="Auth"):  # the SDK wraps what a tool's guardrail raises
                await Runner.run(agent, "Hello?")


async def test_what_the_user_wrote_is_judged_before_the_agent_begins() -> None:
    """So no tool has run when it trips."""
    tool = Tool()
    agent = Agent(
        name="a", model=says(acts("help"), "Well."), tools=[tool.tool], input_guardrails=[input_guardrail(program())]
    )
    with pytest.raises(InputGuardrailTripwireTriggered) as tripped:
        await Runner.run(agent, f"You {BAD}!")
    assert REFUSED in tripped.value.guardrail_result.output.output_info["response"]
    assert tool.done == []
    assert (await Runner.run(agent, "Hello?")).final_output == "Well."


async def test_a_tool_does_not_run_with_arguments_that_are_flagged() -> None:
    """The model is told the rule, and goes on."""
    tool = Tool(tool_input_guardrails=[tool_guardrail(program())])
    model = says(acts(BAD), function_call("act", {"what": "help"}, call_id="call_2"), "Well.")
    result = await Runner.run(Agent(name="a", model=model, tools=[tool.tool]), "Hello?")
    assert (result.final_output, tool.done) == ("Well.", ["help"])
    told = str(model.calls[1].input[-1])
    assert "The tool was not run. Rule: " in told
    assert BAD not in told


@pytest.mark.parametrize("streamed", [False, True])
async def test_no_tool_runs_before_the_model_is_reviewed(streamed: bool) -> None:
    """A flagged call is revised, or not made."""
    for judge, done in [(program(mends(what="help")), ["help"]), (program(max_revisions=0), [])]:
        tool = Tool()
        agent = Agent(name="a", model=ReviewedModel(says(acts(BAD), "Well."), judge), tools=[tool.tool])
        if streamed:
            result = Runner.run_streamed(agent, "Hello?")
            seen = [event async for event in result.stream_events()]
            assert BAD not in repr(seen)
        else:
            assert BAD not in repr((await Runner.run(agent, "Hello?")).to_input_list())
        assert tool.done == done


@pytest.mark.parametrize(("said", "shown"), [("All is fine.", "All is fine."), (f"One {BAD} two.", MENDED)])
async def test_a_stream_of_a_reviewed_model(said: str, shown: str) -> None:
    """Its deltas add up to what the run ends with."""
    result = Runner.run_streamed(
        Agent(name="a", instructions="Be kind.", model=ReviewedModel(says(said), program())), "Hello?"
    )
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
    ]
    assert ("".join(deltas), result.final_output) == (shown, shown)


async def test_a_stream_that_says_more_than_it_ends_with_is_told_anew() -> None:
    """Only the end is reviewed, so only that is shown."""
    honest = says("All is fine.")
    events = [event async for event in honest.stream_response(*_nothing(), **_rest())]
    forged = [e.model_copy(update={"delta": BAD}) if e.type == "response.output_text.delta" else e for e in events]
    model = ReviewedModel(ScriptedModel([ModelStep.stream(forged)]), program())
    result = Runner.run_streamed(Agent(name="a", model=model), "Hello?")
    assert BAD not in repr([event async for event in result.stream_events()])
    assert result.final_output == "All is fine."


async def test_a_stream_without_an_end_shows_nothing() -> None:
    """Nobody could review it."""
    events = [event async for event in says("All is fine.").stream_response(*_nothing(), **_rest())]
    model = ReviewedModel(ScriptedModel([ModelStep.stream(events[:-1])]), program())
    result = Runner.run_streamed(Agent(name="a", model=model), "Hello?")
    seen: list[Any] = []

    async def read() -> None:
        async for event in result.stream_events():
            seen.append(event)

    with pytest.raises(BackendError, match="without a response"):
        await read()
    assert "fine" not in repr(seen)


async def test_traces_of_the_wrapped_model_hold_no_texts() -> None:
    """They would be drafts, and go to OpenAI."""
    for given, handed in [
        (ModelTracing.ENABLED, ModelTracing.ENABLED_WITHOUT_DATA),
        (ModelTracing.DISABLED, ModelTracing.DISABLED),
    ]:
        model = says("Fine.")
        await ReviewedModel(model, program()).get_response(*_nothing(given), **_rest())
        assert model.calls[0].tracing == handed


def _nothing(tracing: ModelTracing = ModelTracing.DISABLED) -> tuple[Any, ...]:
    from agents import ModelSettings

    return (None, "Hello?", ModelSettings(), [], None, [], tracing)


def _rest() -> dict[str, Any]:
    return {"previous_response_id": None, "conversation_id": None, "prompt": None}


async def test_a_guarded_function_makes_the_same_tool() -> None:
    """The same schema, strict as it is; the SDK's context tells the conversation where nobody else does."""
    lm = scripted("{}")
    sent = []

    async def send(ctx: ToolContext[None], to: str, copies: int = 1) -> str:
        """Sends a mail.

        Args:
            to: who gets it.
        """
        sent.append(to)
        return f"sent to {to}"

    send.__annotations__["ctx"] = ToolContext[None]
    plain, guarded = function_tool(send), function_tool(guard(send, program=program(lm=lm)))
    assert guarded.params_json_schema == plain.params_json_schema
    assert (guarded.name, guarded.description) == (plain.name, plain.description)
    searched = {"type": "web_search_call", "id": "1", "status": "completed"}

    async def called(to: str, *items: Any) -> str:
        given = f'{{"to": "{to}"}}'
        context = ToolContext(None, tool_name="send", tool_call_id="1", tool_arguments=given, turn_input=list(items))
        return str(await guarded.on_invoke_tool(context, given))

    with conversation("Write to Ann."):
        assert "did not run" in await called(BAD)
    assert await called("Ann", {"role": "user", "content": "Write to Bob."}, searched) == "sent to Ann"
    assert sent == ["Ann"]
    assert "Write to Ann." in str(lm.calls[0])
    assert "Write to Bob." in str(lm.calls[-1])
    with pytest.raises(ConfigurationError, match="guard the function"):
        guard(plain, program=program())
