"""Looks over cases before anything is spent on them, and splits them without a leak."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from conscience._base.files import digest64
from conscience.cases.case import Case
from conscience.messages.rendering import request_text
from conscience.stats.intervals import cases_needed, wilson

SHOWN = 10
"""Examples that are named of each kind of finding; all are counted."""
ENOUGH = 20
"""So many answers to choices, and the first choice is among them but for one set in 300 (of four choices)."""
CLAIMED = (0.1, 0.05, 0.01)
"""The rates for which the summary says how many cases it takes to show them."""


@dataclass(frozen=True)
class Occurrences:
    """How often something occurs, and the first of them by name."""

    count: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """What cases can show at best: that a rate lies below a bound, if not one of them is an event.

    Attributes:
        about: the rate that is claimed.
        kind: the cases that count for it.
        have: how many of these there are.
        bound: the lowest rate below which ``have`` cases without an event show it to be (Wilson, 95 %).
        needed: rate → how many cases without an event it takes.
    """

    about: str
    kind: str
    have: int
    bound: float
    needed: Mapping[str, int]


@dataclass(frozen=True)
class CaseSummary:
    """What is in a set of cases and what is odd about it.

    Attributes:
        cases: how many.
        labels: label → cases; "none" for those without.
        groups: group → label → cases; "" for those without a group.
        sources: source → cases; "" for those without.
        fields: optional field → cases that have it.
        columns: column that is no field of a case, and went to ``meta`` → cases. A misspelled field shows up here.
        lengths: "request" and "response" → median ("p50") and greatest ("max") length in characters.
        exact_duplicates: cases with the request, reasoning, response and choices of an earlier one.
        near_duplicates: the same but for case, spaces and punctuation; not within a pair, where it is the point.
        conflicting_labels: cases with the request, reasoning and response of an earlier one and the other label.
        labels_without_response: cases whose label has nothing to speak about.
        answers_from_one: cases with a choice to make, where they are ``ENOUGH`` and not one has the first as its answer.
        pairs: how many pairs.
        one_sided_pairs: pairs with labels, of which one is missing.
        straddling_pairs: pairs in more than one group, which a split by group would tear apart.
        one_sided_groups: groups with labels, of which one is missing.
        claims: what the numbers of cases can show.
    """

    cases: int
    labels: Mapping[str, int]
    groups: Mapping[str, Mapping[str, int]]
    sources: Mapping[str, int]
    fields: Mapping[str, int]
    columns: Mapping[str, int]
    lengths: Mapping[str, Mapping[str, int]]
    exact_duplicates: Occurrences
    near_duplicates: Occurrences
    conflicting_labels: Occurrences
    labels_without_response: Occurrences
    answers_from_one: Occurrences
    pairs: int
    one_sided_pairs: Occurrences
    straddling_pairs: Occurrences
    one_sided_groups: Occurrences
    claims: tuple[Claim, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def problems(self) -> list[str]:
        """A line for each kind of finding that a person should look at; empty where there is none."""
        kinds = (
            ("conflicting labels", self.conflicting_labels),
            ("labels without a response", self.labels_without_response),
            ("answers counted from 1? not one is 0", self.answers_from_one),
            ("exact duplicates", self.exact_duplicates),
            ("near duplicates", self.near_duplicates),
            ("pairs with one label only", self.one_sided_pairs),
            ("pairs in several groups", self.straddling_pairs),
            ("groups with one label only", self.one_sided_groups),
        )
        found = [_problem(name, occurrences) for name, occurrences in kinds if occurrences.count]
        return found if self.cases else ["there are no cases"]

    def render(self) -> str:
        """The summary as short lines of plain text; names are escaped where they hold what a terminal would obey."""
        lines = [f"{self.cases} cases: {_listed(self.labels)}"]
        named = {"fields": self.fields, "other columns": self.columns, "sources": self.sources}
        lines += [f"{name}: {_listed(counts)}" for name, counts in named.items() if counts]
        largest = sorted(self.groups.items(), key=lambda item: -sum(item[1].values()))
        lines.append(f"{len(self.groups.keys() - {''})} groups, {self.pairs} pairs")
        lines += [f"  {_shown(name)}: {_listed(counts)}" for name, counts in largest[:SHOWN] if name]
        lines += [f"  and {len(largest) - SHOWN} more"] if len(largest) > SHOWN else []
        for name, length in self.lengths.items():
            lines.append(f"{name}: {length['p50']} characters in the middle, {length['max']} at most")
        for claim in self.claims:
            lines.append(f"{claim.about}: {claim.have} {claim.kind} can show at best that it is below {claim.bound:.1%}")
            needs = ", ".join(f"{needed} for {rate}" for rate, needed in claim.needed.items() if needed > claim.have)
            lines += [f"  needed: {needs}"] if needs else []
        lines += [line] if (line := one_kind(self.labels)) else []
        return "\n".join([*lines, *self.problems()])


def one_kind(labels: Mapping[str, int]) -> str | None:
    """Says what cannot be told where all cases are labelled, and all alike; None where that is not so.

    Args:
        labels: label → cases; "none" for those without.
    """
    kinds = {label: count for label, count in labels.items() if count}
    if len(kinds) != 1 or "none" in kinds:
        return None
    ((label, count),) = kinds.items()
    missing, lost = ("misaligned", "recall") if label == "aligned" else ("aligned", "the false positive rate")
    return f"all {count} labels are {label}, none {missing}: neither {lost} nor AUROC can be measured"


def check_cases(cases: Iterable[Case]) -> CaseSummary:
    """Summarises cases in one pass, and never holds a text.

    What grows with the cases is three digests of 8 bytes each, ids, and the names of pairs and groups. Two texts that share
    a digest would be reported as duplicates; among a million cases the chance is one in 10 million.
    """
    check = _Check()
    for case in cases:
        check.add(case)
    return check.summary()


class _Tally:
    """``Occurrences`` in the making."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[str] = []

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < SHOWN:
            self.examples.append(example)

    def occurrences(self) -> Occurrences:
        return Occurrences(self.count, tuple(self.examples))


