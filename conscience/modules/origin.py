"""Where a draft came from: the messages, the form and the sampling behind it, and what else was seen on the way to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from conscience.backends.bound import BoundBackend
from conscience.messages.completion import Completion, Message
from conscience.messages.rendering import Form, Request, outputs_text, quoted, request_text, value_text
from conscience.messages.requests import turns
from conscience.messages.tool_turns import ToolTurn, tools_text, turn_of
from conscience.modules.forms import form_of, made_of, written_by
from conscience.modules.outputs import REASONING_FIELDS
from conscience.modules.task import task_text
from conscience.usage import Exchange

LIMITS = frozenset(
    {"max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "presence_penalty", "frequency_penalty"}
)
"""Sampling parameters that a revision takes over from the generation. Not its tools nor its response format: a revision is
written in one turn, in the form of the draft."""

OF_A_CHAT_TURN = frozenset({"response_format", "tools", "tool_choice", "parallel_tool_calls"})
"""The same of a plain chat turn: there, they are the form."""


@dataclass(frozen=True)
class Origin:
    """Where a draft came from.

    Attributes:
        messages: the messages that led to it; the gate and the revision continue them.
        text: the assistant's turn that follows them; it holds every output.
        form: how the outputs stand in the text; None where the text is the only output.
        context: what was seen beside the request, as text: the task, retrieved documents, tool results; may be empty.
        sampling: the limits that it was generated under.
        reply: the model's answer that holds it; None where no model of ours wrote it.
    """

    messages: tuple[Message, ...]
    text: str
    form: Form | None = None
    context: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    reply: Completion | None = None


def origin(
    request: Request,
    outputs: Mapping[str, Any],
    model: BoundBackend,
    *,
    inputs: Mapping[str, Any] | None = None,
    signature: type[dspy.Signature] | None = None,
    conversation: Sequence[Message] = (),
) -> Origin:
    """The origin of outputs that were generated with this model.

    Args:
        request: what was asked.
        outputs: what was returned, the written reasoning aside.
        model: bound to the call; knows its exchanges and the steps of its predictors.
        inputs: the program's, by name: what the request already shows.
        signature: of the answer, where it is known.
        conversation: what the result carried with it of its own exchange with a model of which nothing else is known.
    """
    signatures = _signatures(model, signature)
    context = _context(request, inputs or {}, model, signatures, outputs, conversation)
    for exchange in reversed(model.exchanges):
        said = exchange.completion.text
        if (turn := turn_of(exchange.completion, outputs, exchange.params)) is not None:
            offered = tools_text(exchange.params.get("tools"))
            return _of(exchange, turn.write(outputs), turn, "\n".join(filter(None, (context, offered))))
        if len(outputs) == 1 and value_text(next(iter(outputs.values()))) == said:
            return _of(exchange, said, None, context)
        if (form := written_by(signatures, said, outputs)) is not None:
            return _of(exchange, said if holds(said, outputs) else form.write(outputs), form, context)
    form = form_of(outputs, signature)
    exchange = _nearest(model.exchanges, outputs)
    if exchange is not None and form is None:
        form = made_of(signatures, exchange.completion.text, next(iter(outputs)))
    text = outputs_text(outputs) if form is None else form.write(outputs)
    if exchange is not None:
        return _of(exchange, text, form, context)
    return Origin(tuple(conversation) or _told(request, context), text, form, context, _last_limits(model))


def _of(exchange: Exchange, text: str, form: Form | None, context: str) -> Origin:
    sampling = limits(exchange.params)
    if form is None or isinstance(form, ToolTurn):
        sampling |= {name: exchange.params[name] for name in OF_A_CHAT_TURN if exchange.params.get(name) is not None}
    return Origin(exchange.messages, text, form, context, sampling, exchange.completion)


def limits(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a revision takes over; see ``LIMITS``."""
    return {name: value for name, value in params.items() if name in LIMITS and value is not None}


def _last_limits(model: BoundBackend) -> dict[str, Any]:
    """The limits of the last answer on the way; of a predictor with an LM of its own, what both were set to."""
    if model.exchanges:
        return limits(model.exchanges[-1].params)
    if not model.steps:
        return {}
    predictor = model.steps[-1][0]
    return limits({**(predictor.lm.kwargs if predictor.lm is not None else {}), **predictor.config})


def _told(request: Request, context: str) -> tuple[Message, ...]:
    """The request as chat messages, after what was seen on the way: for a draft that no single exchange led to."""
    asked = turns(request)
    if not context:
        return asked
    first, *rest = asked
    if isinstance(first.get("content"), str):  # not as a turn of its own: some models take no two turns of one role
        return ({**first, "content": f"{quoted(context=context)}\n\n{first['content']}"}, *rest)
    return ({"role": "user", "content": quoted(context=context)}, *asked)


def _signatures(model: BoundBackend, own: type[dspy.Signature] | None) -> list[type[dspy.Signature]]:
    """Signatures that an answer may have been written for, likeliest first."""
    signatures = [predictor.signature for predictor, _, _ in reversed(model.steps)]
    return list(dict.fromkeys([*signatures, *([own] if own is not None else [])]))


def _nearest(exchanges: Sequence[Exchange], outputs: Mapping[str, Any]) -> Exchange | None:
    """The last exchange whose answer holds most of the texts among the outputs; None where none holds any."""
    texts = [text for value in outputs.values() for text in leaves(value) if text.strip()]

    def held(exchange: Exchange) -> int:
        return sum(len(text) for text in texts if text in exchange.completion.text)

    best = max(reversed(exchanges), key=held, default=None)
    return best if best is not None and held(best) else None


def holds(text: str, outputs: Mapping[str, Any]) -> bool:
    """Whether every text in some outputs stands in a text as it is, and not behind escapes: so it will be shown."""
    return all(leaf in text for value in outputs.values() for leaf in leaves(value))


def leaves(value: Any) -> Iterable[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    elif hasattr(type(value), "model_fields"):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name))


def _context(
    request: Request,
    known: Mapping[str, Any],
    model: BoundBackend,
    signatures: Sequence[type[dspy.Signature]],
    outputs: Mapping[str, Any],
    conversation: Sequence[Message],
) -> str:
    """What the predictors on the way were told beside the request, each thing once: tasks, then inputs, then, where a model
    was asked past every predictor, its messages."""
    shown = "\n".join([request_text(request), *map(value_text, known.values())])
    produced = outputs_text(outputs)
    pieces: list[str] = []

    def add(name: str, text: str) -> None:
        if text.strip() and text not in shown and text not in produced and not any(text in piece for piece in pieces):
            pieces.append(f"{name}: {text}" if name else text)

    answering = [signature for signature in signatures if set(outputs) & set(signature.output_fields)]
    for signature in answering or signatures[:1]:
        add("task", task_text(signature))
    add("", request_text(conversation) if conversation else "")
    for _, inputs, _ in reversed(model.steps):
        for name, value in inputs.items():
            if name not in REASONING_FIELDS:
                add(name, value_text(value))
    if not model.steps:
        for exchange in model.exchanges:
            asked = [message for message in exchange.messages if message.get("content")]
            add("", "\n".join(text for message in asked if (text := request_text([message])) not in shown))
    return "\n".join(pieces)
