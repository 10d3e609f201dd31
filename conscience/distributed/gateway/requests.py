"""What goes between workers and their gateway: a run, requests, and what came of them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from conscience.backends.rate_limit import RateLimiter
from conscience.messages.completion import Message
from conscience.usage import CallUsage, Role, UsageTracker

Told = Callable[[str, bool], None]
"""Is told that a request begins or ceases to wait: "paused" stops its caller's clocks, "idle" is the caller's idle time."""


class Run(NamedTuple):
    """What all calls of a run have in common.

    Attributes:
        name: no other run of this gateway has it.
        journal: its file; None where each backend's own cache keeps the answers.
        used: see ``Journal.used``.
        rate_limiter, meter: go on where they are.
    """

    name: str
    journal: Path | None
    used: frozenset[int]
    rate_limiter: RateLimiter | None
    meter: UsageTracker | None


class Spent(NamedTuple):
    """What a run has used here, since it began.

    Attributes:
        calls: that were begun, or replayed.
        by_role: role → what it spent.
        used: see ``Journal.used``.
        rate_limiter: where it is now.
    """

    calls: int
    by_role: Mapping[str, CallUsage]
    used: frozenset[int]
    rate_limiter: RateLimiter | None


NOTHING = Spent(0, {}, frozenset(), None)


@dataclass(frozen=True, slots=True)
class Payment:
    """On whose account a request is.

    Attributes:
        role: who asks; None outside of a program call.
        seconds: that its budget leaves.
        calls: that were set aside for it, of a budget that limits calls; None where none does.
    """

    role: Role | None = None
    seconds: float = math.inf
    calls: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """See ``Backend.ask_one``; ``transport`` is the model's place among the backend's."""

    backend: str
    transport: int
    messages: Sequence[Message]
    params: Mapping[str, Any]
    salt: Any
    payment: Payment


@dataclass(frozen=True, slots=True)
class Embed:
    """See ``Backend.embedding``."""

    backend: str
    model: str
    texts: Sequence[str]
    payment: Payment


@dataclass(frozen=True, slots=True)
class SentError:
    """An exception on its way to another process, without what led to it."""

    kind: type[Exception]
    args: tuple[Any, ...]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, error: Exception) -> SentError:
        return cls(type(error), error.args, {name: value for name, value in vars(error).items() if _travels(value)})

    def made(self) -> Exception:
        """The exception again."""
        error = self.kind.__new__(self.kind, *self.args)
        error.__dict__.update(self.facts)
        return error


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request.

    Attributes:
        value: a Completion or vectors; None where it failed.
        error: why it failed.
        out_of_time: the budget's seconds ended it.
        calls: that were begun.
        entries: what was spent, and whether it was replayed.
        events: for the outcome.
        habits: of the model, where they have changed since this asker was told.
    """

    value: Any
    error: SentError | None
    out_of_time: bool
    calls: int
    entries: Sequence[tuple[CallUsage, bool]]
    events: Sequence[str]
    habits: Any = None


def _travels(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # whatever a client has hung on its error
        return False
    return True
