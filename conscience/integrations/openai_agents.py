"""OpenAI's Agents SDK: guardrails, and a model whose every response is reviewed.

    Agent(…, output_guardrails=[output_guardrail(program)], input_guardrails=[input_guardrail(program)])
    function_tool(delete, tool_input_guardrails=[tool_guardrail(program)])   # before the tool runs
    Agent(…, model=ReviewedModel(OpenAIResponsesModel(…), program))          # every turn: text, streams, calls of tools

A guardrail can stop a run and cannot mend an answer; and an output guardrail sees it when a stream has shown it. Where that
matters, review the model. A review that fails ends the run with what made it fail, and trips no wire: it is no verdict.
Needs the extra ``openai-agents``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from agents import (
    Agent,
    AgentOutputSchemaBase,
    FunctionTool,
    GuardrailFunctionOutput,
    InputGuardrail,
    Model,
    ModelResponse,
    ModelTracing,
    OutputGuardrail,
    RunContextWrapper,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    TResponseInputItem,
)
from agents.exceptions import UserError
from agents.models.chatcmpl_converter import Converter

from conscience.chat import report
from conscience.chat.given import text_field_of
from conscience.errors import BackendError
from conscience.integrations._responses import agree, output_items, output_turn, stream_events, streamed_response
from conscience.integrations._turns import (
    ReviewedTurn,
    ToolCall,
    Turn,
    areview,
    chat_tool,
    judge_of,
    last_user_text,
    part_text,
    readable,
    rules_text,
)
from conscience.outcome import Outcome
from conscience.program import Conscience


def output_guardrail(program: Conscience, *, name: str = "conscience") -> OutputGuardrail[Any]:
    """A guardrail that trips where an agent's final output is not what may be shown.

    ``error.guardrail_result.output.output_info`` then has the verdict, and under ``response`` the text that may be shown
    instead: the revision, or the refusal.
    """

    async def reviewed(ctx: RunContextWrapper[Any], agent: Agent[Any], output: Any) -> GuardrailFunctionOutput:
        field = text_field_of(program.generate) if isinstance(output, str) else "output"
        outcome = await program.acorrect(as_chat(ctx.turn_input), {field: output})
        return _tripped(outcome, changed=not _returns(outcome, field, output))

    return OutputGuardrail(guardrail_function=reviewed, name=name)


def input_guardrail(program: Conscience, *, name: str = "conscience", run_in_parallel: bool = False) -> InputGuardrail[Any]:
    """A guardrail that trips where what the user wrote last goes against the constitution itself.

    It is judged like a text of the assistant's, so this stops abuse rather than questions; whether a question is answered
    well is for the output's review. It runs before the agent: in parallel, tools may have run by the time it trips.
    """
    judge = judge_of(program)

    async def reviewed(
        ctx: RunContextWrapper[Any], agent: Agent[Any], asked: str | list[TResponseInputItem]
    ) -> GuardrailFunctionOutput:
        text = last_user_text(as_chat(asked))
        if not text.strip():
            return GuardrailFunctionOutput(output_info={}, tripwire_triggered=False)
        outcome = await judge.acorrect("", {text_field_of(program.generate): text})
        return _tripped(outcome, changed=outcome.status == "refused")

    return InputGuardrail(guardrail_function=reviewed, name=name, run_in_parallel=run_in_parallel)


def tool_guardrail(program: Conscience, *, name: str = "conscience") -> ToolInputGuardrail[Any]:
    """A guardrail that keeps a tool from running with arguments that the review has something against; the model is told
    which rule they break, and goes on."""
    judge = judge_of(program)

    async def reviewed(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        call = ToolCall(data.context.tool_name, data.context.tool_arguments, data.context.tool_call_id)
        reviewed = await areview(judge, as_chat(data.context.turn_input), Turn(calls=(call,)))
        assert reviewed.outcome is not None  # there is a call
        told = report(_reviewed(reviewed.outcome))
        if not reviewed.changed:
            return ToolGuardrailFunctionOutput.allow(output_info=told)
        message = f"The tool was not run. {rules_text(program, reviewed.outcome.verdict)}"
        return ToolGuardrailFunctionOutput.reject_content(message, output_info=told)

    return ToolInputGuardrail(guardrail_function=reviewed, name=name)


class ReviewedModel(Model):
    """A model of the SDK's whose every response is reviewed before the run acts on it or streams it.

    What a review has nothing against goes on unchanged; a revision keeps the usage; a refusal is a message without calls.
    Traces of the wrapped model hold no texts: they would be drafts.

    Args:
        model: what answers.
        program: what reviews, and revises.
    """

    def __init__(self, model: Model, program: Conscience) -> None:
        self.model = model
        self.program = program

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: Any,
        tools: list[Any],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        **rest: Any,
    ) -> ModelResponse:
        arguments = (system_instructions, input, model_settings, tools, output_schema, handoffs)
        response = await self.model.get_response(*arguments, _without_texts(tracing), **rest)
        reviewed = await self._reviewed(system_instructions, input, response.output, tools, output_schema, handoffs)
        if reviewed.changed:
            response.output = output_items(reviewed.turn)
        return response

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: Any,
        tools: list[Any],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        **rest: Any,
    ) -> AsyncIterator[Any]:
        """The wrapped model's events where nothing was changed, else those of what may be shown; none before the verdict.

        Raises:
            BackendError: the stream ended without a response: nobody could review it.
        """
        arguments = (system_instructions, input, model_settings, tools, output_schema, handoffs)
        events = [event async for event in self.model.stream_response(*arguments, _without_texts(tracing), **rest)]
        response = streamed_response(events)
        if response is None:
            raise BackendError("the model's stream ended without a response", hint="ask again", retryable=True)
        reviewed = await self._reviewed(system_instructions, input, response.output, tools, output_schema, handoffs)
        as_it_was = not reviewed.changed and agree(events, response.output)
        for event in events if as_it_was else stream_events(events, reviewed.turn):
            yield event

    async def close(self) -> None:
        await self.model.close()

    def get_retry_advice(self, request: Any) -> Any:
        return self.model.get_retry_advice(request)

    async def _reviewed(
        self,
        instructions: str | None,
        asked: Any,
        output: Sequence[Any],
        tools: Sequence[Any],
        schema: AgentOutputSchemaBase | None,
        handoffs: Sequence[Any],
    ) -> ReviewedTurn:
        lead = [{"role": "system", "content": instructions}] if instructions else []
        offered = [
            chat_tool(tool.name, tool.description, tool.params_json_schema)
            for tool in tools
            if isinstance(tool, FunctionTool)
        ]
        offered += [chat_tool(other.tool_name, other.tool_description, other.input_json_schema) for other in handoffs]
        params: dict[str, Any] = {"tools": offered}
        if schema is not None and not schema.is_plain_text():
            described = {"name": "final_output", "schema": schema.json_schema(), "strict": schema.is_strict_json_schema()}
            params["response_format"] = {"type": "json_schema", "json_schema": described}
        return await areview(self.program, lead + as_chat(asked), output_turn(output), **params)


def as_chat(items: str | Sequence[Any]) -> list[dict[str, Any]]:
    """The SDK's items as chat messages; what these have no form for, as text."""
    try:
        return readable(Converter.items_to_messages(items))
    except UserError:
        messages: list[dict[str, Any]] = []
        item: Any
        for item in items:
            try:
                messages += readable(Converter.items_to_messages([item]))
            except UserError:
                messages.append({"role": "user", "content": part_text(item)})
        return messages


def _tripped(outcome: Outcome, *, changed: bool) -> GuardrailFunctionOutput:
    told = report(_reviewed(outcome))
    return GuardrailFunctionOutput(
        output_info={**told, "response": outcome.response} if changed else told, tripwire_triggered=changed
    )


def _reviewed(outcome: Outcome) -> Outcome:
    """The outcome, where there was a review, or the caller's policy does without one.

    Raises:
        ReviewError, BackendError, BudgetExceeded: what made the review fail.
    """
    closed = outcome.status == "unreviewed" and outcome.draft is None
    return outcome.raise_for_status() if closed else outcome


def _returns(outcome: Outcome, field: str, output: Any) -> bool:
    """Whether the output itself is what may be shown."""
    value = dict(outcome.items()).get(field)
    return outcome.status != "revised" and type(value) is type(output) and bool(value == output)


def _without_texts(tracing: ModelTracing) -> ModelTracing:
    return tracing if tracing.is_disabled() else ModelTracing.ENABLED_WITHOUT_DATA
