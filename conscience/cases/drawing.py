"""Which cases of a source a run is on: so many of them drawn at random, and of those one shard's.

What is drawn is drawn before it is divided, so the shards of one draw add up to it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from conscience.cases.case import Case
from conscience.cases.shards import Shard


@dataclass(frozen=True)
class Drawn:
    """The cases of a run.

    Attributes:
        read: streams them from their beginning, each time that it is called.
        count: how many they are.
        whole: how many all shards have together; ``count`` where there are no shards.
        digest: of the cases of all shards together, in whatever order; empty where there are no shards.
        limit, seed, shard: how they were drawn.
        sources: what they are read from, as people called it; ``skipped``: rows of these that could not be read.
    """

    read: Callable[[], Iterator[Case]]
    count: int
    whole: int
    digest: str = ""
    limit: int | None = None
    seed: int = 0
    shard: Shard | None = None
    sources: tuple[str, ...] = ()
    skipped: int = 0


def draw(cases: Callable[[], Iterable[Case]], limit: int | None = None, seed: int = 0, shard: Shard | None = None) -> Drawn:
    """At most ``limit`` cases, drawn at random, or the shard's part of those.

    Args:
        cases: reads the source from its beginning, each time that it is called. It is read to the end here.
    """
    picked: set[int] | None = None
    if limit is not None and limit < (total := sum(1 for _ in cases())):
        picked = set(random.Random(seed).sample(range(total), limit))

    def all_shards() -> Iterator[Case]:
        return (case for index, case in enumerate(cases()) if picked is None or index in picked)

    if shard is None:
        whole = sum(1 for _ in cases()) if picked is None else len(picked)
        return Drawn(all_shards, whole, whole, limit=limit, seed=seed)
    count = whole = summed = 0
    for case in all_shards():
        whole += 1
        count += shard.holds(case)
        summed += int.from_bytes(hashlib.blake2b(case.model_dump_json().encode(), digest_size=16).digest())
    own = shard.holds
    return Drawn(lambda: filter(own, all_shards()), count, whole, f"{summed % (1 << 128):032x}", limit, seed, shard)
