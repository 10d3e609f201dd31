"""LangChain: a program as a Runnable, and a chat model whose answers are reviewed before anyone sees them.

    chain = prompt | ConscienceRunnable(Conscience("request -> response", lm="openai/gpt-4o-mini")) | StrOutputParser()

    model = ReviewedChatModel(model=ChatOpenAI(model="gpt-4o"), program=Conscience(lm={"review": "openai/gpt-4o-mini"}))
    model.bind_tools([search]).invoke("…")           # calls are reviewed with their arguments, before any tool runs
    model.with_structured_output(Person).invoke("…")

Callbacks, ``astream_events`` and LangGraph's message streams see one model, with what may be shown; the draft's own events
reach only callbacks that were given to the wrapped model itself. Needs the extra ``langchain``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableParallel, RunnableSequence
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, model_validator

from conscience._base.flow import StageStarted
from conscience._dspy.streams import words
from conscience._types import ReleaseMode
from conscience.chat import report
from conscience.errors import ConfigurationError
from conscience.integrations._turns import (
    ReviewedTurn,
    ToolCall,
    Turn,
    areview,
    chat_tools,
    other_tokens,
    part_text,
    readable,
    review,
)
from conscience.messages.thoughts import FIELDS, thought_of
from conscience.outcome import Outcome
from conscience.program import Conscience
from conscience.streaming.events import ProgramStream

ProgramInput = LanguageModelInput | Mapping[str, Any]
"""A text, chat messages or a prompt's value; or the inputs of the program by name."""


