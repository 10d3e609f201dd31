"""What all stages of one compilation share: metered and journaled backends, threads, and a budget that is never exceeded.

Work goes to the executor in waves. Before each, the calls that are left are divided by the most that one piece may take, so
what is begun can be finished, and the same budget always begins the same pieces. Retries, tokens, dollars and seconds cannot
be planned; the meter refuses a call that would go beyond them, and the wave it fell into ends the work.
"""

from __future__ import annotations

import asyncio
import contextvars
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import dspy

from conscience._base.locks import locked_folder
from conscience._calls.models import models_of
from conscience.backends.bound import BoundBackend
from conscience.backends.storage.journal import Journal
from conscience.distributed.batch_files import BatchExecutor, executor_in, live_beside_batches
from conscience.distributed.interrupts import interruptible
from conscience.distributed.tasks import Shared, Task, Work
from conscience.errors import BackendError, BudgetExceeded, ConfigurationError, ConscienceError
from conscience.evals.api import run_blocking
from conscience.evals.executor import LOCAL, ExecutorSpec, executor_of
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.judge import Judge
from conscience.gate.gate import calls_to_read
from conscience.optimizers.figures import Spent
from conscience.program import Conscience
from conscience.usage import Budget, CallContext, Role, Usage, UsageTracker

THREADS = 4
WAVE, WAVE_ELSEWHERE = 4, 64
"""Pieces of a wave for each that is under way at once; elsewhere more processes share in it, and wait for its last."""

STOP_AFTER = 5
"""So many backend failures in a row end a compilation: the backend is gone."""

T = TypeVar("T")
R = TypeVar("R")


class Interrupted(Exception):
    """Somebody pressed Ctrl-C; what was paid for is in the journal."""


@dataclass(frozen=True)
class CompileProgress:
    """Where a compilation is.

    Attributes:
        stage: its name.
        done, total: pieces of work of this stage.
        usage: of the whole compilation so far, what an earlier interrupted one paid included.
        best: the best figure so far, as text; empty before there is one.
    """

    stage: str
    done: int
    total: int
    usage: Usage
    best: str = ""


Watch = Callable[[CompileProgress], None]


