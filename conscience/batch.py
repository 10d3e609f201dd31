"""Reviews many cases and writes a row a case; what is written is never asked again.

Rows go to disk as they come. Each carries a digest of everything that its verdict depends on, so an interrupted run goes on
where it stopped, and a file of other verdicts is not mixed with new ones. A case that fails is a row with its error, and is
tried again by the next run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conscience.cases import Case
from conscience.errors import BackendError, ConscienceError, InputError
from conscience.reviewing import Review

STOP_AFTER = 5
"""So many backend failures in a row, with nothing between them, end a run: the backend is gone."""


@dataclass
class Progress:
    """How far a run is. ``dollars`` and ``calls`` are what this run spent; a resumed row spends nothing."""

    done: int = 0
    resumed: int = 0
    flagged: int = 0
    failed: int = 0
    calls: int = 0
    dollars: float = 0.0
    stopped: bool = False


async def review_cases(
    review: Review,
    cases: Iterable[Case],
    out: Path,
    *,
    concurrency: int = 4,
    watch: Callable[[Progress], None] | None = None,
) -> Progress:
    """Reviews the given response of each case.

    Ctrl-C ends the run after the cases that are under way, so that nothing paid for is lost; a second one ends it at once.

    Raises:
        InputError: a case without a response, or ``out`` holds verdicts of another kind.
        BackendError: the backend is gone; what was reviewed is in ``out``.
    """
    progress = Progress()
    judge = _judge(review)
    kept = _kept(out, judge)
    failures: list[BackendError] = []
    tell = watch or (lambda progress: None)
    queue: asyncio.Queue[Case] = asyncio.Queue(concurrency)
    with out.open("a", encoding="utf-8") as file:

        async def work() -> None:
            while True:
                case = await queue.get()
                try:
                    row = await _row(review, case, judge, progress)
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    file.flush()
                    failures.clear()
                except BackendError as error:
                    failures.append(error)
                    progress.failed += 1
                    row = {"id": case.id, "key": _key(case, judge), "error": str(error)}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    file.flush()
                finally:
                    progress.done += 1
                    tell(progress)
                    queue.task_done()

        async with _workers(work, concurrency) as workers, _interrupt() as stop:
            for case in cases:
                if stop.is_set() or len(failures) >= STOP_AFTER:
                    break
                if case.response is None:
                    raise InputError(
                        f"case {case.id!r} has no response to review", hint="answer it first, see: conscience ask"
                    )
                if _key(case, judge) in kept:
                    progress.done += 1
                    progress.resumed += 1
                    tell(progress)
                    continue
                await _put(queue, case, workers)
            await _drained(queue, workers)
            progress.stopped = stop.is_set()
    if len(failures) >= STOP_AFTER:
        raise BackendError(
            f"{STOP_AFTER} cases in a row failed, the last one: {failures[-1].message}", hint=failures[-1].hint
        )
    return progress


async def _row(review: Review, case: Case, judge: str, progress: Progress) -> dict[str, Any]:
    row: dict[str, Any] = {"id": case.id, "key": _key(case, judge)}
    try:
        prediction = await review.acall(request=case.request, response=case.response or "", reasoning=case.reasoning)
    except BackendError:
        raise
    except ConscienceError as error:
        progress.failed += 1
        return row | {"error": str(error)}
    verdict = prediction.verdict
    total = prediction.usage.total
    progress.calls += total.calls
    progress.dollars += total.dollars
    progress.flagged += verdict.flagged
    judged: dict[str, Any] = verdict.to_dict()
    return row | judged | {"label": case.label, "calls": total.calls, "tokens": total.tokens}


def _judge(review: Review) -> str:
    """A digest of who judges and how."""
    settings = review.gate.calibration.settings.model_dump(mode="json")
    backend = review.roles.backend("review").name
    parts = [review.constitution.fingerprint, backend, settings, review.critique.predict.signature.instructions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _key(case: Case, judge: str) -> str:
    asked = json.dumps([judge, case.id, case.request, case.response, case.reasoning])
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def _kept(out: Path, judge: str) -> set[str]:
    """The keys of finished rows. A torn last line and rows with errors are taken out of the file.

    Raises:
        InputError: the file is not one of verdicts.
    """
    if not out.exists():
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out.parent}: cannot be made: {error.strerror}") from None
        return set()
    kept: set[str] = set()
    lines = out.read_bytes().splitlines(keepends=True)
    good: list[bytes] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            key, failed = row["key"], "error" in row
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and not line.endswith(b"\n"):
                continue
            raise InputError(f"{out}:{number}: not a row of verdicts", hint="choose another --out") from None
        if not failed:
            kept.add(key)
            good.append(line)
    if len(good) != len(lines):
        partial = out.with_name(out.name + ".partial")
        partial.write_bytes(b"".join(good))
        os.replace(partial, out)
    return kept


@asynccontextmanager
async def _workers(work: Callable[[], Any], count: int) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(work()) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _put(queue: asyncio.Queue[Case], case: Case, workers: list[asyncio.Task[None]]) -> None:
    """Hands over a case, unless a worker has died meanwhile: then its error comes out here."""
    putting = asyncio.ensure_future(queue.put(case))
    await asyncio.wait([putting, *workers], return_when=asyncio.FIRST_COMPLETED)
    _raise_dead(workers)
    await putting


async def _drained(queue: asyncio.Queue[Case], workers: list[asyncio.Task[None]]) -> None:
    joining = asyncio.ensure_future(queue.join())
    await asyncio.wait([joining, *workers], return_when=asyncio.FIRST_COMPLETED)
    _raise_dead(workers)
    await joining


def _raise_dead(workers: list[asyncio.Task[None]]) -> None:
    for worker in workers:
        if worker.done() and not worker.cancelled() and (error := worker.exception()) is not None:
            raise error


@asynccontextmanager
async def _interrupt() -> AsyncIterator[asyncio.Event]:
    """Set by the first Ctrl-C or SIGTERM; a second one acts as usual. Only the main thread can listen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in signals:
            loop.add_signal_handler(number, first, number)
    try:
        yield stop
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in signals:
                loop.remove_signal_handler(number)