@dataclass
class _Pair:
    group: str | None
    labels: set[str] = field(default_factory=set)
    straddles: bool = False


class _Check:
    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.sources: Counter[str] = Counter()
        self.fields: Counter[str] = Counter()
        self.columns: Counter[str] = Counter()
        self.lengths: dict[str, Counter[int]] = {"request": Counter(), "response": Counter()}
        self.safe = 0
        self.pairs: dict[str, _Pair] = {}
        self.exact: dict[int, str] = {}  # digest of all texts → id of the first case
        self.near: dict[int, tuple[str, int]] = {}  # digest of the words → id and pair of the first case
        self.judged: dict[int, tuple[str, str]] = {}  # digest of request, reasoning and response → id and first label
        self.exact_duplicates, self.near_duplicates = _Tally(), _Tally()
        self.conflicts, self.unanswered = _Tally(), _Tally()
        self.choosing, self.first_chosen = _Tally(), 0

    def add(self, case: Case) -> None:
        label = case.label or "none"
        self.labels[label] += 1
        self.groups[case.group or ""][label] += 1
        self.sources[case.source or ""] += 1
        self.fields.update(name for name in _OPTIONAL if getattr(case, name) not in (None, "", ()))
        self.columns.update(case.meta.keys())
        self.safe += case.request_safe is True
        if case.label and case.response is None:
            self.unanswered.add(case.id)
        if case.answer is not None:
            self.choosing.add(case.id)
            self.first_chosen += case.answer == 0
        self._pair(case)
        self._texts(case)

    def _pair(self, case: Case) -> None:
        if case.pair is None:
            return
        pair = self.pairs.setdefault(case.pair, _Pair(case.group))
        pair.straddles |= pair.group != case.group
        if case.label:
            pair.labels.add(case.label)

    def _texts(self, case: Case) -> None:
        request = request_text(case.request)
        self.lengths["request"][len(request)] += 1
        if case.response is not None:
            self.lengths["response"][len(case.response)] += 1
        judged = [request, case.reasoning, case.response]
        if case.label:
            first, label = self.judged.setdefault(_digest(judged), (case.id, case.label))
            if label != case.label:
                self.conflicts.add(f"{case.id} = {first}")
        texts = [*judged, *case.choices]
        exact = self.exact.setdefault(_digest(texts), case.id)
        pair = _digest([case.pair or case.id])
        near, near_pair = self.near.setdefault(_digest([_words(text) for text in texts]), (case.id, pair))
        if exact != case.id:
            self.exact_duplicates.add(f"{case.id} = {exact}")
        elif near != case.id and near_pair != pair:
            self.near_duplicates.add(f"{case.id} ~ {near}")

    def summary(self) -> CaseSummary:
        one_sided, straddling, groups = _Tally(), _Tally(), _Tally()
        from_one = self.choosing.count >= ENOUGH and not self.first_chosen
        for name, pair in self.pairs.items():
            if len(pair.labels) == 1:
                one_sided.add(name)
            if pair.straddles:
                straddling.add(name)
        for name, counts in self.groups.items():
            if name and len(counts.keys() - {"none"}) == 1:
                groups.add(name)
        return CaseSummary(
            cases=self.labels.total(),
            labels=_counted(self.labels),
            groups={name: _counted(counts) for name, counts in sorted(self.groups.items())},
            sources=_counted(self.sources),
            fields=_counted(self.fields),
            columns=_counted(self.columns),
            lengths={name: _spread(lengths) for name, lengths in self.lengths.items() if lengths},
            exact_duplicates=self.exact_duplicates.occurrences(),
            near_duplicates=self.near_duplicates.occurrences(),
            conflicting_labels=self.conflicts.occurrences(),
            labels_without_response=self.unanswered.occurrences(),
            answers_from_one=(self.choosing if from_one else _Tally()).occurrences(),
            pairs=len(self.pairs),
            one_sided_pairs=one_sided.occurrences(),
            straddling_pairs=straddling.occurrences(),
            one_sided_groups=groups.occurrences(),
            claims=tuple(self._claims()),
        )

    def _claims(self) -> Iterator[Claim]:
        if self.labels["aligned"] or self.labels["misaligned"]:
            yield _claim("false positive rate", "aligned cases", self.labels["aligned"])
            yield _claim("missed share", "misaligned cases", self.labels["misaligned"])
        if self.fields["request_safe"]:
            yield _claim("refusals of safe requests", "safe requests", self.safe)


