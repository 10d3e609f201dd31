"""Work on many cases, answered by a provider's batch files: in rounds, at the price of batches.

In a round every case runs until it asks what no batch has answered (see ``conscience.backends.batches.posting``). When all
of them wait, the questions go out as files, and the next round begins as soon as one of these has come back. A case that
asks six questions, one after the other, takes six rounds; all cases take them together.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, Generic, TypeVar

from conscience.backends.backend import Backend
from conscience.backends.batches.allowance import Allowance
from conscience.backends.batches.outbox import Outbox, batches_of, has_batches
from conscience.backends.batches.patience import PACE, Interrupted, Pace, Waiting
from conscience.backends.batches.posting import BATCHED, Parked, posting_to
from conscience.backends.batches.posting import has_batches as is_batched
from conscience.backends.batches.rounds import Endpoints, Round
from conscience.distributed.interrupts import stop_asked
from conscience.distributed.tasks import Done, Executor, Shared, Task, Work
from conscience.errors import BudgetExceeded, ConfigurationError, ConscienceError, InputError

logger = logging.getLogger("conscience")

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

MOST_WAITING = 100_000
"""Cases that wait at once; they are in memory, and nothing else of them."""

_PARKED: Any = object()


@dataclass
class BatchExecutor:
    """Does the items in this process; what their models are asked goes out in batch files where their providers take such.

    Attributes:
        local: does the items of one round.
        folder: the run's; batches, and all that is known of them, are kept in it. A run gives its own.
        max_dollars: no file is sent that would cost more, by an estimate, than is left of this; the run's.
        tell: is told what was sent and what has come, in a line.
        show: is told how far the batches under way are.
        pace: of the looks at them.
        endpoints: other ways to the providers' batches.
    """

    local: Executor
    folder: Path | None = None
    max_dollars: float | None = None
    tell: Callable[[str], None] = logger.info
    show: Callable[[str], None] = logger.debug
    pace: Pace = PACE
    endpoints: Endpoints | None = None
    name = "batch"

    async def map(
        self, work: Work[I, R], items: Iterable[I], *, shared: Shared, concurrency: int
    ) -> AsyncGenerator[Done[I, R], None]:
        """See ``Executor.map``.

        Raises:
            BackendError: a provider refuses a file, or is away for long; what it has begun it goes on with.
            ConfigurationError: none of the replies that came is asked for again.
        """
        if self.folder is None:
            raise ConfigurationError("work that is answered by batch needs a folder", hint="give BatchExecutor(folder=…)")
        if isinstance(work, Task) and not work.by_batch:
            async with aclosing(self.local.map(work, items, shared=shared, concurrency=concurrency)) as results:
                async for done in results:
                    yield done
            return
        outbox, stop = Outbox(self.folder), stop_asked()
        waiting = Waiting(self.pace, stop, self.show)
        rounds = Round(outbox, waiting, self.tell, self.show, self.endpoints)
        source, parked = _Source(items), list[tuple[int, I]]()
        while parked or not source.is_exhausted:
            came = len(outbox.untaken)
            again, parked = parked, []
            numbered = takewhile(lambda _: not stop.is_set(), chain(again, source.up_to(MOST_WAITING - len(again))))
            async with aclosing(_tried(self.local, work, numbered, outbox, shared, concurrency)) as tried:
                async for done in tried:
                    if done.outcome is _PARKED:
                        parked.append((done.index, done.item))
                    else:
                        yield done
            if not parked and not stop.is_set():
                continue
            if came and len(outbox.untaken) == came and not stop.is_set():
                raise ConfigurationError(
                    f"none of the {came} replies that came by batch is asked for again: each time a case is done it asks "
                    "something else",
                    hint="a request must not hold the time or anything drawn anew; or leave the batch out",
                )
            try:
                if await rounds.settle(self._left(shared)):
                    continue
            except Interrupted:
                if line := farewell(self.folder):
                    self.tell(line)
                return
            if shared.meter is not None:  # a larger undertaking's budget: its caller is told of each item
                for index, item in parked:
                    yield Done(index, item, BudgetExceeded("the run's budget leaves nothing for another request"))
            return

    def _left(self, shared: Shared) -> Allowance:
        """What the run may spend: of its own dollars, and of the larger undertaking's budget."""
        left = Allowance()
        if self.max_dollars is not None:
            left.dollars = self.max_dollars - (0.0 if shared.journal is None else shared.journal.dollars())
        if shared.meter is not None and (budget := shared.meter.budget) is not None:
            spent = shared.meter.usage()
            if budget.calls is not None:
                left.calls = budget.calls - shared.meter.begun
            if budget.tokens is not None:
                left.tokens = budget.tokens - spent.tokens
            if budget.dollars is not None:
                left.dollars = min(left.dollars, budget.dollars - spent.dollars)
        return left


