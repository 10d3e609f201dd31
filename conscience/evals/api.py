"""``conscience.evaluate``: what ``conscience eval`` does, as one call."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from conscience._base.locks import locked_folder
from conscience.cases.case import Case, iter_cases
from conscience.cases.drawing import draw
from conscience.errors import CaseError, ConfigurationError
from conscience.evals import report
from conscience.evals.baselines import as_program
from conscience.evals.grading import Program
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.judge import Judge
from conscience.evals.oracles.named import load_oracle
from conscience.evals.results import EvalReport
from conscience.evals.runner import EvalConfig, run
from conscience.evals.summary import summarise

T = TypeVar("T")

Sources = str | Path | Iterable[str | Path | Case]
"""A file, a folder, ``pack:NAME`` or ``hf:NAME``; several of these; or cases."""


def evaluate(
    program: Any,
    cases: Sources,
    *,
    oracle: Oracle | str | None = None,
    out: str | Path | None = None,
    config: EvalConfig | None = None,
) -> EvalReport:
    """Measures a program on cases: how often it corrects itself, what it spoils, and what that costs.

    Args:
        program: a ``Conscience`` or a baseline. Any other ``dspy.Module`` or callable that answers is measured as it is, on
            the model configured in DSPy, without a review: put it into a ``Conscience`` to measure it with one.
        cases: a source or several, see ``load_cases``, or cases.
        oracle: decides about every case, in place of the one that a case names or implies: a callable, or a name
            such as "refusal", "judge" or "package.module:function".
        out: the run's folder. The same call goes on there where it was interrupted, and pays for nothing twice. Without it
            nothing is kept on disk.
        config: concurrency, rate limits, the most that it may cost, how many cases to draw, which shard of them.

    Returns:
        The figures, with the record of each case as ``.rows``. In a notebook it shows itself as a table.

    Raises:
        InputError: a case cannot be judged by anything, or ``out`` holds another run or is in use by one.
        CaseError: a source cannot be read.
        ConfigurationError: there is no such oracle, no model is set, or ``program`` cannot be called.
        BackendError: the backend is gone; what was done is in ``out``.
        KeyboardInterrupt: it was interrupted; the cases that were under way are in ``out`` too.
    """
    measured = as_program(program)
    config = config or EvalConfig()
    if oracle is not None:
        config = replace(config, oracle=_oracle(oracle, measured))
    skipped: list[CaseError] = []
    names, read = _reader(cases, config.skip_bad, skipped)
    drawn = draw(read, config.limit, config.seed, config.shard)
    drawn = replace(drawn, sources=tuple(Path(name).name for name in names), skipped=len(skipped))
    with _folder(out) as folder, locked_folder(folder):
        progress = run_blocking(run(measured, drawn.read(), folder, config, drawn=drawn))
        if progress.stopped:
            raise KeyboardInterrupt
        result = summarise(
            folder, sources=names, skipped=drawn.skipped, limit=drawn.limit, seed=drawn.seed, shard=drawn.shard
        )
        if out is not None:
            report.save(result, folder)
        return result if names else replace(result, title="cases" if out is None else folder.name)


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Runs to the end, also inside a running event loop such as a notebook's: there it gets a thread and a loop of its own.

    An exception in the waiting thread (Ctrl-C) cancels the work.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    context, loops = copy_context(), []

    def in_thread() -> T:
        with asyncio.Runner() as runner:
            loops.append(runner.get_loop())
            return runner.run(work, context=context)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(in_thread)
        try:
            return future.result()
        except BaseException:
            if loops and not future.done():
                loops[0].call_soon_threadsafe(_cancel_all, loops[0])
            raise


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """The run's folder; a temporary one where none is named."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="conscience-") as made:
        yield Path(made)


def _reader(cases: Sources, skip_bad: bool, skipped: list[CaseError]) -> tuple[list[str], Callable[[], Iterable[Case]]]:
    """The names of the sources, and what reads the cases from their beginning each time."""
    if isinstance(cases, str | Path):
        cases = [cases]
    given = list(cases)
    sources = [source for source in given if isinstance(source, str | Path)]
    listed = [case for case in given if isinstance(case, Case)]
    if len(sources) + len(listed) < len(given) or (sources and listed):
        raise ConfigurationError("cases are neither sources nor Case objects", hint="make cases with conscience.load_cases")

    def read() -> Iterable[Case]:
        skipped.clear()
        return iter_cases(sources, skip_bad=skip_bad, on_bad=skipped.append)

    return [str(source) for source in sources], read if sources else lambda: listed


def _oracle(oracle: Oracle | str, program: Program) -> Oracle:
    if not isinstance(oracle, str):
        return oracle
    if oracle != "judge":
        return load_oracle(oracle)
    constitution = getattr(program, "constitution", None)
    if constitution is None:
        raise ConfigurationError("the oracle 'judge' needs a program with a constitution")
    return Judge(constitution, program.roles.backend("judge"))
