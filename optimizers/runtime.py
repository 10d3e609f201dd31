"""What all stages of one compilation share: metered and journaled backends, threads, and a budget that is never exceeded.

Work goes out in waves. Before each, the calls that are left are divided by the most that one piece may take, so what is
begun can be finished, and the same budget always begins the same pieces. Retries, tokens, dollars and seconds cannot be
planned; the meter refuses a call that would go beyond them, and the wave it fell into ends the work.
"""

from __future__ import annotations

import contextvars
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import dspy

from conscience._base.locks import locked_folder
from conscience._calls.models import models_of
from conscience.backends.bound import BoundBackend
from conscience.backends.storage.journal import Journal
from conscience.errors import BackendError, BudgetExceeded, ConfigurationError, ConscienceError, InputError
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.judge import Judge
from conscience.gate.gate import calls_to_read
from conscience.optimizers.figures import Spent
from conscience.program import Conscience
from conscience.usage import Budget, CallContext, Role, Usage, UsageTracker

THREADS = 4
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
        threads: pieces of work under way at once.
        watch: is told the progress.
    """

    def __init__(
        self, journal: Path, budget: Budget | None = None, *, threads: int = THREADS, watch: Watch | None = None
    ) -> None:
        self.budget = budget or Budget()
        self.meter = UsageTracker(self.budget)
        self.journal = Journal(journal)
        self.threads = threads
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
        return program.for_run(self.journal, meter=self.meter)

    def bind(self, program: Conscience, role: Role) -> BoundBackend:
        """A program's backend for a role, on a tracker of its own: one piece of work."""
        return program.roles.bound(role, CallContext(UsageTracker(), role))

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

    def each(self, items: Sequence[T], work: Callable[[T], R], *, most_calls: int) -> list[R | None]:
        """The work's result for each item, in order; None for one that failed. Shorter than the items when the budget ends.

        Args:
            items: what is to be done.
            work: does one; a ConscienceError is noted in ``failures``.
            most_calls: the most calls that one takes, retries aside.

        Raises:
            Interrupted: by Ctrl-C, after the work under way has ended.
            BackendError: the backend is gone.
            InputError, ConfigurationError: the work cannot be done at all.
        """
        results: list[R | None] = []
        gone = 0
        for wave in self._waves(items, most_calls):
            for outcome in self._wave(wave, work):
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
            size = 4 * self.threads
            if most_calls and self.calls_left is not None:
                size = min(size, self.calls_left // most_calls)
            if size < 1 or self.exhausted:
                self.exhausted = True
                return
            yield items[start : start + size]
            start += size

    def _wave(self, wave: Sequence[T], work: Callable[[T], R]) -> list[R | ConscienceError]:
        def guarded(item: T) -> R | ConscienceError:
            try:
                return work(item)
            except (InputError, ConfigurationError):
                raise
            except ConscienceError as error:
                return error

        with ThreadPoolExecutor(min(self.threads, len(wave))) as pool:
            futures = [pool.submit(contextvars.copy_context().run, guarded, item) for item in wave]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                raise Interrupted from None
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


@contextmanager
def runtime_for(
    runtime: Runtime | None, folder: Path | str | None, budget: Budget | None, threads: int, watch: Watch | None
) -> Iterator[Runtime]:
    """The runtime that was given, or a new one whose journal is in a folder; without a folder, nothing is kept.

    Raises:
        InputError: another process uses the folder.
    """
    if runtime is not None:
        yield runtime
        return
    if folder is not None:
        with locked_folder(Path(folder)):
            yield Runtime(Path(folder) / "calls.jsonl", budget, threads=threads, watch=watch)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Runtime(Path(temporary) / "calls.jsonl", budget, threads=threads, watch=watch)


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
    revisions = program.max_revisions * program.samples
    return Calls(generate, gate, review + revisions * (review + (1 if program.revise.plain else 2)))


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