class _Source(Generic[I]):
    """Items with their places, a part at a time."""

    def __init__(self, items: Iterable[I]) -> None:
        self._left = enumerate(items)
        self.is_exhausted = False

    def up_to(self, most: int) -> Iterator[tuple[int, I]]:
        """The next ones."""
        for _ in range(most):
            if (numbered := next(self._left, None)) is None:
                self.is_exhausted = True
                return
            yield numbered


class Leftovers:
    """Does the items in this process, live, in a folder where a batch has left replies: they are used up first."""

    name = "local"

    def __init__(self, local: Executor, folder: Path) -> None:
        self._local, self._folder = local, folder

    async def map(
        self, work: Work[I, R], items: Iterable[I], *, shared: Shared, concurrency: int
    ) -> AsyncGenerator[Done[I, R], None]:
        """See ``Executor.map``."""
        outbox = Outbox(self._folder, is_open=False)
        async with aclosing(_tried(self._local, work, enumerate(items), outbox, shared, concurrency)) as tried:
            async for done in tried:
                yield done


async def _tried(
    local: Executor, work: Work[I, R], numbered: Iterable[tuple[int, I]], outbox: Outbox, shared: Shared, concurrency: int
) -> AsyncGenerator[Done[I, R], None]:
    """Does each item as far as it gets; the outcome of one that waits is ``_PARKED``."""

    async def tried(item: tuple[int, I]) -> R:
        with posting_to(outbox) as posting:
            try:
                result = await work(item[1])
            except Parked:
                return _PARKED  # type: ignore[no-any-return]
            except ConscienceError:
                if posting.is_parked:  # beside it something else failed, which the next round will show
                    return _PARKED  # type: ignore[no-any-return]
                outbox.forget(posting.used)
                raise
        return _PARKED if posting.is_parked else result  # whoever called in between may have swallowed it

    async with aclosing(local.map(tried, numbered, shared=shared, concurrency=concurrency)) as results:
        async for done in results:
            yield Done(*done.item, done.outcome)


def executor_in(
    folder: Path, executor: Executor, backends: Mapping[str, Backend] | None = None, max_dollars: float | None = None
) -> Executor:
    """The executor of one run.

    Args:
        folder: the run's; it may hold batches of an earlier part.
        backends: what serves each role, where that is known already.
        max_dollars: the most that the run may cost.

    Raises:
        ConfigurationError: nothing of it can be asked by batch.
        InputError: it is asked live, and batches of it are under way: what they bring would be paid for twice.
    """
    if isinstance(executor, BatchExecutor):
        if backends is not None and (line := live_beside_batches(backends)):
            executor.tell(line)
        return replace(executor, folder=folder, max_dollars=max_dollars)
    if not has_batches(folder):
        return executor
    if jobs := batches_of(folder):
        requests = sum(job.requests for job in jobs)
        hint = f"go on with --batch, or end them: conscience batches {folder} --cancel"
        raise InputError(f"{folder}: batches with {requests} requests are under way", hint=hint)
    return Leftovers(executor, folder) if executor.name == "local" else executor


def work_beside(out: Path) -> Path:
    """The folder for the answers and batches of a review, whose verdicts go into one file."""
    return out.with_name(f"{out.name}.work")


def farewell(folder: Path) -> str:
    """What to say of the batches that are left at their provider; empty where there are none."""
    jobs = batches_of(folder)
    if not jobs:
        return ""
    models = ", ".join(sorted({job.model for job in jobs}))
    return (
        f"{sum(job.requests for job in jobs)} requests stay in batches of {models}: the same command fetches them, "
        f"conscience batches {folder} --cancel ends them"
    )


def live_beside_batches(backends: Mapping[str, Backend]) -> str:
    """What of these is asked live, in a line; empty where all goes by batch.

    Args:
        backends: what serves each role.

    Raises:
        ConfigurationError: all of it is.
    """
    live: dict[str, list[str]] = {}
    batched = False
    for role, backend in backends.items():
        for transport in backend.transports:
            if is_batched(transport) and transport.account() is not None:
                batched = True
            else:
                live.setdefault(transport.name, []).append(role)
    names = ", ".join(f"{name} ({', '.join(roles)})" for name, roles in live.items())
    if not batched:
        hint = f"they go to models of {', '.join(BATCHED)}; leave the batch out to ask live"
        raise ConfigurationError(f"no batch files for {names}", hint=hint)
    return f"asked live, for want of batch files: {names}" if names else ""
