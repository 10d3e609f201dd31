"""``make_pairs``: from cases to the pairs that are worth training on, and a count of everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conscience.cases.case import Case
from conscience.optimizers.runtime import THREADS, Runtime, Watch, runtime_for
from conscience.optimizers.training.collecting import AlternativeKind, CollectedPairs, collect_pairs
from conscience.optimizers.training.labelled import is_labelled, pair_labels
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.selection import REASONS, select
from conscience.program import Conscience
from conscience.usage import Budget


@dataclass(frozen=True)
class PairSet:
    """Pairs, and what became of everything else.

    Attributes:
        pairs: to train on.
        dropped: reason → how many; see ``selection.REASONS``.
        cases: how many there were.
        rejected: drafts that a review rejected.
        failures: why cases failed, a line each.
        exhausted: whether the budget ended before the cases did.
    """

    pairs: list[PreferencePair]
    dropped: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    rejected: int = 0
    failures: list[str] = field(default_factory=list)
    exhausted: bool = False

    @property
    def sources(self) -> Counter[str]:
        """Where the pairs come from → how many."""
        return Counter(str(pair.provenance.get("from", "file")) for pair in self.pairs)

    @property
    def groups(self) -> Counter[str]:
        """Group → how many pairs."""
        return Counter(pair.group for pair in self.pairs if pair.group is not None)

    @property
    def why(self) -> str:
        """What is in no pair, in words; empty where everything is."""
        return ", ".join(f"{count} {what}" for reason, what in REASONS.items() if (count := self.dropped[reason]))

    def counts(self) -> dict[str, Any]:
        """All of it but the texts, as JSON types."""
        return {
            "pairs": len(self.pairs),
            "cases": self.cases,
            "rejected": self.rejected,
            "from": dict(self.sources),
            "groups": dict(self.groups),
            "dropped": dict(self.dropped),
            "exhausted": self.exhausted,
        }


def make_pairs(
    cases: Iterable[Case],
    program: Conscience | Callable[[], Conscience] | None = None,
    *,
    pairs: Iterable[PreferencePair] = (),
    kind: AlternativeKind = "either",
    min_margin: float | None = None,
    per_group: int | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: str | Path | None = None,
    budget: Budget | None = None,
    threads: int = THREADS,
    watch: Watch | None = None,
) -> PairSet:
    """Preference pairs: of labels where they make any, of a program's reviews otherwise.

    Labelled responses to one request are paired without a call. Every other case is for the program: it answers where there
    is no response, reviews, and writes what stands against a rejected draft.

    Args:
        cases: requests, or responses with or without a label.
        program: a program, or what builds it once it is needed. Without it only labels make pairs.
        pairs: further ones, such as those of a file; they are selected from with the others.
        kind: what stands against a rejected draft; see ``AlternativeKind``.
        min_margin: see ``select``.
        per_group: see ``select``.
        seed: see ``select``.
        runtime: pays for the calls, in place of one made of the arguments that follow.
        folder: keeps the answers: the same call goes on there where it was interrupted, and pays for nothing twice.
        budget: the most to spend.
        threads: cases under way at once.
        watch: is told the progress.

    Raises:
        Interrupted: by Ctrl-C; what was paid for is in the folder.
        BackendError: the backend is gone.
        ConfigurationError: dollars are limited, and a model has no price.
    """
    cases = list(cases)
    labelled = pair_labels(case for case in cases if is_labelled(case))
    left = [*(case for case in cases if not is_labelled(case)), *labelled.left]
    collected, exhausted = CollectedPairs(), False
    if left and program is not None:
        built = program if isinstance(program, Conscience) else program()
        with runtime_for(runtime, folder, budget, threads, watch) as paying:
            paying.stage("pairs")
            collected = collect_pairs(built, left, paying, kind=kind)
            exhausted = paying.exhausted
    else:
        collected.dropped["unpaired"] += len(left)
    selected = select([*pairs, *labelled.pairs, *collected.pairs], min_margin=min_margin, per_group=per_group, seed=seed)
    return PairSet(
        selected.pairs,
        +(labelled.dropped + collected.dropped + selected.dropped),
        len(cases),
        collected.rejected,
        collected.failures,
        exhausted,
    )
