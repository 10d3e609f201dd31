"""The plan of the runs, and the journal that they are kept in: what ends a study costs it one run at most."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conscience._base.files import append_line, digest, write_atomic
from conscience._base.locks import locked_folder
from conscience.errors import InputError
from conscience.optimizers.training.weights.base import Base
from tests.bench.replication.measures import Battery, load_choices
from tests.bench.replication.model import Model
from tests.bench.replication.questions import ALTERNATIVE, QUESTIONS
from tests.bench.replication.readers import Readers, told_apart
from tests.bench.replication.tasks import TASKS, Split
from tests.bench.replication.training import Condition, Schedule, train

LAMBDA = 0.1
Runs = dict[str, dict[str, Any]]
"""Name → run."""
BEFORE, WITHOUT = "before", "λ = 0"
CONDITIONS: Sequence[Condition] = (
    Condition(WITHOUT),
    *(Condition(name, LAMBDA, name) for name in QUESTIONS),
    Condition("oracle", LAMBDA, "oracle"),
)
"""The last shows what the loss does where the judge is right and the alternative is good."""


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        taught, readers, unseen: tasks to train on, to fit readers on, to measure on.
        choices: requests with a right and a wrong answer.
        plain: questions with an answer to check.
    """

    taught: int
    readers: int
    unseen: int
    choices: int
    plain: int
    schedule: Schedule


FULL = Size(76, 16, 20, 28, 24, Schedule(steps=21, rounds=2, texts=3, drafts=6, pairs=1, tokens=80))
TOY = Size(4, 2, 2, 3, 2, Schedule(steps=2, rounds=1, texts=1, drafts=2, pairs=1, tokens=12))


class Journal:
    """A folder of one study: ``runs.jsonl``, a line for each run that came to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "runs.jsonl"

    def belongs_to(self, plan: Mapping[str, Any]) -> None:
        """Sets or checks what the folder is about.

        Raises:
            InputError: it holds runs of another study.
        """
        path = self.folder / "plan.json"
        if not path.exists():
            write_atomic(path, json.dumps(plan, indent=1, ensure_ascii=False))
            return
        known = json.loads(path.read_text(encoding="utf-8"))
        if other := [name for name in plan if known.get(name) != plan[name]]:
            raise InputError(f"{self.folder}: holds runs of another {other[0]}", hint="choose another --out")

    def runs(self) -> Runs:
        """Name → run; a line that was torn by a crash is passed over."""
        found = {}
        for line in self.file.read_bytes().splitlines() if self.file.exists() else ():
            try:
                run = json.loads(line)
            except ValueError:
                continue
            found[run["run"]] = run
        return found

    def add(self, run: Mapping[str, Any]) -> None:
        torn = self.file.exists() and not self.file.read_bytes().endswith(b"\n") and self.file.stat().st_size > 0
        file = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            line = json.dumps(run, ensure_ascii=False).encode() + b"\n"
            append_line(file, b"\n" * torn + line, self.file)
            os.fsync(file)
        finally:
            os.close(file)


def name_of(condition: str, seed: int | None = None) -> str:
    return condition if seed is None else f"{condition}, seed {seed}"


def wanted(seeds: int, conditions: Sequence[Condition] = CONDITIONS) -> Iterator[tuple[Condition, int]]:
    """Seed by seed, so that a study that is broken off has whole comparisons."""
    for seed in range(seeds):
        for condition in conditions:
            yield condition, seed


def study(
    folder: Path,
    base: Base,
    size: Size,
    *,
    seeds: int = 3,
    choices: str = "pack:general",
    embedder: str = "e5",
    conditions: Sequence[Condition] = CONDITIONS,
    after_seed: Callable[[Runs], None] = lambda runs: None,
) -> Runs:
    """Does what of the study is not done yet.

    Args:
        folder: of the study; one process at a time.
        base: what is trained, and, frozen, what judges.
        choices: cases with a right and a wrong response to each request.
        embedder: of the probe.
        after_seed: is given all runs whenever those of a seed are done.

    Returns:
        All runs of the folder by name.
    """
    journal = Journal(folder)
    with locked_folder(folder):
        plan = {
            "model": base.name,
            "size": asdict(size),
            "choices": choices,
            "embedder": embedder,
            "texts": digest([[task.request, task.honest, task.habitual] for task in TASKS]),
            "questions": digest([[asdict(question) for question in QUESTIONS.values()], ALTERNATIVE]),
        }
        journal.belongs_to(plan)
        done = journal.runs()
        left = [(c, seed) for c, seed in wanted(seeds, conditions) if name_of(c.name, seed) not in done]
        if left or BEFORE not in done:
            _run(journal, Model.of(base), size, choices, embedder, left, after_seed)
        return journal.runs()


def _run(
    journal: Journal,
    model: Model,
    size: Size,
    choices: str,
    embedder: str,
    left: Sequence[tuple[Condition, int]],
    after_seed: Callable[[Runs], None],
) -> None:
    split = Split.of(size.taught, size.readers, size.unseen)
    tokens = size.schedule.tokens
    battery = Battery(split.unseen, load_choices(choices, size.choices), size.plain, tokens)
    _say("fitting the readers")
    readers = Readers.fit(model, split.readers, tokens, embedder)
    if BEFORE not in journal.runs():
        _say(BEFORE)
        apart = told_apart(model, split.unseen[: size.readers], readers.probe)
        measured = battery.measure(model, readers, list(QUESTIONS))
        journal.add({
            "run": BEFORE,
            "condition": BEFORE,
            "thresholds": readers.thresholds,
            "told_apart": apart,
            "measured": measured,
        })  # fmt: skip
    start = time.monotonic()
    for number, (condition, seed) in enumerate(left):
        name = name_of(condition.name, seed)
        minutes = (time.monotonic() - start) / 60
        remaining = f", about {minutes / number * (len(left) - number):.0f} minutes left" if number else ""
        _say(f"{name} ({number + 1} of {len(left)}{remaining})")
        with model.adapted(seed) as policy:
            trained = train(model, policy, split.taught, condition, readers, size.schedule, seed)
            measured = battery.measure(model, readers, _judges(condition))
        journal.add({
            "run": name,
            "condition": condition.name,
            "seed": seed,
            "training": asdict(trained),
            "measured": measured,
        })  # fmt: skip
        kinds = [row["kind"] for row in measured["habit"]]
        _say(f"  of {len(kinds)} answers {kinds.count('habit')} are the habit, {kinds.count('honest')} work")
        if seed != next((later for _, later in left[number + 1 :]), None):
            after_seed(journal.runs())


def _judges(condition: Condition) -> list[str]:
    """Who judges the answers of a run: the condition's own question; without a conscience all, for comparison."""
    return [condition.judge] if condition.judge in QUESTIONS else [] if condition.judge else list(QUESTIONS)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)
