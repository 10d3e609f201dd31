"""What a training is given: pairs, requests to answer, and what is held out; nothing that is held out is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from conscience._base.files import digest, digest64
from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.messages.rendering import request_text
from conscience.optimizers.training.labelled import is_labelled, pair_labels
from conscience.optimizers.training.pairs import PreferencePair

HeldOutBy = Literal["cluster", "group"]

LEAST_HELD_OUT = 2
"""Clusters; fewer give no interval."""


@dataclass
class TrainingData:
    """Attributes:
    pairs: to train on in the first round.
    requests: to answer in the rounds; without any, those of the pairs.
    held_out: pairs that are only measured.
    held_out_requests: requests that are only answered and measured; those with ``request_safe`` for refusals.
    notes: what was left out and why, a line each.
    """

    pairs: list[PreferencePair] = field(default_factory=list)
    requests: list[Case] = field(default_factory=list)
    held_out: list[PreferencePair] = field(default_factory=list)
    held_out_requests: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def digest(self) -> str:
        """Of all that is trained on and measured."""
        pairs = [[pair.id for pair in part] for part in (self.pairs, self.held_out)]
        cases = [[case.model_dump_json() for case in part] for part in (self.requests, self.held_out_requests)]
        return digest([pairs, cases], 16)

    def to_answer(self) -> list[Case]:
        """The requests that rounds answer."""
        return self.requests or requests_of(self.pairs)


def training_data(
    pairs: Iterable[PreferencePair],
    cases: Iterable[Case],
    held_out: Iterable[Case | PreferencePair],
    *,
    share: float = 0.2,
    by: HeldOutBy = "cluster",
    seed: int = 0,
) -> TrainingData:
    """Sorts what a user gave.

    Args:
        pairs: preference pairs.
        cases: labelled responses become pairs; requests without a response are answered in the rounds.
        held_out: cases and pairs to measure on, and never to train on. Pairs among them take the place of ``share``.
        share: of the pairs that are held out where none are given; 0 holds out nothing.
        by: what is held out whole.

    Raises:
        InputError: there is nothing to train on, or too little to hold out a part of.
    """
    data = TrainingData()
    data.pairs, data.requests, unused = _sorted(pairs, cases)
    given = list(held_out)
    data.held_out, data.held_out_requests, unmeasured = _sorted(
        (item for item in given if isinstance(item, PreferencePair)), (item for item in given if isinstance(item, Case))
    )
    if unused + unmeasured:
        data.notes.append(f"{unused + unmeasured} given responses are in no pair: conscience pairs has them reviewed")
    if not data.pairs and not data.requests:
        raise InputError("there is nothing to train on", hint="give preference pairs, or requests to answer")
    if data.pairs and share and not data.held_out:
        data.pairs, data.held_out = split_pairs(data.pairs, share, by=by, seed=seed)
    measured = {_asked(pair.request_text) for pair in data.held_out}
    measured |= {_asked(request_text(case.request)) for case in data.held_out_requests}
    kept = [pair for pair in data.pairs if _asked(pair.request_text) not in measured]
    if left := len(data.pairs) - len(kept):
        data.notes.append(f"{left} pairs are not trained on: their request is held out")
    asked = [case for case in data.requests if _asked(request_text(case.request)) not in measured]
    if left := len(data.requests) - len(asked):
        data.notes.append(f"{left} requests are not answered in the rounds: they are held out")
    data.pairs, data.requests = kept, asked
    if not kept and not asked:
        raise InputError("all that was given is held out too", hint="hold out other cases")
    return data


def split_pairs(
    pairs: Sequence[PreferencePair], share: float, *, by: HeldOutBy = "cluster", seed: int = 0
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Pairs to train on and pairs held out. A cluster, a group where that is asked for, and a request stay whole; the same
    seed gives the same split, whatever the order.

    Raises:
        InputError: there is too little to hold out a part of.
    """
    whole = _units(pairs, by)
    units = sorted(set(whole), key=lambda unit: digest64(f"{seed} {unit}"))
    wanted, taken = share * len(pairs), 0
    out: set[str] = set()
    sizes = Counter(whole)
    for unit in units:
        if taken >= wanted and len(out) >= LEAST_HELD_OUT:
            break
        out.add(unit)
        taken += sizes[unit]
    if len(out) == len(units):
        raise InputError(
            f"{len(units)} {by}s of pairs are too few to hold out a part of", hint="give more, or --holdout-share 0"
        )
    trained = [pair for pair, unit in zip(pairs, whole, strict=True) if unit not in out]
    return trained, [pair for pair, unit in zip(pairs, whole, strict=True) if unit in out]


def requests_of(pairs: Iterable[PreferencePair]) -> list[Case]:
    """The requests of pairs as cases, each once."""
    cases: dict[str, Case] = {}
    for pair in pairs:
        key = digest([dict(message) for message in pair.request], 16)
        cases.setdefault(
            key,
            Case(id=key, request=pair.request, request_safe=pair.request_safe, group=pair.group, pair=pair.cluster),
        )
    return list(cases.values())


def _sorted(pairs: Iterable[PreferencePair], cases: Iterable[Case]) -> tuple[list[PreferencePair], list[Case], int]:
    """Pairs with those that labels make, the requests without a response, and how many responses are of no use."""
    labelled, asked, given = [], [], 0
    for case in cases:
        if case.response is None:
            asked.append(case)
            continue
        given += 1
        if is_labelled(case):
            labelled.append(case)
    made = pair_labels(labelled).pairs
    used = {name for pair in made for name in cast(list[str], pair.provenance["cases"])}
    return [*pairs, *made], asked, given - len(used)


def _units(pairs: Sequence[PreferencePair], by: HeldOutBy) -> list[str]:
    """What each pair is a part of: pairs that share a cluster (or group) or a request are parts of the same."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    names = []
    for pair in pairs:
        name = f"group {pair.group}" if by == "group" and pair.group is not None else f"cluster {pair.cluster}"
        first, second = sorted((root(name), root(f"request {_asked(pair.request_text)}")))
        parent[second] = first
        names.append(name)
    return [root(name) for name in names]


def _asked(text: str) -> int:
    return digest64(" ".join(text.split()))
