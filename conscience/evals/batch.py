"""Does many cases side by side and writes a record of each; what is written is never asked again.

Records go to disk as they come. Each carries a digest of everything that it depends on, so an interrupted run goes on
where it stopped, and a file of other records is not mixed with new ones. A case that fails leaves a ``FailedCase``, and is
tried again by the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conscience._base.files import digest
from conscience._base.locks import locked_file
from conscience.cases.case import Case
from conscience.cases.drawing import Drawn
from conscience.distributed.interrupts import interruptible
from conscience.distributed.tasks import Done, Executor, Shared
from conscience.errors import BackendError, ConfigurationError, ConscienceError, InputError
from conscience.evals.executor import LOCAL, ExecutorSpec, executor_of
from conscience.evals.records import CaseRecord, FailedCase, ReviewRecord
from conscience.evals.rows import LineFile, dumped, finished
from conscience.evals.sharding import ShardManifest, claim_shard
from conscience.evals.tasks import Reviewing
from conscience.modules.review import Review

STOP_AFTER = 5
"""So many cases in a row for which the backend was gone, with no success between them, end a run."""


@dataclass
class BatchProgress:
    """How far a run is. ``calls`` are those of this time only; ``dollars`` and ``flagged`` are those of the whole run,
    resumed cases too."""

    done: int = 0
    resumed: int = 0
    flagged: int = 0
    judged: int = 0
    right: int = 0
    failed: int = 0
    calls: int = 0
    dollars: float = 0.0
    stopped: bool = False

    def add(self, record: CaseRecord | ReviewRecord) -> None:
        """Counts a case that was just done."""
        self.calls += record.usage.calls
        self.dollars += record.usage.dollars
        self.flagged += record.flagged
        self.judged += record.outcome_ok is not None
        self.right += record.outcome_ok is True


Work = Callable[[Case], Awaitable[CaseRecord | ReviewRecord]]
"""Does one case; the batch adds the record's key."""

ALONE = Shared()
"""Calls that have nothing in common but the response cache."""


async def review_cases(
    review: Review,
    cases: Iterable[Case],
    out: Path,
    *,
    concurrency: int = 4,
    max_dollars: float | None = None,
    watch: Callable[[BatchProgress], None] | None = None,
    drawn: Drawn | None = None,
    executor: ExecutorSpec = "local",
    shared: Shared = ALONE,
) -> BatchProgress:
    """Reviews the given response of each case.

    Args:
        review: judges.
        cases: streamed.
        out: the file of verdicts; what is in it is not reviewed again.
        concurrency: cases under way at once, in each process that does them.
        max_dollars: no further case is begun once this is spent.
        watch: is told the progress after each case.
        drawn: where the cases come from. A shard says so in a file beside ``out``.
        executor: where the work is done: "local", "ray", or an ``Executor``.
        shared: what the calls have in common, where ``review`` was made for a run.

    Raises:
        InputError: a case without a response, or ``out`` holds rows of another kind or is in use.
        BackendError: the backend is gone; what was reviewed is in ``out``.
    """

    with suppress(OSError):  # which the lock tells better
        out.parent.mkdir(parents=True, exist_ok=True)
    identity = review_identity(review)
    with locked_file(out):
        program = {name: digest(part) for name, part in zip(REVIEW_IDENTITY, identity, strict=True)}
        claim_shard(out, ShardManifest.of_draw(drawn, program))
        return await run_cases(
            Reviewing(review),
            digest(identity),
            cases,
            out,
            concurrency=concurrency,
            max_dollars=max_dollars,
            watch=watch,
            executor=executor_of(executor),
            shared=shared,
        )


REVIEW_IDENTITY = ("constitution", "model", "gate", "critique")
"""The names of what ``review_identity`` lists."""


def review_identity(review: Review) -> list[Any]:
    """Everything that a verdict depends on besides the case, for a digest."""
    settings = review.gate_settings.model_dump(mode="json")
    instructions = review.critique.predict.signature.instructions
    return [review.constitution.fingerprint, review.roles.backend("review").name, settings, instructions]


