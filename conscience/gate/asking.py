"""How a question is put to a model: for one token with its candidates, or for a written answer where there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def ask(model: BoundBackend, question: Callable[[bool], Sequence[Message]]) -> Flow[Completion]:
    """The answer to a question: its first token with the candidates, or a written score where the model gives none.

    One answer without candidates may be a fault: it is asked for once more. One that is refused, whatever the reason, may
    be had as a written score. What so turns out of the model is remembered; see ``conscience.backends.habits``.

    Args:
        model: who is asked.
        question: the messages that put the question; whether a score is to be written.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
    """
    refusal: BackendError | None = None
    for _ in range(2):
        if not model.supports("logprobs"):
            break
        try:
            completion: Completion = yield model.ask(question(False), ONE_TOKEN_SAMPLING)
        except BackendError as error:
            if error.retryable or error.gone or isinstance(error, ContextTooLong):
                raise
            refusal = error
            model.note(f"{model.name} refused a question for one token, the score is a written one")
            break
        if completion.first_token:
            return completion
        model.note(f"{completion.model} gave no log-probabilities")
        if not model.gives("logprobs", completion):
            break
    written: Completion = yield model.ask(question(True), REASONING_SAMPLING if model.supports("reasoning") else SAMPLING)
    if refusal is not None and not written.fallback:
        model.refused("logprobs", certain="logprobs" in refusal.refused)
    return written