_OPTIONAL = tuple(name for name in Case.model_fields if name not in ("id", "weight", "meta"))


def _claim(about: str, kind: str, have: int) -> Claim:
    return Claim(about, kind, have, wilson(0, have)[1], {f"{rate:.0%}": cases_needed(rate) for rate in CLAIMED})


def _counted(counts: Counter[str]) -> dict[str, int]:
    """Most frequent first, whatever the order of the cases."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _spread(lengths: Counter[int]) -> dict[str, int]:
    """The lower median and the maximum."""
    left = (lengths.total() + 1) // 2
    for length in sorted(lengths):
        left -= lengths[length]
        if left <= 0:
            break
    return {"p50": length, "max": max(lengths)}


def _digest(parts: Sequence[Any]) -> int:
    return digest64(json.dumps(parts))


def _words(text: str | None) -> str | None:
    """A text without case, spaces and punctuation; one of punctuation alone stays what it is."""
    if text is None:
        return None
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())) or text


def _shown(name: str) -> str:
    return name if name and name.isprintable() else repr(name) if name else "(none)"


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{_shown(name)} {count}" for name, count in list(counts.items())[:SHOWN]]
    more = [f"and {len(counts) - SHOWN} more"] if len(counts) > SHOWN else []
    return ", ".join(shown + more)


def _problem(name: str, occurrences: Occurrences) -> str:
    rest = ", …" if occurrences.count > len(occurrences.examples) else ""
    return f"{name}: {occurrences.count} ({', '.join(map(_shown, occurrences.examples))}{rest})"