class ConscienceRunnable(Runnable[ProgramInput, AIMessage]):
    """A program as a step of a chain: after a prompt, before an output parser.

    The answer is an ``AIMessage`` with the text of the outcome, and the rest in ``response_metadata["conscience"]``: status,
    verdict, usage, and ``outputs``, the output fields by name.

    Args:
        program: what answers.
        release: when ``stream`` releases its text, as ``Conscience.stream`` does: "hold" or "window".
    """

    def __init__(self, program: Conscience, *, release: ReleaseMode = "hold") -> None:
        self.program = program
        self.release: ReleaseMode = release

    def invoke(self, input: ProgramInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        return self._call_with_config(self._answer, input, config, **kwargs)

    async def ainvoke(self, input: ProgramInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        return await self._acall_with_config(self._aanswer, input, config, **kwargs)

    def stream(self, input: ProgramInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessage]:
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: ProgramInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        async def given() -> AsyncIterator[ProgramInput]:
            yield input

        async for piece in self.atransform(given(), config, **kwargs):
            yield piece

    def transform(
        self, input: Iterator[ProgramInput], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessage]:
        yield from self._transform_stream_with_config(input, self._stream, config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[ProgramInput], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        async for piece in self._atransform_stream_with_config(input, self._astream, config, **kwargs):
            yield piece

    def _answer(self, input: ProgramInput) -> AIMessage:
        request, inputs = _inputs(input)
        with _no_callbacks():
            return _answered(self.program(*request, **inputs))

    async def _aanswer(self, input: ProgramInput) -> AIMessage:
        request, inputs = _inputs(input)
        with _no_callbacks():
            return _answered(await self.program.acall(*request, **inputs))

    def _stream(self, given: Iterator[ProgramInput]) -> Iterator[AIMessage]:
        request, inputs = _inputs(_whole(list(given)))
        with closing(self.program.stream(*request, release=self.release, **inputs)) as events:
            while (event := _next(events)) is not None:
                if (piece := _piece(event)) is not None:
                    yield piece

    async def _astream(self, given: AsyncIterator[ProgramInput]) -> AsyncIterator[AIMessage]:
        request, inputs = _inputs(_whole([piece async for piece in given]))
        async with aclosing(self.program.stream(*request, release=self.release, **inputs)) as events:
            while (event := await _anext(events)) is not None:
                if (piece := _piece(event)) is not None:
                    yield piece


def _whole(pieces: Sequence[Any]) -> Any:
    """An input that came in pieces."""
    whole, *rest = pieces
    for piece in rest:
        whole = whole + piece
    return whole


def _next(events: ProgramStream) -> Any:
    """The next event; None at the end. Callbacks are switched off for each by itself: where a stream is left, its last step
    may run in another context."""
    with _no_callbacks():
        return next(events, None)


async def _anext(events: ProgramStream) -> Any:
    with _no_callbacks():
        return await anext(events, None)


def _piece(event: StageStarted | str | Outcome) -> AIMessageChunk | None:
    """What a stream shows of an event; the last has what is known of the outcome."""
    if isinstance(event, str):
        return AIMessageChunk(content=event)
    if not isinstance(event, Outcome):
        return None
    told = _answered(event)
    usage, metadata = told.usage_metadata, told.response_metadata
    return AIMessageChunk(content="", usage_metadata=usage, response_metadata=metadata, chunk_position="last")


class ReviewedChatModel(BaseChatModel):
    """A chat model of LangChain's whose every answer is reviewed, and corrected where it must be.

    It stands where the model stood: messages in, ``AIMessage`` out, with tool calls, usage and ids. ``bind_tools`` and
    ``with_structured_output`` are the wrapped model's own. What a review has nothing against goes on unchanged; a revision
    keeps the usage and loses what was about the draft (log-probabilities, thoughts, annotations); a refusal is a message
    without tool calls, with ``additional_kwargs["refusal"]`` as OpenAI's have it. How the review ended is in
    ``response_metadata["conscience"]``.

    Attributes:
        model: what answers.
        program: what reviews, and revises; it is not asked to generate.
    """

    model: BaseChatModel
    program: Conscience
    cache: bool = False  # the wrapped model may have one; a verdict is not kept
    model_config = ConfigDict(arbitrary_types_allowed=True)

    @model_validator(mode="after")
    def _same_profile(self) -> Self:
        if self.profile is None:
            self.profile = self.model.profile
        return self

    @property
    def _llm_type(self) -> str:
        return f"reviewed-{self.model._llm_type}"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return dict(self.model._identifying_params)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self.model._get_ls_params(stop, **kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        return self.model.get_token_ids(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        return self.model.get_num_tokens_from_messages(messages, tools)

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The wrapped model's own binding, around this model."""
        return _around(self, self.model.bind_tools(tools, **kwargs))

    def with_structured_output(self, schema: Any = None, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """The wrapped model's own chain, around this model: it reads what was reviewed.

        A refusal gives what the parser of that chain makes of one: OpenAI's raises, others return None.
        """
        return _around(self, self.model.with_structured_output(schema, **kwargs))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = self.model.invoke(messages, config={"callbacks": []}, stop=stop, **kwargs)
        return _result(said, review(self.program, as_chat(messages), read_turn(said), **_asked(kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = await self.model.ainvoke(messages, config={"callbacks": []}, stop=stop, **kwargs)
        return _result(said, await areview(self.program, as_chat(messages), read_turn(said), **_asked(kwargs)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """What was reviewed, in pieces; nothing before the verdict."""
        for piece in _pieces(self._generate(messages, stop, **_unstreamed(kwargs)).generations[0].message):
            yield ChatGenerationChunk(message=piece)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in _pieces((await self._agenerate(messages, stop, **_unstreamed(kwargs))).generations[0].message):
            yield ChatGenerationChunk(message=piece)


def as_chat(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """LangChain's messages as OpenAI's."""
    chat: list[dict[str, Any]] = []
    for message in messages:
        try:
            chat += convert_to_openai_messages([message])
        except ValueError:  # a part that LangChain itself cannot read
            content = message.content if isinstance(message.content, list) else [message.content]
            chat.append({"role": ROLES.get(message.type, "user"), "content": "\n".join(map(part_text, content))})
    return readable(chat)


ROLES = {"ai": "assistant", "AIMessageChunk": "assistant", "system": "system"}


def read_turn(message: AIMessage) -> Turn:
    """What a model's message says, whatever provider it came from."""
    beside = message.additional_kwargs
    texts = [beside.get("refusal"), (beside.get("audio") or {}).get("transcript")]
    others = {name: value for name, value in beside.items() if value and name not in READ and not name.startswith("__")}
    thoughts = [thought_of(beside), part_text(others) if others else ""]
    for part in message.content if isinstance(message.content, list) else [message.content]:
        kind = "text" if isinstance(part, str) else part.get("type")
        if kind == "text":
            texts.append(part_text(part))
        elif kind not in CALLS_AGAIN:
            thoughts.append(part_text(part))
    asked = [*getattr(message, "tool_calls", ()), *getattr(message, "invalid_tool_calls", ())]
    calls = [ToolCall.of(call["name"], call["args"], call["id"]) for call in asked]
    if (old := beside.get("function_call")) is not None:
        calls.append(ToolCall.of(old.get("name"), old.get("arguments")))
    text = "\n".join(filter(None, texts))
    thoughts.append(other_tokens(message.response_metadata.get("logprobs"), text))
    return Turn(text, "\n".join(filter(None, thoughts)), tuple(calls))


READ = frozenset({*FIELDS, "refusal", "audio", "function_call", "tool_calls", "parsed"})
"""What is read of that which a message has beside its content; whatever else is there led to the answer."""

CALLS_AGAIN = frozenset({"tool_use", "tool_call", "function_call"})
"""Parts of a message's content that its ``tool_calls`` have too."""

_OF_THE_CALL = ("id", "model", "model_name", "model_provider", "service_tier", "system_fingerprint", "token_usage")
"""What of a message's metadata is true of a revision too: nothing that quotes or scores the draft."""


def _result(said: BaseMessage, reviewed: ReviewedTurn) -> ChatResult:
    told = {"conscience": report(reviewed.outcome)} if reviewed.outcome is not None else {}
    if not reviewed.changed:
        message = said.model_copy(update={"response_metadata": {**said.response_metadata, **told}})
        return ChatResult(generations=[ChatGeneration(message=message)])
    ok = reviewed.outcome is None or reviewed.outcome.ok
    metadata = {name: said.response_metadata[name] for name in _OF_THE_CALL if name in said.response_metadata}
    return ChatResult(
        generations=[
            ChatGeneration(
                message=AIMessage(
                    reviewed.turn.text,
                    id=said.id,
                    name=said.name,
                    usage_metadata=getattr(said, "usage_metadata", None),
                    tool_calls=[
                        tool_call(name=call.name, args=arguments, id=call.id)
                        for call in reviewed.turn.calls
                        if isinstance(arguments := call.arguments_object(), dict)
                    ],
                    additional_kwargs=_parsed(said, reviewed.turn.text) if ok else {"refusal": reviewed.turn.text},
                    response_metadata={**metadata, "finish_reason": "stop" if ok else "content_filter", **told},
                )
            )
        ]
    )


def _parsed(said: BaseMessage, text: str) -> dict[str, Any]:
    """Where the model's package keeps the answer read as an object, the revision's: of its class, or a refusal to say."""
    parsed = said.additional_kwargs.get("parsed")
    if parsed is None:
        return {}
    try:
        read = json.loads(text)
        return {"parsed": type(parsed).model_validate(read) if hasattr(type(parsed), "model_validate") else read}
    except ValueError:
        return {"refusal": text}


def _answered(outcome: Outcome) -> AIMessage:
    total = outcome.usage.total
    usage = UsageMetadata(input_tokens=total.input_tokens, output_tokens=total.output_tokens, total_tokens=total.tokens)
    told = {**report(outcome), "outputs": outcome.to_json()["outputs"]}
    return AIMessage(outcome.response, usage_metadata=usage, response_metadata={"conscience": told})


def _pieces(message: BaseMessage) -> Iterator[AIMessageChunk]:
    """A message in pieces that add up to it."""
    texts = words(message.content) if isinstance(message.content, str) else [message.content]
    for text in texts:
        yield AIMessageChunk(content=text, id=message.id)
    yield AIMessageChunk(
        content="" if isinstance(message.content, str) else [],
        id=message.id,
        name=message.name,
        tool_call_chunks=[
            tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=number)
            for number, call in enumerate(getattr(message, "tool_calls", ()))
        ],
        usage_metadata=getattr(message, "usage_metadata", None),
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )


def _around(reviewed: ReviewedChatModel, runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A runnable that was built on the wrapped model, built on the reviewed one.

    Raises:
        ConfigurationError: the wrapped model is not in it where it is looked for: it would answer unreviewed.
    """
    changed: Runnable[Any, Any] = _with(reviewed, runnable)
    if changed is runnable:
        raise ConfigurationError(
            f"{type(reviewed.model).__name__} is not found in its own {type(runnable).__name__}",
            hint="bind on the model first, and review the chain: ConscienceRunnable(Conscience(chain))",
        )
    return changed


def _with(reviewed: ReviewedChatModel, runnable: Any) -> Any:
    if runnable is reviewed.model:
        return reviewed
    if isinstance(runnable, RunnableBinding):
        bound = _with(reviewed, runnable.bound)
        return runnable if bound is runnable.bound else runnable.model_copy(update={"bound": bound})
    if isinstance(runnable, RunnableSequence):
        steps = [_with(reviewed, step) for step in runnable.steps]
        same = all(step is old for step, old in zip(steps, runnable.steps, strict=True))
        return runnable if same else RunnableSequence(*steps, name=runnable.name)
    if isinstance(runnable, RunnableParallel):
        branches = {name: _with(reviewed, step) for name, step in runnable.steps__.items()}
        same = all(step is runnable.steps__[name] for name, step in branches.items())
        return runnable if same else RunnableParallel(branches)
    return runnable


def _inputs(value: ProgramInput) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a program call."""
    if isinstance(value, PromptValue):
        return (as_chat(value.to_messages()),), {}
    if isinstance(value, Mapping):
        return (), dict(value)
    return (value if isinstance(value, str) else as_chat(list(value)),), {}  # type: ignore[arg-type]


def _asked(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What of a call's parameters a revision is asked with, too."""
    form = kwargs.get("response_format")
    return {"tools": chat_tools(kwargs.get("tools")), "response_format": form if isinstance(form, Mapping) else None}


def _unstreamed(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "stream"}


@contextmanager
def _no_callbacks() -> Iterator[None]:
    """What runs inside has none of the callbacks outside: they would be told of drafts."""
    token = var_child_runnable_config.set({**(var_child_runnable_config.get() or {}), "callbacks": []})
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)
