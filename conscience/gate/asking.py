"""How a question is put to a model: for one token with its candidates, or for a written answer where there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conscience._base.flow import Flow
from conscience.backends.bound import BoundBackend
from conscience.errors import BackendError, ContextTooLong, EmptyAnswer
from conscience.gate.distribution import candidates_sampling
from conscience.gate.questions import ONE_TOKEN_SAMPLING, verbalised_log_odds
from conscience.messages.completion import Completion, Message

SCORE_TOKENS = 400
"""For a written score with a few thoughts before it."""

REASONING_TOKENS = 8000
"""For a model that is known to reason: it thinks before it writes, and a tight limit would return nothing."""

THINKING_TOKENS = 2000
"""At least, for a model that was seen to think and whose limits nobody knows: more does not fit into small contexts."""

LARGEST = 32_000
"""No answer of a reviewer is given more tokens, its thinking budget aside."""

TURNS = 3
"""How often an answer that was cut off is asked for, each time with four times the room."""


def room(model: BoundBackend, tokens: int, turn: int = 0) -> dict[str, Any]:
    """The limit of a written answer.

    Args:
        model: what is asked.
        tokens: what the answer itself may take.
        turn: how often it was cut off already.
    """
    thinking = model.backend.sampling.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    extra = budget if isinstance(budget, int) else 0  # Anthropic counts it within the limit
    if model.supports("reasoning"):
        return {"max_completion_tokens": min(REASONING_TOKENS * 4**turn, LARGEST) + extra}
    least = max(tokens, THINKING_TOKENS) if model.thinks or extra else tokens
    return {"max_tokens": min(least * 4**turn, LARGEST) + extra}


def turns(model: BoundBackend) -> int:
    """How often an answer that is cut off is worth asking for. Where the server keeps answers short, one that runs into its
    limit repeats itself."""
    return 1 if model.supports("schema_limits") and not model.thinks else TURNS


def ask(model: BoundBackend, question: Callable[[bool], Sequence[Message]]) -> Flow[Completion]:
    """The answer to a question: its first token with the candidates, or a written score where the model gives none or thinks
    before it answers.

    One answer without candidates may be a fault: it is asked for once more. One that is refused, whatever the reason, may
    be had as a written score. What so turns out of the model is remembered; see ``conscience.backends.habits``.

    Args:
        model: who is asked.
        question: the messages that put the question; whether a score is to be written.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
    """
    answer = yield from _one_token(model, question(False), ONE_TOKEN_SAMPLING, "the score is a written one")
    if isinstance(answer, Completion):
        return answer
    written = yield from _written_score(model, question(True))
    if answer is not None and not written.fallback:
        model.refused("logprobs", certain="logprobs" in answer.refused)
    return written


def ask_candidates(model: BoundBackend, messages: Sequence[Message], wanted: int) -> Flow[Completion | None]:
    """The answer to a question with so many candidates for its first token, or as many as are shown; None where there are
    none, or where another model answered in the first one's place: its candidates are others.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
    """
    sampling = candidates_sampling(wanted, many=model.supports("many_candidates"))
    answer = yield from _one_token(model, messages, sampling, "its candidates are not read")
    return answer if isinstance(answer, Completion) and not answer.fallback else None


def _one_token(
    model: BoundBackend, messages: Sequence[Message], sampling: Mapping[str, Any], instead: str
) -> Flow[Completion | BackendError | None]:
    """An answer of one token with its candidates; the error with which the model refused it; None where it gives none.

    Args:
        instead: what then happens, for the notes.
    """
    for _ in range(2):
        if not model.supports("logprobs"):
            break
        try:
            completion: Completion = yield model.ask(messages, sampling)
        except EmptyAnswer as error:
            if error.reason != "cut":
                raise
            model.note(f"{model.name} thinks before it answers, {instead}")
            break
        except BackendError as error:
            if error.retryable or error.gone or isinstance(error, ContextTooLong):
                raise
            model.note(f"{model.name} refused a question for one token, {instead}")
            return error
        if completion.first_token:
            return completion
        model.note(f"{completion.model} gave no log-probabilities")
        if not model.gives("logprobs", completion):
            break
    return None


def _written_score(model: BoundBackend, messages: Sequence[Message]) -> Flow[Completion]:
    """A score that is written, with room to think; where it is cut off, it is asked for again with more."""
    for turn in range(turns(model)):
        last = turn == turns(model) - 1
        try:
            completion: Completion = yield model.ask(messages, room(model, SCORE_TOKENS, turn))
        except EmptyAnswer as error:
            if error.reason != "cut" or last:
                raise
        else:
            if last or completion.finish_reason != "length" or _is_whole(completion):
                return completion
            yield model.reject(completion)
        model.note("a written score was cut off, and asked for again with more room")
    raise AssertionError("the last turn returns or raises")


def _is_whole(completion: Completion) -> bool:
    """Whether a score that was cut off stands there all the same: more followed its number."""
    return verbalised_log_odds(completion) is not None and not completion.text.rstrip(" *_`")[-1:].isdigit()
