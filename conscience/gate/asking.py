"""How a question is put to a model: for one token with its candidates, or for a written answer where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conscience._base.flow import Flow
from conscience.backends.bound import BoundBackend
from conscience.errors import BackendError, ContextTooLong
from conscience.gate.questions import ONE_TOKEN_SAMPLING
from conscience.messages.completion import Completion, Message

SAMPLING: Mapping[str, Any] = {"max_tokens": 400}
"""For a written answer."""

REASONING_SAMPLING: Mapping[str, Any] = {"max_completion_tokens": 8000}
"""For a written answer of a reasoning model, which thinks before it writes; a tight limit would return nothing."""


def first_token(model: BoundBackend, messages: Sequence[Message]) -> Flow[Completion | None]:
    """The answer's first token with its candidates; None from a model that gives no log-probabilities, which is recorded.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
    """
    if not model.supports("logprobs"):
        return None
    try:
        completion: Completion = yield model.ask(messages, ONE_TOKEN_SAMPLING)
    except BackendError as error:
        if isinstance(error, ContextTooLong) or error.retryable or not _about_logprobs(error.message):
            raise
        name, reason = model.name, "refused"
        first = _about_logprobs(error.message.split("; ")[0])  # it names every model's failure, in order
    else:
        if completion.first_token:
            return completion
        name, reason, first = completion.model, "gave no", not completion.fallback
    if first:  # what a fallback lacks, the model it stands in for may have
        model.lacks("logprobs")
    model.note(f"{name} {reason} log-probabilities, scores are written ones")
    return None


def written_answer(model: BoundBackend, messages: Sequence[Message]) -> Flow[Completion]:
    """An answer with room to think.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
    """
    completion: Completion = yield model.ask(messages, REASONING_SAMPLING if model.supports("reasoning") else SAMPLING)
    return completion


def _about_logprobs(message: str) -> bool:
    return "logprob" in message.lower() or "max_tokens" in message.lower()