class Runtime:
    """What the stages of one compilation share: models that keep a journal and spend from a budget, threads, progress.

    Args:
        journal: a file that keeps every answer; the same compilation with the same file pays for nothing twice.
        budget: the most that the whole compilation may spend.
        threads: pieces of work under way at once, in each process that does them.
        watch: is told the progress.
        executor: where the work is done: "local", "ray", or an ``Executor``.
    """

    def __init__(
        self,
        journal: Path,
        budget: Budget | None = None,
        *,
        threads: int = THREADS,
        watch: Watch | None = None,
        executor: ExecutorSpec = "local",
    ) -> None:
        self.budget = budget or Budget()
        self.meter = UsageTracker(self.budget)
        self.journal = Journal(journal)
        self.threads = threads
        self.executor = executor_in(journal.parent, executor_of(executor))
        self.exhausted = False
        self.failures: list[str] = []
        self.best = ""
        self._stage = ""
        self._watch = watch or (lambda progress: None)

    def own(self, program: Conscience) -> Conscience:
        """A copy of a program whose models are this runtime's.

        Raises:
            ConfigurationError: the budget limits dollars, and a model has no price.
        """
        if self.budget.dollars is not None:
            for backend in models_of(program):
                backend.check_prices()
        if isinstance(self.executor, BatchExecutor) and (line := live_beside_batches(program.roles.named)):
            self.executor.tell(line)
        return program.for_run(self.journal, meter=self.meter)

    def bind(self, program: Conscience, role: Role) -> BoundBackend:
        """A program's backend for a role, on a tracker of its own: one piece of work."""
        return program.roles.bound(role, CallContext(UsageTracker(), role))

    @property
    def shared(self) -> Shared:
        """What all of its calls have in common."""
        return Shared(self.journal, None, self.meter)

    def judge(self, oracle: Oracle | None) -> Oracle | None:
        """An oracle; one that asks a model keeps this runtime's journal and spends from its budget."""
        return oracle.for_run(self.journal, meter=self.meter) if isinstance(oracle, Judge) else oracle

    @property
    def costs(self) -> Spent:
        """What it cost so far, what an earlier interrupted part paid included."""
        total = self.meter.usage().total
        return Spent(self.meter.begun, total.tokens, total.dollars)

    @property
    def spent(self) -> bool:
        """Whether nothing is left of calls, tokens, seconds or dollars."""
        return bool(self.meter.limit_met())

    @property
    def calls_left(self) -> int | None:
        """Calls that may still be made; None without a limit."""
        return None if self.budget.calls is None else max(0, self.budget.calls - self.meter.begun)

    @property
    def share_left(self) -> float:
        """The share of the budget that is left, 0 to 1, of the limit that is nearest; 1 without a budget."""
        return self.meter.share_left()

    def affords(self, calls: int) -> bool:
        """Whether so many calls can still be made."""
        return not self.exhausted and (self.calls_left is None or calls <= self.calls_left)

    def stage(self, name: str) -> None:
        """Names what comes next."""
        self._stage = name
        self.tell(0, 0)

    def tell(self, done: int, total: int) -> None:
        """Tells the progress."""
        self._watch(CompileProgress(self._stage, done, total, self.meter.usage(), self.best))

    @overload
    def each(self, items: Sequence[T], work: Task[T, R], *, most_calls: int) -> list[R | None]: ...
    @overload
    def each(self, items: Sequence[T], work: Callable[[T], R], *, most_calls: int) -> list[R | None]: ...
    def each(self, items: Sequence[Any], work: Any, *, most_calls: int) -> list[Any]:
        """The work's result for each item, in order; None for one that failed. Shorter than the items when the budget ends.

        Args:
            items: what is to be done.
            work: does one; a ConscienceError is noted in ``failures``. A ``Task`` goes to the executor, a plain function is
                called in threads of this process.
            most_calls: the most calls that one takes, retries aside.

        Raises:
            Interrupted: by Ctrl-C, after the work under way has ended.
            BackendError: the backend is gone.
            InputError, ConfigurationError: the work cannot be done at all.
        """
        with ThreadPoolExecutor(self.threads) as pool:  # which makes no thread before it is asked to

            async def in_thread(item: Any) -> Any:
                run = contextvars.copy_context().run
                return await asyncio.get_running_loop().run_in_executor(pool, lambda: run(work, item))

            async def done() -> list[Any]:
                async with interruptible() as stop:
                    return await self._each(items, work if isinstance(work, Task) else in_thread, most_calls, stop)

            try:
                return run_blocking(done())
            except KeyboardInterrupt:
                raise Interrupted from None

    async def _each(self, items: Sequence[T], work: Work[T, R], most_calls: int, stop: asyncio.Event) -> list[R | None]:
        results: list[R | None] = []
        gone = 0
        for wave in self._waves(items, most_calls):
            for outcome in await self._wave(wave, work, stop):
                if isinstance(outcome, BudgetExceeded):
                    self.exhausted = True
                    return results
                if isinstance(outcome, ConscienceError):
                    self.failures.append(str(outcome))
                    gone = gone + 1 if isinstance(outcome, BackendError) and outcome.gone else 0
                    if gone >= STOP_AFTER:
                        raise BackendError(f"{gone} pieces of work in a row failed: {outcome.message}", hint=outcome.hint)
                    results.append(None)
                else:
                    gone = 0
                    results.append(outcome)
            self.tell(len(results), len(items))
        return results

    def _waves(self, items: Sequence[T], most_calls: int) -> Iterator[Sequence[T]]:
        start = 0
        while start < len(items):
            size = self.threads * (WAVE if self.executor is LOCAL else WAVE_ELSEWHERE)
            if isinstance(self.executor, BatchExecutor):
                size = len(items)  # a wave waits for a batch or several
            if most_calls and self.calls_left is not None:
                size = min(size, self.calls_left // most_calls)
            if size < 1 or self.exhausted:
                self.exhausted = True
                return
            yield items[start : start + size]
            start += size

    async def _wave(self, wave: Sequence[T], work: Work[T, R], stop: asyncio.Event) -> list[R | ConscienceError]:
        """What came of each item, in order."""
        outcomes: dict[int, R | ConscienceError] = {}
        executor = self.executor if isinstance(work, Task) else LOCAL
        left = (item for item in wave if not stop.is_set())
        async with aclosing(executor.map(work, left, shared=self.shared, concurrency=self.threads)) as results:
            async for done in results:
                outcomes[done.index] = done.outcome
        if stop.is_set():
            raise Interrupted
        return [outcomes[index] for index in range(len(wave))]


@contextmanager
def runtime_for(
    runtime: Runtime | None,
    folder: Path | str | None,
    budget: Budget | None,
    threads: int,
    watch: Watch | None,
    executor: ExecutorSpec = "local",
) -> Iterator[Runtime]:
    """The runtime that was given, or a new one whose journal is in a folder; without a folder, nothing is kept.

    Raises:
        InputError: another process uses the folder.
        ConfigurationError: there is no such executor.
    """
    if runtime is not None:
        yield runtime
        return
    if folder is None and isinstance(executor_of(executor), BatchExecutor):
        raise ConfigurationError(
            "a compilation by batch needs a folder", hint="give folder=…: a batch outlives this process"
        )
    with _folder(folder) as kept:
        yield Runtime(kept / "calls.jsonl", budget, threads=threads, watch=watch, executor=executor)


@contextmanager
def _folder(folder: Path | str | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
    else:
        with locked_folder(Path(folder)):
            yield Path(folder)


@dataclass(frozen=True)
class Calls:
    """The most calls that parts of a program make, retries aside.

    Attributes:
        generate: one draft.
        gate: one verdict of the gate.
        correct: everything after the draft: reviews, critiques, revisions.
    """

    generate: int
    gate: int
    correct: int


def calls_of_program(program: Conscience) -> Calls:
    """What one call of a program may take. A module of the user's counts twice its predictors: an adapter may ask again."""
    predictors = sum(isinstance(part, dspy.Predict) for _, part in program.generate.named_sub_modules())
    generate = 1 if program.generate.plain or not predictors else 2 * predictors
    settings = program.gate_settings
    gate = calls_to_read(settings.signals, program.roles.backend("review"))
    principles = int(settings.coverage_threshold < 1 and not settings.names_the_principles)
    chosen = len(program.constitution.principles) if settings.critique == "chooses" else 0
    review = gate + principles + max(2, chosen)  # a critique that cannot be parsed is asked for again
    first, further = program.revise.calls(program.constitution, program.roles.backend("revise").name)
    a_round = first - further + program.samples * (review + further)
    return Calls(generate, gate, review + program.max_revisions * a_round)


def calls_of_ruling(oracle: Oracle | None) -> int:
    """The most calls of one ruling."""
    return oracle.calls if isinstance(oracle, Judge) else 0


def check_student(student: object) -> None:
    """Refuses what an optimizer of this package cannot compile.

    Raises:
        ConfigurationError: it is no ``Conscience``.
    """
    if not isinstance(student, Conscience):
        raise ConfigurationError(f"{type(student).__name__} is no Conscience", hint="wrap it: Conscience(program)")