def check_at_least_one(name: str, value: int | None) -> None:
    """Refuses a run of no cases, which would end as if it had found nothing.

    Raises:
        ConfigurationError: the number is 0 or less.
    """
    if value is not None and value < 1:
        raise ConfigurationError(f"{name}={value!r} is not a whole number of 1 or more")


async def run_cases(
    work: Work,
    identity: str,
    cases: Iterable[Case],
    out: Path,
    *,
    concurrency: int = 4,
    max_dollars: float | None = None,
    part: int | None = None,
    watch: Callable[[BatchProgress], None] | None = None,
    executor: Executor = LOCAL,
    shared: Shared = ALONE,
) -> BatchProgress:
    """Does the work for each case that has no record yet.

    Ctrl-C ends the run after the cases that are under way, so that nothing paid for is lost; a second one ends it at once.
    A run that ends early still goes through its cases to the last one, and counts those that are done.

    Args:
        work: does one case.
        identity: a digest of everything that a record depends on besides its case.
        cases: streamed.
        out: the file of records.
        concurrency: cases under way at once, in each process that does them.
        max_dollars: no further case is begun once this is spent.
        part: bytes after which the records go on in another file; None: never.
        watch: is told the progress after each case.
        executor: where the work is done.
        shared: what the calls of the run have in common.

    Raises:
        InputError, ConfigurationError: ``out`` holds rows of another kind or cannot be written, or ``work`` cannot do a case
            at all.
        BackendError: the backend is gone; what was done is in ``out``.
    """
    check_at_least_one("concurrency", concurrency)
    progress = BatchProgress()
    kept, progress.dollars, progress.flagged, reviewers = finished(out, in_parts=part is not None)
    if reviewers - {identity}:
        raise InputError(f"{out} holds verdicts of another program", hint="choose another --out")
    failures: list[BackendError] = []  # in a row; once there are STOP_AFTER, no case that still succeeds clears them
    report = watch or (lambda progress: None)
    with LineFile(out, "ab", part) as file:

        def ended() -> bool:
            spent = max_dollars is not None and progress.dollars >= max_dollars
            return stop.is_set() or spent or len(failures) >= STOP_AFTER

        keys: dict[int, str] = {}  # of the cases under way, by their place

        def left() -> Iterator[Case]:
            begun = 0
            for case in cases:
                if (key := case_key(case, identity)) in kept:
                    progress.done += 1
                    progress.resumed += 1
                    report(progress)
                elif not ended():
                    kept.add(key)  # a case that comes twice is done once, as it is when shards are merged
                    keys[begun] = key
                    begun += 1
                    yield case

        def record_of(done: Done[Case, CaseRecord | ReviewRecord]) -> CaseRecord | ReviewRecord | FailedCase:
            key, outcome = keys.pop(done.index), done.outcome
            if not isinstance(outcome, ConscienceError):
                record = _named(outcome, key, identity)
                progress.add(record)
                if len(failures) < STOP_AFTER:
                    failures.clear()
                return record
            progress.failed += 1
            if isinstance(outcome, BackendError) and outcome.gone:
                failures.append(outcome)
            return FailedCase(done.item.id, key, str(outcome))

        async with (
            interruptible() as stop,
            aclosing(executor.map(work, left(), shared=shared, concurrency=concurrency)) as results,
        ):
            async for done in results:
                file.add(dumped(record_of(done).to_json()))
                progress.done += 1
                report(progress)
            progress.stopped = stop.is_set()
    if len(failures) >= STOP_AFTER:
        raise BackendError(
            f"{STOP_AFTER} cases in a row failed, the last one: {failures[-1].message}", hint=failures[-1].hint
        )
    return progress


def _named(record: CaseRecord | ReviewRecord, key: str, identity: str) -> CaseRecord | ReviewRecord:
    return replace(record, key=key, reviewer=identity) if isinstance(record, ReviewRecord) else replace(record, key=key)


def case_key(case: Case, identity: str) -> str:
    """What names a case's record: a digest of everything that it depends on."""
    return hashlib.sha256(f"{identity}{case.model_dump_json()}".encode()).hexdigest()[:16]
