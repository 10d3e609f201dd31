"""Which of a model's replies are answers, and what they show of the model: that it thinks before it gives one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conscience._dspy.lm import lm_errors
from conscience.backends.transports import Transport
from conscience.messages.answers import Missing, missing, settled, thinks
from conscience.messages.completion import Body, Completion, Message, storable

_EMPTY = {
    "cut": "the answer is empty: it ran into its token limit before its first word",
    "filtered": "the provider's content filter held the answer back",
    "nothing": "the answer is empty",
}
_THOUGHT = {
    "cut": "the answer is empty: it ran into its token limit while the model was thinking",
    "nothing": "the answer is empty: the model thought, and said nothing",
}


class EmptyAnswerError(lm_errors.LMProviderError):  # type: ignore[misc]
    """A model's reply holds no answer.

    Args:
        body: the reply, see ``settled``.
        reason: see ``Missing``.
        final: whether the same request is not worth another try.
        model: who gave it.
    """

    def __init__(self, body: Body, reason: Missing, *, final: bool, model: str) -> None:
        super().__init__({**_EMPTY, **(_THOUGHT if thinks(body) else {})}[reason], model=model)
        self.body, self.reason, self.final = body, reason, final


def answered(
    reply: Body, messages: Sequence[Message], params: Mapping[str, Any], transport: Transport, *, patient: bool
) -> Body:
    """The chat body in which the text is the answer alone; what it shows of the model is remembered.

    A model that thinks may still answer in one token; a first token that is a thought shows that it does not.

    Args:
        reply: as it came.
        messages, params: what was asked, and how.
        transport: who answered.
        patient: whether to try again where the tokens ended while the model was thinking.

    Raises:
        EmptyAnswerError: there is no answer.
    """
    body, habits = settled(storable(reply), messages), transport.habits
    one_token = bool(params.get("logprobs"))
    reason, thought = missing(body, one_token=one_token), thinks(body)
    if thought:
        habits.saw("thinking", True, certain=True)
        if Completion(body, "").text.strip() != Completion(reply, "").text.strip():
            habits.saw("thinking aloud", True, certain=True)
    if one_token and thought:
        habits.saw("thinking first", True, certain=True)
    elif one_token and reason in (None, "cut"):
        habits.saw("thinking first", reason == "cut")
    if reason is not None:
        raise EmptyAnswerError(body, reason, final=reason == "cut" and thought and not patient, model=transport.name)
    return body
