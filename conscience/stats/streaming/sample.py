"""A sample of more things than can be held, the same in whatever order they come."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

from conscience._base.files import digest64

T = TypeVar("T")


class Sample(Generic[T]):
    """At most ``size`` things: those of the highest rank, and among equals those whose names have the least digests.

    So things of one name come in together, but for the last ones, and digests draw as a lot would.

    Args:
        size: how many.
        seed: another one draws others.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self._seed = seed
        self._heap: list[tuple[float, int, str, int, T]] = []  # the first to go first
        self._offered = 0

    def add(self, thing: T, name: str, *, unique: str = "", rank: float = 0.0) -> None:
        """Offers a thing.

        Args:
            name: what is drawn.
            unique: tells it from others of its name.
            rank: the higher, the sooner it is kept.
        """
        self._offered += 1
        entry = (rank, -digest64(f"{self._seed} {name}"), unique, self._offered, thing)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[T]:
        """From the last that would go."""
        return (entry[-1] for entry in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1], entry[2])))
