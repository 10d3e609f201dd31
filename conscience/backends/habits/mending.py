"""Calls that mind what a model refuses: a refused parameter costs one further try, once for a model and address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from conscience._base.flow import Flow
from conscience._dspy.lm import LMError
from conscience.backends.habits.legal import Legal, adapted
from conscience.backends.habits.memory import Habits
from conscience.backends.habits.refusals import refusals
from conscience.messages.completion import Message

T = TypeVar("T")

MOST_TRIES = 6
"""Further tries of one call: a new kind of model may refuse several parameters, and tells of one at a time."""


def mending(
    send: Callable[[Mapping[str, Any]], Flow[T]],
    asked: Mapping[str, Any],
    messages: Sequence[Message],
    habits: Habits,
    note: Callable[[str], None],
) -> Flow[T]:
    """The answer to a call, with the parameters that the model takes.

    What is refused is sent once more with a legal value, or without. Only when that brings an answer it is learned: an error
    that merely quotes a parameter's name comes again.

    Args:
        send: makes the call with these parameters.
        asked: the parameters that were asked for.
        messages: of the call; an error may quote them.
        habits: what is known of the model at its address.
        note: is told of each parameter that is not sent as it was asked for.

    Raises (when driven):
        LMError: the last try's.
    """
    learned: dict[str, Legal] = {}
    known = habits.legal()
    while True:
        legal = {**known, **learned}
        sent = adapted(asked, legal) if legal else asked
        try:
            answer = yield from send(sent)
        except LMError as error:
            texts = [messages, asked.get("tools"), _schema(asked.get("response_format"))]
            refused = refusals(error, sent, texts)
            more = {name: _next(name, value, legal) for name, value in refused.items()}
            if not more or len(learned) >= MOST_TRIES or adapted(asked, {**legal, **more}) == sent:
                error.refused = frozenset([*learned, *more])
                raise
            learned |= more
            continue
        for name, value in learned.items():
            habits.refused(name, value)
        for name in asked:
            if name not in legal and name in sent:
                habits.took(name)
        if sent is not asked:
            for change in changes(asked, sent):
                note(change)
        return answer


def _next(name: str, value: Legal, known: Mapping[str, Legal]) -> Legal:
    """What to try next: what was refused once more is left out."""
    before = known.get(name)
    other = known.get(value.name) if value.name is not None and value.name != name else None
    return Legal() if before == value or (other is not None and other.name in (None, name)) else value


def changes(asked: Mapping[str, Any], sent: Mapping[str, Any]) -> list[str]:
    """How the parameters that were sent differ from those that were asked for, one a line."""
    lines = []
    for name, value in asked.items():
        if value is None or sent.get(name) == value:
            continue
        said = f"{name}={value!r}" if isinstance(value, bool | int | float) else name
        others = [f"{other}={sent[other]!r}" for other in sent if other not in asked and sent[other] == value]
        lines.append(f"{said} was refused, sent {_instead(name, sent, others)}")
    return lines


def _instead(name: str, sent: Mapping[str, Any], others: Sequence[str]) -> str:
    if name not in sent:
        return f"as {others[0]}" if others else "without it"
    value = sent[name]
    return f"{name}={value!r}" if isinstance(value, bool | int | float) else "a shorter one"


def _schema(form: Any) -> Any:
    """The part of a response format that is the caller's own: an error may quote it."""
    schema = form.get("json_schema") if isinstance(form, Mapping) else None
    return schema.get("schema") if isinstance(schema, Mapping) else None
