"""pydantic-ai: a validator of an agent's output, and a model whose every response is reviewed.

    agent.output_validator(output_validator(program))                        # the output: revised, or asked for again
    agent = Agent(ReviewedModel("openai:gpt-4o", program), tools=[search])   # every turn: text, streams, calls of tools

A validator sees what an agent puts out in the end: by then its tools have run, and ``stream_text(delta=True)`` and event
streams have shown what the model wrote. Where that matters, review the model. Needs the extra ``pydantic-ai``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter
from pydantic_ai import ModelRetry, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.batch import BatchRequest, BatchResult
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_core import from_json

from conscience.chat import report
from conscience.chat.given import text_field_of
from conscience.errors import ConfigurationError
from conscience.integrations._turns import (
    ReviewedTurn,
    ToolCall,
    Turn,
    areview,
    chat_tool,
    judge_of,
    other_tokens,
    part_text,
    rules_text,
)
from conscience.outcome import UNCHANGED, Outcome
from conscience.program import Conscience

Deps = TypeVar("Deps")
Output = TypeVar("Output")

PARTIAL = "an answer is reviewed when it is whole: use stream_output() or get_output(), or an agent with a ReviewedModel"
"""What a partial output raises. ``stream_output`` then waits for the whole one; ``stream_text`` would show it unreviewed."""


def output_validator(
    program: Conscience,
    *,
    on_flag: Literal["revise", "retry"] = "revise",
    context: Callable[[RunContext[Deps]], str] | None = None,
) -> Callable[[RunContext[Deps], Output], Awaitable[Output]]:
    """A validator for ``agent.output_validator`` that lets pass what a review has nothing against.

    What is flagged is revised by the program, in the type of the output. A refusal is returned where the output is a text;
    no value of another type says no, so there the agent is asked again, and when its retries are spent an error is raised.

    Args:
        program: reviews in the light of the run's messages; revises where ``on_flag`` says so.
        on_flag: "retry" tells the agent's own model which rule it broke and has it answer again, with its tools, as often
            as the agent's retries allow; then the answer is refused.
        context: what else the review should know, from the run's dependencies.

    Raises:
        ModelRetry, UnresolvedError, ReviewError, BackendError, BudgetExceeded: by the validator, see above.
    """
    if on_flag not in ("revise", "retry"):
        raise ConfigurationError(f"on_flag={on_flag!r} does not exist", hint="choose among revise, retry")
    judge = judge_of(program) if on_flag == "retry" else program

    async def reviewed(ctx: RunContext[Deps], output: Output) -> Output:
        if ctx.partial_output:
            raise ModelRetry(PARTIAL)
        known = [{"role": "system", "content": context(ctx)}] if context is not None else []
        conversation = as_chat(ctx.messages[:-1] if _ends_with_answer(ctx.messages) else ctx.messages)
        name = text_field_of(program.generate) if isinstance(output, str) else "output"
        outcome = await judge.acorrect([*known, *conversation], {name: output})
        if outcome.status in UNCHANGED:
            return output
        again = on_flag == "retry" or not isinstance(output, str)
        if again and outcome.status == "refused" and ctx.retry < ctx.max_retries:
            raise ModelRetry(rules_text(program, outcome.verdict))
        return _returned(program, outcome, name, output)

    return reviewed


class ReviewedModel(WrapperModel):
    """A model whose every response is reviewed before the agent acts on it: texts, and calls of tools with their arguments.

    A stream begins after the verdict. What a review has nothing against goes on unchanged; a revision keeps the usage; a
    refusal is a text without calls. How the review ended is in the response's ``metadata["conscience"]``.

    Args:
        model: what answers, as ``Agent`` takes it.
        program: what reviews, and revises.
    """

    def __init__(self, model: Model | str, program: Conscience) -> None:
        super().__init__(model)
        self.program = program

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        response = await self.wrapped.request(messages, model_settings, model_request_parameters)
        return await self._reviewed(messages, response, model_request_parameters)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        arguments = (messages, model_settings, model_request_parameters, run_context)
        async with self.wrapped.request_stream(*arguments) as stream:
            async for _ in stream:
                pass
            response = stream.get()
        reviewed = await self._reviewed(messages, response, model_request_parameters)
        yield CompletedStreamedResponse(reviewed, model_request_parameters=model_request_parameters, replay_events=True)

    def batch_decode(self, result: BatchResult, request: BatchRequest) -> ModelResponse:
        """Refused: a batch is decoded where no review can be awaited."""
        raise ConfigurationError("a ReviewedModel takes no batches", hint="use the model itself, and acorrect() its answers")

    async def _reviewed(
        self, messages: Sequence[ModelMessage], response: ModelResponse, parameters: ModelRequestParameters
    ) -> ModelResponse:
        on_offer = (*parameters.function_tools, *parameters.output_tools)
        tools = [chat_tool(tool.name, tool.description, tool.parameters_json_schema) for tool in on_offer]
        return _written(response, await areview(self.program, as_chat(messages), _turn(response), tools=tools))


def as_chat(messages: Sequence[ModelMessage]) -> list[dict[str, Any]]:
    """pydantic-ai's messages as OpenAI's; the instructions once, as they were last."""
    instructions = [
        message.instructions for message in messages if isinstance(message, ModelRequest) and message.instructions
    ]
    lead = [{"role": "system", "content": instructions[-1]}] if instructions else []
    return lead + [turn for message in messages for turn in _turns(message)]


def _turns(message: ModelMessage) -> Iterator[dict[str, Any]]:
    if isinstance(message, ModelResponse):
        turn = _turn(message)
        calls = {"tool_calls": [call.to_message() for call in turn.calls]} if turn.calls else {}
        yield {"role": "assistant", "content": turn.text, **calls}
        return
    for part in message.parts:
        if isinstance(part, UserPromptPart):
            yield {"role": "user", "content": _user_content(part.content)}
        elif part.part_kind == "system-prompt":
            yield {"role": "system", "content": part.content}
        elif part.part_kind == "tool-return":
            yield {
                "role": "tool",
                "name": part.tool_name,
                "tool_call_id": part.tool_call_id,
                "content": part.model_response_str(),
            }
        elif hasattr(part, "model_response"):  # what was asked for again, and why
            yield {"role": "user", "content": str(part.model_response())}


def _user_content(content: str | Sequence[Any]) -> Any:
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    item: Any
    for item in content:
        text = item if isinstance(item, str) else getattr(item, "content", None)
        if isinstance(text, str):
            parts.append({"type": "text", "text": text})
        elif getattr(item, "kind", "") == "image-url":
            parts.append({"type": "image_url", "image_url": {"url": item.url}})
        elif getattr(item, "is_image", False):
            parts.append({"type": "image_url", "image_url": {"url": item.data_uri}})
        else:
            parts.append({"type": "text", "text": f"({getattr(item, 'kind', type(item).__name__)})"})
    return parts if any(part["type"] != "text" for part in parts) else "\n".join(part["text"] for part in parts)


def _turn(response: ModelResponse) -> Turn:
    """What a response says. What a provider ran by itself, such as code, is part of what led to the answer."""
    texts, thoughts, calls = [], [], []
    for part in response.parts:
        if isinstance(part, TextPart):
            texts.append(part.content)
        elif isinstance(part, ThinkingPart):
            thoughts.append(part.content)
        elif isinstance(part, ToolCallPart):
            calls.append(ToolCall(part.tool_name, part.args_as_json_str(), part.tool_call_id))
        else:
            thoughts.append(_described(part))
    thoughts.append(other_tokens((response.provider_details or {}).get("logprobs"), "".join(texts)))
    return Turn("".join(texts), "\n".join(filter(None, thoughts)), tuple(calls))


def _described(part: Any) -> str:
    told = {name: getattr(part, name) for name in ("tool_name", "args", "content") if hasattr(part, name)}
    return part_text({name: value for name, value in told.items() if not hasattr(value, "media_type")})


def _ends_with_answer(messages: Sequence[ModelMessage]) -> bool:
    return bool(messages) and isinstance(messages[-1], ModelResponse)


def _written(response: ModelResponse, reviewed: ReviewedTurn) -> ModelResponse:
    if reviewed.outcome is None:
        return response
    metadata = {**(response.metadata or {}), "conscience": report(reviewed.outcome)}
    if not reviewed.changed:
        return replace(response, metadata=metadata)
    parts: list[ModelResponsePart] = [TextPart(reviewed.turn.text)] if reviewed.turn.text else []
    parts += [ToolCallPart(call.name, call.arguments, tool_call_id=call.id) for call in reviewed.turn.calls]
    finish: Literal["tool_call", "stop"] = "tool_call" if reviewed.turn.calls else "stop"
    return replace(response, parts=parts, metadata=metadata, provider_details=None, finish_reason=finish)


def _returned(program: Conscience, outcome: Outcome, name: str, output: Output) -> Output:
    """What the outcome returns, in the type of the output.

    Raises:
        ModelRetry: a revision that is not of this type.
        UnresolvedError, ReviewError, BackendError, BudgetExceeded: there is nothing to return, and no text to say so.
    """
    value = dict(outcome.items()).get(name)
    if isinstance(output, str):
        return value if isinstance(value, str) and value else outcome.response  # type: ignore[return-value]
    if value is None:
        outcome.raise_for_status()
    try:
        return TypeAdapter(_kind(output)).validate_python(from_json(value) if isinstance(value, str) else value)  # type: ignore[no-any-return]
    except ValueError:
        raise ModelRetry(rules_text(program, outcome.draft_verdict or outcome.verdict)) from None


def _kind(output: Any) -> Any:
    kinds = {type(item) for item in output} if isinstance(output, list) else set()
    return list[kinds.pop()] if len(kinds) == 1 else type(output)  # type: ignore[misc]
