"""Runs a program over cases and keeps a record of each.

A run is a folder: its records (see ``folder.py``), ``calls.jsonl`` (the journal of every model answer), ``report.json`` and
``report.html``. The same call on the same folder goes on where the last one stopped, and pays for nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conscience._base.files import digest
from conscience._base.locks import locked_folder
from conscience._dspy.lm import settings
from conscience.backends.backend import Backend
from conscience.backends.models.credentials import secret_options
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.storage.journal import Journal
from conscience.backends.transports import CLIENT_OPTIONS
from conscience.cases.case import Case
from conscience.cases.drawing import Drawn
from conscience.cases.shards import Shard
from conscience.distributed.batch_files import executor_in
from conscience.distributed.tasks import Shared
from conscience.errors import ConfigurationError
from conscience.evals.batch import BatchProgress, case_key, check_at_least_one, run_cases
from conscience.evals.executor import ExecutorSpec, executor_of
from conscience.evals.folder import RunManifest, claim
from conscience.evals.grading import Program
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.judge import Judge
from conscience.evals.rows import PART, LineFile
from conscience.evals.sharding import ShardManifest, claim_shard
from conscience.evals.tasks import Evaluation
from conscience.program import Conscience
from conscience.usage import Role, UsageTracker, is_amount


@dataclass(frozen=True)
class EvalConfig:
    """How a run is to go.

    Attributes:
        oracle: decides about every case; by default the one that a case names or implies.
        concurrency: cases under way at once, in each process that does them.
        rate_limiter: the user's own rate limits; of all shards together.
        max_dollars: no further case is begun once the run has cost so much, earlier parts of it included. Every model needs
            a price then. Of all shards together.
        meter: a larger undertaking's usage tracker, which this run spends from.
        journal: keeps the answers in place of the folder's own: runs that share one are compared on the same drafts.
        name: of the program in the report; by default "conscience", a baseline's name, or that of a module.
        seed: of whatever is drawn.
        limit: ``evaluate`` draws so many cases at random; by default it takes all.
        shard: of what is drawn, ``evaluate`` takes the part that falls to this one, such as ``Shard(2, 4)``.
        skip_bad: ``evaluate`` goes on without rows of a source that cannot be read.
        executor: where the cases are done: "local", "ray", "batch" (by the provider's batch files), or an ``Executor``.
    """

    oracle: Oracle | None = None
    concurrency: int = 4
    rate_limiter: RateLimiter | None = None
    max_dollars: float | None = None
    meter: UsageTracker | None = None
    journal: Journal | None = None
    name: str = ""
    seed: int = 0
    limit: int | None = None
    shard: Shard | None = None
    skip_bad: bool = False
    executor: ExecutorSpec = "local"

    def __post_init__(self) -> None:
        if self.shard is not None and not isinstance(self.shard, Shard):
            raise ConfigurationError(f"shard={self.shard!r} is no Shard", hint='say conscience.Shard.parse("2/4")')
        check_at_least_one("concurrency", self.concurrency)
        check_at_least_one("limit", self.limit)
        if self.max_dollars is not None and not is_amount(self.max_dollars):
            raise ConfigurationError(f"max_dollars={self.max_dollars!r} is not a finite number of 0 or more")


async def run(
    program: Program,
    cases: Iterable[Case],
    folder: Path,
    config: EvalConfig | None = None,
    *,
    watch: Callable[[BatchProgress], None] | None = None,
    drawn: Drawn | None = None,
) -> BatchProgress:
    """Answers, reviews or corrects each case and writes its record; see ``evaluate_case``.

    A case for which a model could not be reached has failed, whatever the program makes of that: the next call tries it
    again.

    Args:
        drawn: where the cases come from. Of a shard's limits the run keeps its part, and its folder says which it is.

    Raises:
        InputError: the folder holds another run, or is in use by another process, or a case cannot be judged by anything.
        ConfigurationError: dollars are limited, and a model has no price.
        BackendError: the backend is gone; what was done is in the folder.
    """
    with locked_folder(folder):
        return await _run_alone(program, cases, folder, _own_part(config or EvalConfig(), drawn), watch, drawn)


def _own_part(config: EvalConfig, drawn: Drawn | None) -> EvalConfig:
    """The limits of one shard."""
    if drawn is None or (shard := drawn.shard) is None:
        return config
    limiter = config.rate_limiter and config.rate_limiter.share(shard.of)
    return replace(config, rate_limiter=limiter, max_dollars=shard.share(config.max_dollars))


async def _run_alone(
    program: Program,
    cases: Iterable[Case],
    folder: Path,
    config: EvalConfig,
    watch: Callable[[BatchProgress], None] | None,
    drawn: Drawn | None,
) -> BatchProgress:
    manifest = describe_run(program, config)
    shared = Shared(config.journal or Journal(folder / "calls.jsonl"), config.rate_limiter, config.meter)
    work = Evaluation(program, config.oracle, shared)
    executor = executor_in(folder, executor_of(config.executor), _served_by(program, config), config.max_dollars)
    claim_shard(folder, ShardManifest.of_draw(drawn, manifest.to_json()))
    claim(folder, manifest)
    identity = digest(manifest.to_json())

    def noting_keys() -> Iterator[Case]:
        with LineFile(folder / "keys.txt", "wb") as keys:
            for case in cases:
                keys.add(case_key(case, identity))
                yield case

    with settings.context(disable_history=True):  # the run keeps every answer in its journal, and not in memory too
        return await run_cases(
            work,
            identity,
            noting_keys(),
            folder / "rows.jsonl",
            concurrency=config.concurrency,
            max_dollars=config.max_dollars,
            part=PART,
            watch=watch,
            executor=executor,
            shared=shared,
        )


def describe_run(program: Any, config: EvalConfig) -> RunManifest:
    """What the records depend on: a run of anything else does not go on in the same folder."""
    backends = _served_by(program, config)
    if config.max_dollars is not None:
        for backend in backends.values():
            backend.check_prices()
    common: dict[str, Any] = {
        "name": config.name or getattr(program, "name", "") or "conscience",
        "oracle": _oracle_name(config.oracle),
        "seed": config.seed,
        "roles": {role: backend.name for role, backend in backends.items()},
        "sampling": {role: _sampling(backend) for role, backend in backends.items()},
    }
    if (constitution := getattr(program, "constitution", None)) is not None:
        common |= {
            "constitution": f"{constitution.name} {constitution.version}",
            "fingerprint": constitution.fingerprint,
        }
    if not isinstance(program, Conscience):
        return RunManifest(**common)
    settings = program.gate_settings
    return RunManifest(
        **common,
        threshold=settings.threshold,
        critique=settings.critique,
        signals=tuple(signal.name for signal in settings.signals),
        max_revisions=program.max_revisions,
        samples=program.samples if program.samples > 1 else None,
        on_unresolved=program.on_unresolved,
        on_error=program.on_error,
        state=digest(program.dump_state()),
    )


def _served_by(program: Any, config: EvalConfig) -> dict[str, Backend]:
    """What serves each role of a run."""
    roles: tuple[Role, ...] = ("generate", "review", "revise")
    backends: dict[str, Backend] = {role: program.roles.backend(role) for role in roles}
    if isinstance(config.oracle, Judge):
        backends["judge"] = config.oracle.backend
    return backends


def _sampling(backend: Backend) -> str:
    """A digest of the models behind a backend and their default parameters; their addresses may change."""
    models = []
    for transport in backend.transports:
        identity = transport.identity({})
        given = identity.get("defaults") or identity.get("kwargs") or {}
        given = {name: value for name, value in given.items() if name not in CLIENT_OPTIONS | secret_options(given).keys()}
        models.append([transport.name, given])
    return digest(models)


def _oracle_name(oracle: Oracle | None) -> str:
    if oracle is None:
        return "by case"
    name = getattr(oracle, "__qualname__", None)
    return f"{oracle.__module__}:{name}" if name else type(oracle).__name__
