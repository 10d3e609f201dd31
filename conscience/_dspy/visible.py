"""What DSPy sees of a model's call: callbacks, histories, the count of its tokens. Each call is seen once, however its model
was named.

A ``dspy.LM`` of the user's shows itself. What a backend calls by other ways is shown here, as that backend's LM, and the LM
that a backend is for DSPy's modules stays silent itself: it stands before one that is seen.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import dspy
from dspy.utils.callback import with_callbacks

from conscience.messages.completion import Body, Completion, Message

Answered = tuple[Body, float | None]
"""An OpenAI chat body, and its price in dollars where it is known."""


def seen(
    lm: Any, model: str, messages: Sequence[Message], params: Mapping[str, Any], call: Callable[[], Answered]
) -> Answered:
    """Makes a call that DSPy's callbacks, histories and usage trackers see as this LM's."""
    answers: list[Answered] = []

    @with_callbacks  # type: ignore[untyped-decorator]
    def ask(instance: Any, prompt: Any = None, messages: Any = None, **kwargs: Any) -> list[Any]:
        answers.append(call())
        return _record(instance, model, messages, kwargs, answers[0])

    ask(lm, messages=list(messages), **params)
    return answers[0]


async def aseen(
    lm: Any, model: str, messages: Sequence[Message], params: Mapping[str, Any], call: Callable[[], Awaitable[Answered]]
) -> Answered:
    """The async form of ``seen``."""
    answers: list[Answered] = []

    @with_callbacks  # type: ignore[untyped-decorator]
    async def ask(instance: Any, prompt: Any = None, messages: Any = None, **kwargs: Any) -> list[Any]:
        answers.append(await call())
        return _record(instance, model, messages, kwargs, answers[0])

    await ask(lm, messages=list(messages), **params)
    return answers[0]


def seen_again(lm: Any, model: str, messages: Sequence[Message], params: Mapping[str, Any], body: Body) -> None:
    """Shows an answer from the response cache: as a call that cost nothing."""
    if dspy.settings.disable_history and not dspy.settings.callbacks:
        return
    with dspy.settings.context(usage_tracker=None):
        seen(lm, model, messages, params, lambda: (body, None))


def _record(lm: Any, model: str, messages: Any, params: Mapping[str, Any], answer: Answered) -> list[Any]:
    body, dollars = answer
    outputs: list[Any] = [Completion(body, model).text]
    usage = dict(body.get("usage") or {})
    if dspy.settings.usage_tracker:
        dspy.settings.usage_tracker.add_usage(model, usage)
    if not dspy.settings.disable_history:
        lm.update_history(
            {
                "prompt": None, "messages": messages, "kwargs": dict(params), "response": body, "outputs": outputs,
                "usage": usage, "cost": dollars, "timestamp": datetime.now().isoformat(), "uuid": str(uuid.uuid4()),
                "model": model, "response_model": body.get("model"), "model_type": "chat",
            }
        )  # fmt: skip
    return outputs


unseen_call = dspy.LM.__call__.__wrapped__
"""A call of an LM past its callbacks."""

unseen_acall = dspy.LM.acall.__wrapped__


@contextmanager
def unseen(**overrides: Any) -> Iterator[None]:
    """Neither history nor usage tracker sees what is called in here, until ``visible_again``."""
    watchers = {"disable_history": dspy.settings.disable_history, "usage_tracker": dspy.settings.usage_tracker}
    with dspy.settings.context(conscience_watchers=watchers, disable_history=True, usage_tracker=None, **overrides):
        yield


@contextmanager
def visible_again() -> Iterator[None]:
    """Ends ``unseen`` for what is called in here."""
    with dspy.settings.context(**dspy.settings.get("conscience_watchers", {})):
        yield


@contextmanager
def unremembered() -> Iterator[None]:
    """Neither histories nor traces keep what is called in here: they would grow by thousands of calls, drafts included, in a
    process that answers for days."""
    with dspy.settings.context(disable_history=True, trace=None):
        yield
