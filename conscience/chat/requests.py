"""A request of OpenAI's chat API: what is asked, and how the answer is to be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from conscience.chat.checks import FLAG, NAME, OBJECT, ParameterError, check_depth, kind, one_of, whole
from conscience.chat.messages import checked_messages
from conscience.chat.parameters import GENERATION, generation_parameters
from conscience.messages.completion import Message

_OTHERS = frozenset(
    {"model", "messages", "n", "stream", "stream_options", "store", "modalities"}
    | {"tools", "tool_choice", "response_format", "functions", "function_call", "audio"}
)


@dataclass(frozen=True)
class ChatRequest:
    """A checked request.

    Attributes:
        model: as the caller named it.
        messages: the conversation.
        parameters: what goes to generation: tools, temperature, max_tokens, response_format, …
        n: how many answers are asked for, each of which is reviewed.
        stream: whether the answer is wanted in chunks.
        include_usage: whether the last chunk tells the usage.
    """

    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    n: int = 1
    stream: bool = False
    include_usage: bool = False

    @classmethod
    def parse(cls, body: Any) -> Self:
        """A request from the JSON of its body.

        Raises:
            ParameterError: an ``InputError`` that names the parameter which is missing, wrong, unknown, or makes no sense.
        """
        if not isinstance(body, Mapping):
            raise ParameterError("body", f"{kind(body)} is not an object")
        check_depth(body)
        unknown = [name for name in body if name not in GENERATION and name not in _OTHERS]
        if unknown:
            raise ParameterError(str(unknown[0])[:80], "there is no such parameter")
        NAME.check("model", body.get("model"))
        n, stream = body.get("n"), body.get("stream")
        if n is not None:
            whole(1, 128).check("n", n)
        if stream is not None:
            FLAG.check("stream", stream)
        return cls(
            model=body["model"],
            messages=checked_messages(body.get("messages")),
            parameters=generation_parameters(body),
            n=int(n or 1),
            stream=bool(stream),
            include_usage=_include_usage(body.get("stream_options"), bool(stream)),
        )


def _include_usage(options: Any, stream: bool) -> bool:
    if options is None:
        return False
    if not stream:
        raise ParameterError("stream_options", "needs stream", hint="set stream to true")
    OBJECT.check("stream_options", options)
    for name in options:
        one_of("include_usage", "include_obfuscation").check(f"stream_options.{str(name)[:80]}", name)
    wanted = options.get("include_usage")
    if wanted is not None:
        FLAG.check("stream_options.include_usage", wanted)
    return bool(wanted)
