"""A chat request answered by a program: generated with the request's parameters, reviewed, and revised where it must be."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import dspy

from conscience._base.awaiting import together
from conscience._types import ReleaseMode
from conscience.chat.checks import ParameterError
from conscience.chat.replies import chunks, completion_body
from conscience.chat.requests import ChatRequest
from conscience.chat.response_replies import response_body, response_events
from conscience.chat.responses import ResponsesRequest
from conscience.chat.windows import can_be_told_early, early_chunks, early_response_events
from conscience.errors import ConfigurationError
from conscience.messages.completion import Body, Message
from conscience.program import Conscience

_ONLY_IN_A_CHAT_TURN = ("tools", "response_format", "logprobs")
"""What only a program that answers as a plain chat turn can do."""


AnyRequest = ChatRequest | ResponsesRequest


def complete(program: Conscience, request: AnyRequest) -> Body:
    """The answer as a ``chat.completion``, or a ``response``, with a ``conscience`` object; ``request.stream`` makes no
    difference.

    The request's parameters reach generation, tools and response format the revision too, and none of them the review.

    Raises:
        ParameterError: this program cannot do what a parameter asks for.
        ConfigurationError: it is no program for a chat.
        ConscienceError: as a call of the program does.
    """
    chat = _chat(request)
    outcomes = [program(**_inputs(program, chat, number)) for number in range(chat.n)]
    return _told(request, completion_body(chat, outcomes, _text_field(program)))


async def acomplete(program: Conscience, request: AnyRequest) -> Body:
    """The async form of ``complete``; several answers are made side by side."""
    chat = _chat(request)
    calls = [_inputs(program, chat, number) for number in range(chat.n)]
    outcomes = await together(program.acall(**inputs) for inputs in calls)
    return _told(request, completion_body(chat, outcomes, _text_field(program)))


async def astream(program: Conscience, request: AnyRequest, *, release: ReleaseMode = "hold") -> AsyncGenerator[Body, None]:
    """The answer as ``chat.completion.chunk`` objects, or a response's events, each of which has its ``type``. Raises as
    ``complete`` does.

    Args:
        release: as of ``Conscience.stream``: none comes before the verdict ("hold"), or the text in windows as they pass
            ("window"), where one answer in prose is asked for.
    """
    chat = _chat(request)
    if release == "window" and can_be_told_early(chat):
        field = _text_field(program)
        async with aclosing(program.stream(release="window", **_inputs(program, chat, 0))) as events:
            if isinstance(request, ChatRequest):
                told = early_chunks(request, events, field)
            else:
                told = early_response_events(request, events, field)
            async for piece in told:
                yield piece
        return
    body = await acomplete(program, request)
    pieces = chunks(body, include_usage=request.include_usage) if isinstance(request, ChatRequest) else response_events(body)
    for piece in pieces:
        yield piece


def _chat(request: AnyRequest) -> ChatRequest:
    return request if isinstance(request, ChatRequest) else request.chat


def _told(request: AnyRequest, completion: Body) -> Body:
    return completion if isinstance(request, ChatRequest) else response_body(request, completion)


def _inputs(program: Conscience, request: ChatRequest, number: int) -> dict[str, Any]:
    """The program's inputs for one of the answers."""
    generate = program.generate
    if len(generate.inputs) != 1:
        raise ConfigurationError(
            f"this program takes {', '.join(generate.inputs)}, and a chat has nothing but its messages",
            hint="serve a program with one input",
        )
    (name,) = generate.inputs
    config = {**request.parameters, **({"rollout_id": number} if number else {})}
    if generate.plain:
        return {name: [_known_role(message) for message in request.messages], "config": config}
    _check_takes(generate.predict, request)
    return {name: _asked(request), **({"config": config} if config else {})}


def _check_takes(predict: Any, request: ChatRequest) -> None:
    """Refuses what a program of another form than a chat turn cannot do.

    Raises:
        ParameterError: names the first such parameter.
    """
    refused = [name for name in _ONLY_IN_A_CHAT_TURN if request.parameters.get(name)]
    if not _takes_config(predict):
        refused += [*request.parameters, *(["n"] if request.n > 1 else [])]
    if refused:
        raise ParameterError(refused[0], "this program answers in a form of its own", hint="leave it out")


def _takes_config(predict: Any) -> bool:
    """Whether sampling parameters can be handed to what generates: DSPy's predictors and modules hand on ``config``."""
    if isinstance(predict, dspy.Predict):
        return True
    called = getattr(type(predict), "forward", None) if isinstance(predict, dspy.Module) else None
    return called is not None and any(p.kind is p.VAR_KEYWORD for p in inspect.signature(called).parameters.values())


def _asked(request: ChatRequest) -> Any:
    """The only turn as a text, or the conversation."""
    first = request.messages[0]
    if len(request.messages) == 1 and first["role"] == "user" and isinstance(first["content"], str):
        return first["content"]
    return [_known_role(message) for message in request.messages]


def _known_role(message: Message) -> Message:
    """OpenAI's developer is everybody's system: a program's models may be anybody's, and many templates drop other roles."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


def _text_field(program: Conscience) -> str | None:
    signature = program.generate.signature
    return next(iter(signature.output_fields)) if program.generate.plain and signature is not None else None
