"""What a program call has spent, by role, and the budget it may not exceed.

One ``UsageTracker`` lives as long as one program call; every model call under it is entered once, under the role that asked.
A tracker takes a lock for each entry, so modules that use threads inside a call are counted right.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, Self, get_args

from conscience._base.forks import ForkLock
from conscience._redaction import redact
from conscience.errors import BudgetExceeded, ConfigurationError
from conscience.messages.completion import Completion, Message

Role = Literal["generate", "review", "revise", "judge", "propose"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class CallUsage:
    """What some model calls cost.

    Attributes:
        calls: calls that reached a backend (cached answers are not among them).
        cached: answers taken from the response cache; they cost nothing.
        input_tokens, output_tokens: as the backend counts them.
        reused_tokens: the part of ``input_tokens`` that the backend read from its prefix cache.
        seconds: wall time spent waiting, summed over calls.
        dollars: price by LiteLLM's list; 0 where the model has no price (see ``unpriced``).
        unpriced: calls whose price is unknown.
    """

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reused_tokens: int = 0
    seconds: float = 0.0
    dollars: float = 0.0
    unpriced: int = 0

    @classmethod
    def of(cls, completion: Completion, seconds: float) -> Self:
        """What one answer cost that took so long."""
        input_tokens, output_tokens, reused_tokens = completion.tokens()
        return cls(
            calls=1,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            reused_tokens=reused_tokens,
            seconds=seconds,
            dollars=completion.dollars or 0.0,
            unpriced=int(completion.dollars is None),
        )

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def to_dict(self) -> dict[str, Any]:
        """The fields by name: ``CallUsage(**usage.to_dict())`` is the same usage."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __sub__(self, other: CallUsage) -> CallUsage:
        """What was spent since."""
        return CallUsage(**{name: getattr(self, name) - getattr(other, name) for name in self.__slots__})

    def __add__(self, other: CallUsage) -> CallUsage:
        return CallUsage(
            self.calls + other.calls,
            self.cached + other.cached,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.reused_tokens + other.reused_tokens,
            self.seconds + other.seconds,
            self.dollars + other.dollars,
            self.unpriced + other.unpriced,
        )


