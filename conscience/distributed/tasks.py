"""Work on many items as data: what an executor is given, what it gives back, and how either gets to another process.

    task = Evaluation(program, oracle, shared)              here
    sent = SentTask.of(task)                                its name and its data: JSON
    theirs = sent.open(shared_there)                        there: a task by the same name, from the same data
    reply = await theirs.reply(task.items.to_data(case))    JSON again: a result, or an error of that one item
    task.outcome(reply)                                     here: what ``await task(case)`` would have given

A task is a class that can be imported by name. Objects, keys and addresses do not travel: whoever does the work elsewhere
takes keys and addresses from an environment of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from conscience._dspy.lm import settings
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.storage.journal import Journal
from conscience.distributed.failures import error_data, error_from_data
from conscience.distributed.names import named
from conscience.distributed.programs import dspy_data, dspy_from_data, program_from_data
from conscience.errors import ConfigurationError, ConscienceError, InputError
from conscience.program import Conscience
from conscience.usage import UsageTracker

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

Work = Callable[[I], Awaitable[R]]
"""Does one item: a ``Task``, or any function where all is done in this process."""

END_A_RUN = (InputError, ConfigurationError)
"""Errors that say of all items what they say of one: work that meets one of them ends."""


@dataclass(frozen=True)
class Shared:
    """What all calls of a run have in common, wherever they are made: an executor keeps it one for all of its workers.

    Attributes:
        journal: keeps every answer; None where the response cache does.
        rate_limiter: paces the calls.
        meter: counts what they spend, and ends them with its budget.
    """

    journal: Journal | None = None
    rate_limiter: RateLimiter | None = None
    meter: UsageTracker | None = None

    def open(self, program: Mapping[str, Any]) -> Conscience:
        """A program that came as data, on what is shared.

        Raises:
            ConfigurationError: something of it cannot be imported in this process.
        """
        assert self.journal is not None
        return program_from_data(program).for_run(self.journal, self.rate_limiter, self.meter)


class Codec(NamedTuple):
    """Two functions: to JSON types, and back to an equal value."""

    to_data: Callable[[Any], Any]
    from_data: Callable[[Any], Any]


class Task(ABC, Generic[I, R]):
    """One kind of work on many items, for any executor.

    Attributes:
        items, results: how each travels.
        by_batch: whether it may wait for a provider's batches: not where a search is at its next step only then.
        settings: of DSPy's, under which ``reply`` does an item.
    """

    items: ClassVar[Codec]
    results: ClassVar[Codec]
    by_batch: ClassVar[bool] = True
    settings: Mapping[str, Any] = {}

    @abstractmethod
    async def __call__(self, item: I) -> R:
        """Does one.

        Raises:
            ConscienceError: it cannot be done; an InputError or a ConfigurationError says so of all.
        """

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """All that the work depends on, as JSON types.

        Raises:
            ConfigurationError: a part of it exists in this process only.
        """

    @classmethod
    @abstractmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Self:
        """The same work in another process, on what that process shares with all others."""

    async def reply(self, item: Any) -> dict[str, Any]:
        """Does an item that came as data. What comes of it is data too; ``outcome`` reads it."""
        try:
            with settings.context(disable_history=True, **self.settings):
                return {"result": self.results.to_data(await self(self.items.from_data(item)))}
        except ConscienceError as error:
            return {"error": error_data(error)}

    def outcome(self, reply: Mapping[str, Any]) -> R | ConscienceError:
        """What came of an item.

        Raises:
            InputError, ConfigurationError: the work cannot be done at all.
        """
        if "error" not in reply:
            return self.results.from_data(reply["result"])  # type: ignore[no-any-return]
        error = error_from_data(reply["error"])
        if isinstance(error, END_A_RUN):
            raise error
        return error


@dataclass(frozen=True)
class SentTask:
    """A task on its way to another process; all of it is JSON types.

    Attributes:
        name: of its class, as ``module:name``.
        data: see ``Task.to_data``.
        settings: of DSPy's, see ``dspy_data``.
    """

    name: str
    data: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, work: Work[Any, Any]) -> Self:
        """A task's name and data.

        Raises:
            ConfigurationError: a part of it exists in this process only.
        """
        if not isinstance(work, Task):
            raise ConfigurationError("this work exists in this process only", hint='use executor="local"')
        return cls(f"{type(work).__module__}:{type(work).__qualname__}", work.to_data(), dspy_data())

    def open(self, shared: Shared) -> Task[Any, Any]:
        """The task again, in the process where it has arrived.

        Raises:
            ConfigurationError: something of it cannot be imported here.
        """
        task: Task[Any, Any] = named(self.name).from_data(self.data, shared)
        task.settings = dspy_from_data(self.settings)
        return task


@dataclass(frozen=True, slots=True)
class Done(Generic[I, R]):
    """One item that was done.

    Attributes:
        index: the item's place among those that were given, from 0.
        item: itself.
        outcome: the work's result, or why it has none.
    """

    index: int
    item: I
    outcome: R | ConscienceError


class Executor(Protocol):
    """Does work on many items. Which one does it changes no result.

    Attributes:
        name: as in ``executor="local"``.
    """

    name: str

    def map(
        self, work: Work[I, R], items: Iterable[I], *, shared: Shared, concurrency: int
    ) -> AsyncGenerator[Done[I, R], None]:
        """Does the work for each item, and gives what came of it as soon as it is there, in any order.

        An item is taken from ``items`` only when there is room for it, after what is done by then was given: so a run can
        be ended by ending its items, and never are all of them in memory. When the generator is closed, what is under way
        is given up.

        Args:
            work: a ``Task``; an executor in this process takes any function.
            items: streamed; taken from the caller's event loop.
            shared: what the calls of the run have in common.
            concurrency: items under way at once, in each process that does them.

        Raises:
            ConfigurationError: before the first item, where a part of the work exists in this process only.
            InputError, ConfigurationError: the work cannot be done at all; other errors than these are outcomes.
        """
        ...
