"""One shard of many: which cases fall to it, and how a job learns from its environment which shard it is.

A case falls to a shard by a digest of its id, so the division is the same in any order of the rows, and a row that is added,
dropped or corrected moves no other one. Sizes differ by chance: of n cases a shard gets n/k, give or take their square root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from conscience._base.files import digest64
from conscience.errors import ConfigurationError

if TYPE_CHECKING:
    from conscience.cases.case import Case

MOST = 100_000
"""More shards than this are a mistake; Kubernetes, which allows the most tasks in one job, stops there too."""
SAY_IT = "say which it is, as in --shard 2/4"


@dataclass(frozen=True)
class Shard:
    """One of so many parts of the cases; written 2/4.

    Attributes:
        number: which one, from 1.
        of: how many there are.
        told_by: the variables of the environment that said so; empty where a person did.

    Raises:
        ConfigurationError: there is no such shard.
    """

    number: int
    of: int
    told_by: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.of <= MOST:
            raise ConfigurationError(f"shard {self}: there cannot be {self.of} shards", hint=f"from 1 to {MOST}")
        if not 1 <= self.number <= self.of:
            hint = f"shards count from 1: 1/{self.of} to {self.of}/{self.of}"
            raise ConfigurationError(f"shard {self}: there is none of that number", hint=hint)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Self:
        """The shard that is meant by "2/4", by "auto", or by "auto/4": then the environment says which of the four.

        Raises:
            ConfigurationError: the text is none of these, or the environment does not say it, or says two things.
        """
        words = re.fullmatch(r"\s*(?:(\d{1,9})|(auto))\s*(?:/\s*(\d{1,9}))?\s*", text)
        if words is None or (words[1] and not words[3]):
            raise ConfigurationError(f"shard {text!r}: is none", hint="say 2/4 for the second of four, auto, or auto/4")
        if words[1]:
            return cls(int(words[1]), int(words[3]))
        return cls._told(environment, int(words[3]) if words[3] else None)

    @classmethod
    def _told(cls, environment: Mapping[str, str], of: int | None) -> Self:
        told = [said for scheduler in SCHEDULERS if (said := scheduler.read(environment, of)) is not None]
        parallel = [said for said in told if said.of > 1] or told
        if not parallel:
            names = ", ".join(scheduler.index for scheduler in SCHEDULERS)
            raise ConfigurationError(f"--shard auto: none of {names} is set", hint=SAY_IT)
        if len(parallel) > 1:
            raise ConfigurationError(f"--shard auto: {' and '.join(said.by for said in parallel)} are set", hint=SAY_IT)
        (said,) = parallel
        if of is not None and said.of != of:
            raise ConfigurationError(f"--shard auto/{of}: {said.by} say that there are {said.of}", hint=SAY_IT)
        return cls(said.number, said.of, said.by)

    def holds(self, case: Case) -> bool:
        """Whether the case falls to this shard; each case falls to exactly one. Groups and pairs are not kept together."""
        return digest64(f"shard {case.id}") % self.of == self.number - 1

    def share(self, amount: float | None) -> float | None:
        """This shard's part of a limit that is meant for all of them together; None is no limit."""
        return None if amount is None else amount / self.of


class Told(NamedTuple):
    """A shard as a scheduler tells it: its number, how many there are, and the variables that say so."""

    number: int
    of: int
    by: str


@dataclass(frozen=True)
class Scheduler:
    """How a system that runs one command many times tells each which one it is.

    Attributes:
        index: the variable that holds the job's index.
        count: those that may hold how many there are, the best first; none where the system does not say it.
        first: the first index, or the variable that holds it.
        step: the variable that holds the distance between indices; empty where that is always 1.
        last: the variable that holds the last index; empty where none does.
    """

    index: str
    count: tuple[str, ...] = ()
    first: int | str = 0
    step: str = ""
    last: str = ""

    def read(self, environment: Mapping[str, str], of: int | None) -> Told | None:
        """What the variables say; None where the system is another one.

        Args:
            of: how many there are, where a person said it.

        Raises:
            ConfigurationError: a variable is no number, or the indices have gaps, or nobody said how many there are.
        """
        if not environment.get(self.index):
            return None
        counted = next((name for name in self.count if environment.get(name)), None)
        index, count = _number(environment, self.index), of if counted is None else _number(environment, counted)
        said = ", ".join(f"{name}={environment[name]}" for name in (self.index, counted) if name is not None)
        if count is None:
            raise ConfigurationError(
                f"--shard auto: {said} does not say how many there are", hint="say it too, as in --shard auto/4"
            )
        first = _number(environment, self.first) if isinstance(self.first, str) else self.first
        step = (_number(environment, self.step) if environment.get(self.step) else 1) or 1
        if self.last and self._has_gaps(environment, first, step, count):
            raise ConfigurationError(f"--shard auto: {said}: the array is no whole one; sent again in part?", hint=SAY_IT)
        return Told((index - first) // step + 1, count, said)

    def _has_gaps(self, environment: Mapping[str, str], first: int, step: int, count: int) -> bool:
        """Whether tasks are missing. An array of one task is taken for a part of another one, sent again."""
        if count == 1:
            return True
        return bool(environment.get(self.last)) and (_number(environment, self.last) - first) // step + 1 != count


SCHEDULERS = (
    Scheduler(  # Slurm, sbatch --array
        "SLURM_ARRAY_TASK_ID",
        ("SLURM_ARRAY_TASK_COUNT",),
        first="SLURM_ARRAY_TASK_MIN",
        step="SLURM_ARRAY_TASK_STEP",
        last="SLURM_ARRAY_TASK_MAX",
    ),
    Scheduler("SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")),  # Slurm, srun
    Scheduler("JOB_COMPLETION_INDEX"),  # Kubernetes, Jobs with completionMode: Indexed
    Scheduler("CI_NODE_INDEX", ("CI_NODE_TOTAL",), first=1),  # GitLab, parallel: N
    Scheduler("BUILDKITE_PARALLEL_JOB", ("BUILDKITE_PARALLEL_JOB_COUNT",)),
    Scheduler("CIRCLE_NODE_INDEX", ("CIRCLE_NODE_TOTAL",)),
    Scheduler("AWS_BATCH_JOB_ARRAY_INDEX", ("AWS_BATCH_JOB_ARRAY_SIZE",)),
    Scheduler("CLOUD_RUN_TASK_INDEX", ("CLOUD_RUN_TASK_COUNT",)),
    Scheduler("BATCH_TASK_INDEX", ("BATCH_TASK_COUNT",)),  # Google Cloud Batch
)
"""Systems whose variables ``--shard auto`` reads."""


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "").strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigurationError(f"--shard auto: {name}={text!r} is no number", hint=SAY_IT)
    return int(text)