@dataclass(frozen=True)
class Usage:
    """What one program call has spent: in all, and by role.

    Attributes:
        by_role: role → its calls; only the roles that were used.
        seconds: wall time of the whole program call (calls made side by side count once), and what replayed answers took.
            Starting up and a run's own pace are not in it, see ``paused_clock``.
    """

    by_role: Mapping[str, CallUsage] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def total(self) -> CallUsage:
        """All roles added up."""
        return sum(self.by_role.values(), CallUsage())

    @property
    def calls(self) -> int:
        return self.total.calls

    @property
    def tokens(self) -> int:
        return self.total.tokens

    @property
    def dollars(self) -> float:
        return self.total.dollars

    def to_dict(self) -> dict[str, Any]:
        """JSON form: ``{"seconds", "calls", "tokens", "dollars", "by_role": {role: {…}}}``."""
        total = self.total
        return {
            "seconds": round(self.seconds, 6),
            "calls": total.calls,
            "tokens": total.tokens,
            "dollars": total.dollars,
            "by_role": {role: {**usage.to_dict(), "tokens": usage.tokens} for role, usage in self.by_role.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The usage that ``to_dict`` wrote."""
        spent = {role: {name: entry[name] for name in CallUsage.__slots__} for role, entry in data["by_role"].items()}
        return cls({role: CallUsage(**entry) for role, entry in spent.items()}, data["seconds"])


LARGEST_AMOUNT = 1e15
"""Above this a limit is a mistake, and no clock can count so far."""


def is_amount(value: object) -> bool:
    """Whether a limit is a finite number of 0 or more: neither NaN, which is under every limit, nor True."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_AMOUNT


@dataclass(frozen=True)
class Budget:
    """The most that one program call may spend; ``None`` is no limit.

    A call that would begin with the budget already spent is not made. Tokens and dollars are known only after a call,
    so the calls that are under way when they are spent may go over by what they cost themselves: one call, or as many as the
    program had begun side by side. Calls and seconds never go over (a call still waiting is cut off). Cached answers cost
    none of it but seconds. What this process needs to start up (importing LiteLLM, starting the embedded engine) and the
    waits of a run that keeps to a rate are no part of the seconds.

    Attributes:
        calls: calls of models; failed attempts count.
        tokens: input and output together.
        seconds: wall time.
        dollars: by LiteLLM's list, or by the prices given to the Backend. A model without a price is then refused.

    Raises:
        ConfigurationError: a limit is not a finite number of 0 or more.
    """

    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and not is_amount(value):
                raise ConfigurationError(f"budget {f.name}={value!r} is not a finite number of 0 or more")

    @classmethod
    def of(cls, value: Budget | Mapping[str, float] | None) -> Budget | None:
        """A budget from itself or from a mapping such as ``{"calls": 4}``."""
        if value is None or isinstance(value, Budget):
            return value
        allowed = [f.name for f in fields(cls)]
        if not isinstance(value, Mapping) or not set(value) <= set(allowed):
            raise ConfigurationError(f"budget {value!r} is not a Budget or a mapping with keys among {allowed}")
        return cls(**value)  # type: ignore[arg-type]


class UsageTracker:
    """Call state of one program call: what was spent, the budget, and what happened on the way."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget
        self.paused = IdleTime()
        self._lock = ForkLock()
        self._by_role: dict[str, CallUsage] = {}
        self._started_calls = 0
        self._started = time.perf_counter()
        self._replayed = 0.0
        self.events: list[str] = []

    def note(self, event: str) -> None:
        """Records something the caller should know, without credentials: a fallback, a signal that was not available."""
        event = redact(event)
        with self._lock:
            if event not in self.events:
                self.events.append(event)

    @property
    def begun(self) -> int:
        """Calls that were begun, and those that were replayed."""
        with self._lock:
            return self._started_calls

    def begin(self) -> float | None:
        """Claims one call from the budget.

        Returns:
            Seconds left for it, or None where no time limit is set.

        Raises:
            BudgetExceeded: nothing is left; names the limit that was met.
        """
        with self._lock:
            if name := self._limit_met():
                raise BudgetExceeded(f"the budget of {getattr(self.budget, name)} {name} is spent")
            self._started_calls += 1
            return self._seconds_left()

    def take_back(self) -> None:
        """Gives a claimed call back that is not made after all."""
        with self._lock:
            self._started_calls -= 1

    def seconds_left(self) -> float | None:
        """Seconds left, below 0 where more are gone; None where no time limit is set."""
        with self._lock:
            return self._seconds_left()

    def _seconds_left(self) -> float | None:
        seconds = self.budget.seconds if self.budget else None
        return None if seconds is None else seconds - self._elapsed()

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started - self.paused.seconds

    def limit_met(self) -> str:
        """The limit that is used up: calls, tokens, seconds or dollars; empty where none is."""
        with self._lock:
            return self._limit_met()

    def share_left(self) -> float:
        """The share of the budget that is left, 0 to 1, of the limit that is nearest; 1 where none is set."""
        with self._lock:
            shares = [1 - spent / limit if limit else 0.0 for _, spent, limit in self._limits()]
        return max(0.0, min(shares, default=1.0))

    def _limit_met(self) -> str:
        return next((name for name, spent, limit in self._limits() if spent >= limit), "")

    def _limits(self) -> Iterator[tuple[str, float, float]]:
        """The limits that are set: name, what of it is spent, and the most that may be."""
        total = sum(self._by_role.values(), CallUsage())
        spent = {
            "calls": self._started_calls,
            "tokens": total.tokens,
            "seconds": self._elapsed(),
            "dollars": total.dollars,
        }
        for name, amount in spent.items():
            limit = getattr(self.budget, name, None)
            if limit is not None:
                yield name, amount, limit

    def enter(self, role: str, usage: CallUsage, *, replayed: bool = False) -> None:
        """Adds a finished call under its role; a replayed one was made before, but counts as made here."""
        with self._lock:
            before = self._by_role.get(role)
            self._by_role[role] = usage if before is None else before + usage
            if replayed:
                self._started_calls += usage.calls
                self._replayed += usage.seconds

    def absorb(self, calls: int, by_role: Mapping[str, CallUsage]) -> None:
        """Adds what a copy of this tracker has counted in another process: calls begun, and role → what was spent."""
        with self._lock:
            self._started_calls += calls
            for role, usage in by_role.items():
                self._by_role[role] = self._by_role.get(role, CallUsage()) + usage

    def usage(self) -> Usage:
        """A snapshot of what was spent so far."""
        with self._lock:
            return Usage(dict(self._by_role), self._elapsed() + self._replayed)


class Exchange(NamedTuple):
    """One question to a model and its answer; ``params`` are the chat parameters that it was asked with."""

    messages: tuple[Message, ...]
    completion: Completion
    params: Mapping[str, Any]


class CallContext:
    """Who makes a model call: the usage tracker of the program call, and the role that asks.

    Attributes:
        exchanges: what was asked and answered under it, in order.
        steps: what DSPy's predictors did under it, in order, as DSPy traces them: (predictor, inputs, prediction).
    """

    __slots__ = ("exchanges", "role", "steps", "tracker")

    def __init__(self, tracker: UsageTracker, role: Role) -> None:
        self.tracker = tracker
        self.role: Role = role
        self.exchanges: list[Exchange] = []
        self.steps: list[tuple[Any, Mapping[str, Any], Any]] = []


class IdleTime:
    """How many seconds went by in waits that are not the program's own; waits side by side count once."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._counted = 0.0
        self._open = 0
        self._since = 0.0

    @property
    def seconds(self) -> float:
        """So far; a wait that is under way included."""
        with self._lock:
            return self._counted + (time.perf_counter() - self._since if self._open else 0.0)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts what runs inside."""
        with self._lock:
            if not self._open:
                self._since = time.perf_counter()
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1
                if not self._open:
                    self._counted += time.perf_counter() - self._since


_idle_time: ContextVar[IdleTime | None] = ContextVar("conscience_idle_time", default=None)
_clocks: ContextVar[tuple[IdleTime, ...]] = ContextVar("conscience_clocks", default=())


@contextmanager
def measure_idle_time(idle_time: IdleTime | None = None) -> Iterator[IdleTime]:
    """Counts how long what runs inside starts up, or waits for a rate limit or for an answer that somebody else is asking
    for."""
    idle_time = idle_time or IdleTime()
    token = _idle_time.set(idle_time)
    try:
        yield idle_time
    finally:
        _idle_time.reset(token)


def idle_clock() -> IdleTime:
    """What counts the idle time of the code that asks; nobody reads it where nobody measures."""
    return _idle_time.get() or IdleTime()


def idle() -> AbstractContextManager[None]:
    """Counts what runs inside as idle time, for whoever measures it."""
    return idle_clock().counting()


@contextmanager
def pausing(clocks: tuple[IdleTime, ...]) -> Iterator[None]:
    """These clocks stand still for each ``paused_clock`` inside."""
    token = _clocks.set(clocks)
    try:
        yield
    finally:
        _clocks.reset(token)


@contextmanager
def paused_clock() -> Iterator[None]:
    """What runs inside counts neither as a call's time nor against its budget of seconds: it starts something up for the
    whole process, or keeps a run to its pace. Where no call's clock is there to stand still, it is idle time."""
    clocks = _clocks.get()
    with ExitStack() as stack:
        counted: list[AbstractContextManager[None]] = [clock.counting() for clock in clocks]
        for counting in counted or [idle()]:
            stack.enter_context(counting)
        yield
