"""What every model's failure comes to: one error in one line, without a credential, and without what the call was about."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conscience._dspy.lm import LMError, lm_errors, retryable
from conscience._redaction import redact
from conscience.backends.answers import EmptyAnswerError
from conscience.backends.transports import Transport
from conscience.errors import BackendError, BudgetExceeded, ConscienceError, ContextTooLong, EmptyAnswer
from conscience.messages.completion import Message, clean
from conscience.messages.echoes import without_echo

_EMPTY_HINTS = {
    "cut": "raise max_tokens: a model that thinks needs room for that too",
    "filtered": "rephrase the request, or choose another model",
    "nothing": "ask again, or choose another model",
}
_FILTERS = re.compile(
    r"content[ _-]?(filter|policy|management)|ResponsibleAI|safety system|PROHIBITED_CONTENT", re.IGNORECASE
)


def backend_failure(
    failures: Sequence[tuple[Transport, LMError]], messages: Sequence[Message], *, out_of_time: bool
) -> ConscienceError:
    """The error to raise: the last model's failure decides its class, the message names every model's.

    Args:
        failures: each model that was tried, with its last error.
        messages: what they were sent: a server's words that repeat it are left out.
        out_of_time: whether the budget's seconds ended before an answer.
    """
    sent = [message.get("content") for message in messages]
    said = [(t, e, redact(without_echo(_provider_words(e), sent))[:300]) for t, e in failures]
    message = "; ".join(f"{t.name}: {failure_kind(e)}: {words}" for t, e, words in said)
    if out_of_time:
        return BudgetExceeded(f"the budget's seconds left no time for an answer: {message}")
    last = failures[-1][1]
    if isinstance(last, EmptyAnswerError) or _is_filtered(last):
        reason = last.reason if isinstance(last, EmptyAnswerError) else "filtered"
        return EmptyAnswer(message, hint=_EMPTY_HINTS[reason], reason=reason)
    if isinstance(last, lm_errors.ContextWindowExceededError) or _says_too_long(last):
        return ContextTooLong(message, hint="shorten the request, or use a model with a longer context")
    if isinstance(last, lm_errors.LMAuthError | lm_errors.LMConfigurationError):
        return BackendError(message, hint="check the key and what it may use", gone=True)
    if isinstance(last, lm_errors.LMBillingError):
        return BackendError(message, hint="check the account: its quota or its money is spent", gone=True)
    if isinstance(last, lm_errors.LMUnsupportedModelError):
        return BackendError(message, hint="check the model's name", gone=True)
    unreachable = isinstance(last, lm_errors.LMTransportError) or "connection error" in last.message.lower()
    hint = "is the server up? check the address and the network" if unreachable else ""
    failure = BackendError(message, hint=hint, retryable=retryable(last))
    failure.refused = frozenset().union(*(getattr(error, "refused", ()) for _, error in failures))
    return failure


def failure_kind(error: LMError) -> str:
    """What went wrong, in a word: such as ``RateLimit 429``."""
    name = "ContentFilter" if _is_filtered(error) else type(error).__name__.removeprefix("LM").removesuffix("Error")
    return f"{name} {error.status}" if error.status else name


def _is_filtered(error: LMError) -> bool:
    """A provider's content filter refused the request, which comes as a 400."""
    if not isinstance(error, lm_errors.LMInvalidRequestError) or error.status not in (None, 400, 403, 422):
        return False
    return bool(_FILTERS.search(f"{error.provider_code} {error.message}"))


def _provider_words(error: LMError) -> str:
    """The provider's words, without the class names that LiteLLM stacks before them."""
    words = " ".join(clean(error.message).split())
    text = re.sub(r"^((litellm\.)?\w+(Error|Exception|Timeout)( -|:)\s*)+", "", words)
    return re.sub(r"\s*(To fix:|Learn more:|Received Model Group).*$", "", text)


def _says_too_long(error: LMError) -> bool:
    """llama.cpp, vLLM and others say so in words only."""
    return bool(re.search(r"context (size|length|window)|exceed_context|too many tokens", error.message, re.IGNORECASE))
