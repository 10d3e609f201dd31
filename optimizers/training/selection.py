"""Which pairs are worth training on: what is left out, counted by reason, and what is kept, in balance.

In this order: pairs that contradict each other, whose sides say the same, whose chosen side only refuses what should be
answered, whose margin is too small; then all but the first of those that say nearly the same; then what a group has too much
of.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from conscience._base.files import digest64
from conscience.evals.oracles.refusals import is_refusal
from conscience.optimizers.training.pairs import PreferencePair, Side

NEAR = 0.9
"""Two texts say nearly the same where they share so much of their words and word pairs."""

SKETCH = 4
"""The smallest digests of a pair's features by which pairs that are nearly the same find each other: of two that share nine
tenths, one pair in ten thousand has none of four in common."""

COMPARED = 50
"""Pairs with which one is compared at most for each of these digests."""

BALANCE = 2.0
"""A group has at most so many times its equal share of the pairs, where no number is given."""

REASONS: Mapping[str, str] = {
    "accepted": "drafts that the review accepted",
    "no alternative": "rejected drafts without an alternative that the review accepted",
    "false alarm": "rejected drafts that the case's own answer or tests find right",
    "wrong": "drafts whose accepted alternatives the case's own answer or tests find wrong",
    "failed": "cases that failed",
    "unpaired": "labelled responses without a counterpart",
    "no request": "responses to no request",
    "truncated": "drafts whose accepted alternatives were cut off at their token limit",
    "echo": "drafts whose accepted alternatives repeat their instructions",
    "contradictory": "texts that are chosen once and rejected once",
    "same": "pairs whose sides say the same",
    "refuses": "pairs whose chosen side only refuses",
    "margin": "pairs with too small a margin",
    "duplicate": "pairs that are nearly the same as another",
    "balance": "pairs of groups that had too many",
}
"""Why something is in no pair → what it is, for a reader."""


@dataclass
class Selection:
    """Attributes:
    pairs: what is kept, in order.
    dropped: reason → how many pairs.
    """

    pairs: list[PreferencePair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def select(
    pairs: Iterable[PreferencePair], *, min_margin: float | None = None, per_group: int | None = None, seed: int = 0
) -> Selection:
    """The pairs to train on.

    Args:
        pairs: candidates, of any provenance.
        min_margin: the smallest margin, -1 to 1; pairs without one are kept.
        per_group: the most pairs of a group; by default ``BALANCE`` times an equal share. Pairs without a group are not
            counted as one.
        seed: of the draw where a group has too many.
    """
    result = Selection()
    given = list(pairs)
    differing = [pair for pair in given if _key(pair, "chosen") != _key(pair, "rejected")]
    result.dropped["same"] += len(given) - len(differing)
    disputed = {_key(pair, "chosen") for pair in differing} & {_key(pair, "rejected") for pair in differing}
    kept: list[PreferencePair] = []
    for pair in differing:
        if reason := _fault(pair, disputed, min_margin):
            result.dropped[reason] += 1
        else:
            kept.append(pair)
    unique = list(_without_duplicates(kept))
    result.dropped["duplicate"] += len(kept) - len(unique)
    result.pairs = _balanced(unique, per_group, seed)
    result.dropped["balance"] += len(unique) - len(result.pairs)
    result.dropped = +result.dropped
    return result


def merely_refuses(pair: PreferencePair) -> bool:
    """Whether the chosen side refuses a request that should be answered.

    Where nobody said whether it should, a model's own refusal counts as one: a pair that teaches to refuse needs to be known
    to be right. A person's label is trusted: "I refuse to join them" may be the answer.
    """
    if pair.request_safe is False or not is_refusal(pair.chosen):
        return False
    return pair.request_safe is True or pair.provenance.get("from") in ("revision", "alternative")


def _fault(pair: PreferencePair, disputed: set[tuple[int, int]], min_margin: float | None) -> str:
    if _key(pair, "chosen") in disputed or _key(pair, "rejected") in disputed:
        return "contradictory"
    if merely_refuses(pair):
        return "refuses"
    if min_margin is not None and pair.margin is not None and pair.margin < min_margin:
        return "margin"
    return ""


def _key(pair: PreferencePair, side: Side) -> tuple[int, int]:
    """A response in its place, whatever its white space, invisible characters and forms of one letter."""
    return _text_key(pair.request_text), _text_key(getattr(pair, side))


def _text_key(text: str) -> int:
    seen = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return digest64(" ".join(seen.split()))


def _without_duplicates(pairs: Sequence[PreferencePair]) -> Iterator[PreferencePair]:
    """The first of those whose request and both texts are nearly the same.

    Pairs that share so much share one of their smallest digests, but for a few in a million: only those are compared.
    """
    met: dict[int, list[_Words]] = defaultdict(list)
    for pair in pairs:
        words = (_words(pair.request_text), _words(pair.chosen), _words(pair.rejected))
        marks = sorted(digest64(f"{part} {word}") for part, said in enumerate(words) for word in said)[:SKETCH]
        near = {id(other): other for mark in marks for other in met[mark][-COMPARED:]}
        if any(all(map(_is_near, words, other)) for other in near.values()):
            continue
        for mark in marks:
            met[mark].append(words)
        yield pair


_Words = tuple[frozenset[str], frozenset[str], frozenset[str]]
"""The words and word pairs of a request and two texts."""


def _words(text: str) -> frozenset[str]:
    """A digit is a word; the text itself where it has none, such as one of signs."""
    words = re.findall(r"\w+", text.casefold())
    return frozenset((*words, *(f"{a} {b}" for a, b in pairwise(words)))) or frozenset((text.strip(),))


def _is_near(first: frozenset[str], second: frozenset[str]) -> bool:
    least, most = sorted((len(first), len(second)))
    return least >= NEAR * most and len(first & second) >= NEAR * len(first | second)


def _balanced(pairs: Sequence[PreferencePair], per_group: int | None, seed: int) -> list[PreferencePair]:
    sizes = Counter(pair.group for pair in pairs if pair.group is not None)
    if not sizes:
        return list(pairs)
    most = per_group or max(1, round(BALANCE * sizes.total() / len(sizes)))
    drawn: set[int] = set()
    for group, size in sizes.items():
        members = [number for number, pair in enumerate(pairs) if pair.group == group]
        drawn.update(members if size <= most else random.Random(f"{seed} {group}").sample(members, most))
    return [pair for number, pair in enumerate(pairs) if pair.group is None or number in drawn]
