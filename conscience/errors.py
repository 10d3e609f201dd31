"""Every error this library raises, and what the command line makes of it.

    ConscienceError
    ├── InputError               exit 2   the caller's input cannot be used
    │   ├── ConstitutionError             a constitution file is wrong: names file, line or key
    │   ├── CaseError                     a row of cases is wrong: names file, line and field
    │   └── ArtifactError                 a saved program is refused: names the key
    ├── ConfigurationError       exit 2   no model, no key, a missing extra, an unknown option
    ├── BackendError             exit 3   a model could not be reached or did not answer
    │   ├── ContextTooLong                the request does not fit the model's context
    │   └── EmptyAnswer                   every model's answer was empty, cut before its first word, or held back
    ├── BudgetExceeded           exit 3   calls, tokens, seconds or dollars are spent
    ├── ReviewError              exit 3   the review gave no usable verdict
    └── UnresolvedError          exit 1   still flagged after the last revision (on_unresolved="raise")

Programmers' errors (TypeError, KeyError, …) are never wrapped: they pass through. What a program call raises carries
``verdict``, ``usage`` and ``events``, and no text that was not reviewed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from conscience._redaction import redact


class ConscienceError(Exception):
    """Base of the tree. ``str(error)`` is one line without credentials; ``hint`` says what to do about it.

    Args:
        message: what happened and where, in one line.
        hint: what to do about it; shown after the message.
        retryable: whether the same call may succeed later.

    Attributes:
        verdict: where a program call raised it, the verdict that the outcome would have had, without the critique's words.
        usage: what that call had spent.
        events: the departures from the plain way in that call.
        in_review: whether an answer was there, and its review failed.
    """

    exit_code: ClassVar[int] = 2
    verdict: Any = None  # a Verdict and a Usage, which stand on this file
    usage: Any = None
    events: tuple[str, ...] = ()
    in_review: bool = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool = False) -> None:
        self.message = _one_line(redact(message))
        self.hint = _one_line(redact(hint)) if hint else ""
        self.retryable = retryable
        super().__init__(f"{self.message} ({self.hint})" if self.hint else self.message)

    def explained(self, verdict: Any, usage: Any, events: tuple[str, ...]) -> Self:
        """The error itself, with what is known of the call that it ends."""
        self.verdict, self.usage, self.events = verdict, usage, events
        return self


class InputError(ConscienceError, ValueError):
    """What the caller passed in cannot be used."""


class ConstitutionError(InputError):
    """A constitution cannot be read; the message names the file and the line or key."""


class CaseError(InputError):
    """A case cannot be read; the message names the file, the line and the field."""


class ArtifactError(InputError):
    """A saved program is refused; the message names the key or the version."""


class ConfigurationError(ConscienceError):
    """Something is not set up: no model, no key, a missing extra, an unknown option."""


class BackendError(ConscienceError):
    """A model could not be reached or did not answer, after retries and fallbacks.

    Args:
        gone: whether any other call would meet the same: nobody answers, or the key or the model's name is refused; by
            default what ``retryable`` says. A request that is too long or filtered says nothing of the next one.

    Attributes:
        refused: parameters of the call that the models refused.
    """

    exit_code = 3
    refused: frozenset[str] = frozenset()

    def __init__(self, message: str, *, hint: str = "", retryable: bool = False, gone: bool = False) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.gone = gone or retryable


class ContextTooLong(BackendError):
    """The messages do not fit the context of the model."""


class EmptyAnswer(BackendError):
    """A model replied without an answer, after retries and fallbacks.

    Args:
        reason: "cut", its tokens ended before the first word, perhaps while it was thinking; "filtered", the provider's
            content filter held it back; "nothing", the answer was blank or not there.
    """

    def __init__(self, message: str, *, hint: str = "", reason: str = "nothing") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.retryable = reason == "nothing"  # and the backend is not gone: it answers


class BudgetExceeded(ConscienceError):
    """The budget of one program call is spent."""

    exit_code = 3


class ReviewError(ConscienceError):
    """The review ended without a verdict that can be used."""

    exit_code = 3


class UnresolvedError(ConscienceError):
    """The draft is still flagged after the last revision and the caller asked to raise."""

    exit_code = 1


def _one_line(text: str) -> str:
    return " ".join(text.split())
