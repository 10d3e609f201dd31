"""All calls of a node go through one process: its gateway. It holds the run's journal, rate limit and budget.

The workers of a run (``worker.py``) hold no connection to a model. They hand each request to the gateway and get its answer
when it is in the journal. So there is one ledger however many workers there are, clients stay warm, the embedded model is
served once a node, and a worker may be killed at any time: its calls go on here, and whoever takes its cases finds their
answers. What a program call spends and learns comes back with each answer.

    gateway = Gateway()
    await gateway.begin(Run("a", journal, frozenset(), rate_limiter, meter))
    gateway.register("a", "backend 1", pickled)
    reply = await gateway.answer("a", Ask("backend 1", 0, messages, params, …), told)

This module is the gateway without sockets; ``process.py`` is its process.
"""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conscience._base.flow import run_async
from conscience.backends.backend import Backend
from conscience.backends.retry import Deadline
from conscience.backends.storage.journal import Journal
from conscience.distributed.gateway.requests import Ask, Embed, Payment, Reply, Run, SentError, Spent, Told
from conscience.messages.completion import Completion
from conscience.usage import Budget, CallContext, CallUsage, IdleTime, UsageTracker, measure_idle_time


class Gateway:
    """Makes the calls of all workers of its node. For one event loop."""

    def __init__(self) -> None:
        self._runs: dict[str, _Shared] = {}
        self._journals: dict[Path, Journal] = {}
        self._plain: dict[bytes, Backend] = {}
        self._begun: dict[asyncio.Task[Any], tuple[str, _Tracker]] = {}

    def begin(self, run: Run) -> None:
        """Opens a run."""
        journal = None
        if run.journal is not None:
            journal = self._journals.setdefault(run.journal, Journal(run.journal))
            journal.used |= run.used
        self._runs[run.name] = _Shared(run, journal)

    def uses(self, journal: Path) -> bool:
        """Whether a run has this journal."""
        return any(shared.run.journal == journal for shared in self._runs.values())

    def spent(self, name: str) -> Spent:
        """What a run has used so far, ``used`` aside."""
        return self._runs[name].spent(frozenset())

    def end(self, name: str) -> Spent:
        """Forgets a run, and its journal where no other has it. What it has used in all."""
        shared = self._runs.pop(name)
        if shared.run.journal is not None and not self.uses(shared.run.journal):
            del self._journals[shared.run.journal]
        return shared.spent(frozenset(shared.journal.used) if shared.journal is not None else frozenset())

    def register(self, name: str, backend: str, pickled: bytes) -> None:
        """Takes a run's backend under a name. Workers send the same one each: it is the same here, with its connections."""
        shared = self._runs[name]
        plain = self._plain.get(pickled)
        if plain is None:
            plain = self._plain[pickled] = pickle.loads(pickled)
        shared.backends[backend] = plain if shared.journal is None else shared.bound(plain)

    def habits(self, name: str, question: Ask) -> Any:
        """What is known of the model that is asked, see ``Habits.state``."""
        return self._runs[name].backends[question.backend].transports[question.transport].habits.state

    async def answer(self, name: str, question: Ask | Embed, told: Told) -> Reply:
        """Makes a request: the answer is in the journal before it is here."""
        backend, payment = self._runs[name].backends[question.backend], question.payment
        tracker = _Tracker(payment, told)
        ctx = None if payment.role is None else CallContext(tracker, payment.role)
        deadline = Deadline()
        deadline.clock = tracker.paused
        task = asyncio.current_task()
        assert task is not None
        self._begun[task] = (name, tracker)
        value: Any = None
        failure = None
        try:
            with measure_idle_time(_ToldIdleTime("idle", told)):
                if isinstance(question, Ask):
                    transport = backend.transports[question.transport]
                    flow = backend.ask_one(transport, question.messages, question.params, question.salt, ctx, deadline)
                    value = await run_async(flow)
                else:
                    assert ctx is not None
                    value = await run_async(backend.embedding(question.model, question.texts, ctx))
        except Exception as error:  # whatever it is, it is the asker's
            failure = SentError.of(error)
        finally:
            del self._begun[task]
        missed = failure is not None and deadline.missed
        return Reply(value, failure, missed, tracker.begun_here, tracker.entries, tracker.events)

    def drop(self, name: str, backend: str, key: str) -> None:
        """See ``Backend.reject``."""
        self._runs[name].backends[backend].reject(Completion({}, "", key=key)).run()

    def refused(self, name: str, backend: str, feature: str, certain: bool) -> None:
        """See ``Backend.refused``."""
        self._runs[name].backends[backend].refused(feature, certain=certain)

    async def drain(self, name: str | None = None) -> None:
        """Nobody asks any more, in one run or in all: waits for the calls that are under way, whose answers go into the
        journal; none is begun."""
        while tasks := {task: tracker for task, (run, tracker) in self._begun.items() if name in (None, run)}:
            for task, tracker in tasks.items():
                if tracker.paused.waits:  # for its turn
                    task.cancel()
            await asyncio.wait(tasks, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)


class _Shared:
    """A run, here."""

    def __init__(self, run: Run, journal: Journal | None) -> None:
        self.run, self.journal = run, journal
        self.backends: dict[str, Backend] = {}
        self._calls_before = run.meter.begun if run.meter is not None else 0
        self._before = dict(run.meter.usage().by_role) if run.meter is not None else {}

    def bound(self, backend: Backend) -> Backend:
        assert self.journal is not None
        return backend.for_run(self.journal, self.run.rate_limiter, self.run.meter)

    def spent(self, used: frozenset[int]) -> Spent:
        meter = self.run.meter
        if meter is None:
            return Spent(0, {}, used, self.run.rate_limiter)
        now = meter.usage().by_role
        by_role = {role: usage - self._before.get(role, CallUsage()) for role, usage in now.items()}
        return Spent(meter.begun - self._calls_before, by_role, used, self.run.rate_limiter)


class _Tracker(UsageTracker):
    """What one request spends, kept for the one that its asker has."""

    def __init__(self, payment: Payment, told: Told) -> None:
        seconds = None if math.isinf(payment.seconds) else max(0.0, payment.seconds)
        super().__init__(Budget(payment.calls, seconds=seconds))
        self.paused: _ToldIdleTime = _ToldIdleTime("paused", told)
        self.entries: list[tuple[CallUsage, bool]] = []
        self.begun_here = 0

    def begin(self) -> float | None:
        left = super().begin()
        self.begun_here += 1
        return left

    def take_back(self) -> None:
        super().take_back()
        self.begun_here -= 1

    def enter(self, role: str, usage: CallUsage, *, replayed: bool = False) -> None:
        super().enter(role, usage, replayed=replayed)
        self.entries.append((usage, replayed))


class _ToldIdleTime(IdleTime):
    """Tells when waits begin and end."""

    def __init__(self, kind: str, told: Told) -> None:
        super().__init__()
        self.waits = 0
        self._kind, self._told = kind, told

    @contextmanager
    def counting(self) -> Iterator[None]:
        self.waits += 1
        if self.waits == 1:
            self._told(self._kind, True)
        try:
            with super().counting():
                yield
        finally:
            self.waits -= 1
            if not self.waits:
                self._told(self._kind, False)
