"""Cases counted by kind, in place of the cases: what rates and means need of them, and their intervals.

Counts, rates and means are exact. Cases of one cluster are no independent evidence; of its name one of ``BLOCKS`` numbers
is kept, by digest. So a block holds whole clusters at random, and its sum varies as theirs do together: the random groups of
survey sampling (Wolter, Introduction to Variance Estimation, 2007). A standard error that is estimated from b blocks is off
by 1/√(2b) of itself, one standard deviation: 2.2 % for 1,024. Cases that stand alone need no blocks.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from conscience._base.files import digest64
from conscience.stats.intervals import Estimate, Rate, normal_interval
from conscience.stats.streaming.sums import ExactSum

BLOCKS = 1024
"""Blocks of clusters."""

KindT = TypeVar("KindT", bound=Hashable)


def block_of(cluster: str) -> int:
    """The block of a cluster."""
    return digest64(cluster) % BLOCKS


class _Cell:
    """The cases of one kind.

    Attributes:
        n, alone: how many, and how many of them stand alone.
        blocks, block_weights: cases of clusters, by block; empty where there are none.
        lightest, heaviest: their least and greatest weight.
    """

    def __init__(self) -> None:
        self.n = self.alone = 0
        self.blocks: array[int] = array("q")
        self.block_weights: array[float] = array("d")
        self.lightest, self.heaviest = math.inf, -math.inf
        self._units = self._units_alone = 0  # cases of weight 1, which most are, need no sums
        self._weight, self._squares, self._squares_alone = ExactSum(), ExactSum(), ExactSum()

    def add(self, block: int | None, weight: float) -> None:
        self.n += 1
        self.lightest, self.heaviest = min(self.lightest, weight), max(self.heaviest, weight)
        if weight == 1:
            self._units += 1
            self._units_alone += block is None
        else:
            self._weight.add(weight)
            self._squares.add(weight * weight)
            if block is None:
                self._squares_alone.add(weight * weight)
        if block is None:
            self.alone += 1
            return
        if not self.blocks:
            self.blocks, self.block_weights = array("q", bytes(8 * BLOCKS)), array("d", bytes(8 * BLOCKS))
        self.blocks[block] += 1
        self.block_weights[block] += weight

    @property
    def weight(self) -> Sequence[float]:
        """What adds up to the weight of its cases; rounded only once all cells are added."""
        return (self._units, *self._weight.parts)

    @property
    def squares(self) -> Sequence[float]:
        return (self._units, *self._squares.parts)

    @property
    def squares_alone(self) -> float:
        return self._units_alone + float(self._squares_alone)


def _weight(cells: Iterable[_Cell]) -> float:
    return math.fsum(part for cell in cells for part in cell.weight)


def _units(cells: Iterable[_Cell]) -> int:
    listed = list(cells)
    return sum(cell.alone for cell in listed) + len(_by_block((1, cell.blocks) for cell in listed))


class Kinds(Generic[KindT]):
    """How many cases of each kind there are. Kinds are few: what a figure looks at of a case, and no more."""

    def __init__(self) -> None:
        self._cells: dict[KindT, _Cell] = {}

    def add(self, kind: KindT, block: int | None = None, weight: float = 1.0) -> None:
        """Counts a case.

        Args:
            block: of its cluster; None where it stands alone.
        """
        if (cell := self._cells.get(kind)) is None:
            cell = self._cells[kind] = _Cell()
        cell.add(block, weight)

    def count(self, among: Callable[[KindT], bool]) -> int:
        """How many cases there are among those of some kinds."""
        return sum(cell.n for kind, cell in self._cells.items() if among(kind))

    def weight(self, among: Callable[[KindT], bool]) -> float:
        """How much they count together."""
        return _weight(cell for kind, cell in self._cells.items() if among(kind))

    def rate(self, hit: Callable[[KindT], bool], among: Callable[[KindT], bool]) -> Rate:
        """The share of cases that hit, among those of some kinds; see ``Rate.of``."""
        cells = [(hit(kind), cell) for kind, cell in self._cells.items() if among(kind)]
        n = sum(cell.n for _, cell in cells)
        if not n:
            return Rate(0, 0)
        effect = _design_effect(cells)
        if min(cell.lightest for _, cell in cells) == max(cell.heaviest for _, cell in cells):
            return Rate(sum(cell.n for is_hit, cell in cells if is_hit), n, effect)
        total = _weight(cell for _, cell in cells)
        share = _weight(cell for is_hit, cell in cells if is_hit) / total
        kish = n * math.fsum(part for _, cell in cells for part in cell.squares) / total**2
        return Rate(min(1.0, share) * n, n, max(1.0, kish) * effect)

    def alone(self, kind: KindT) -> int:
        """How many cases of a kind stand alone."""
        return self._cells[kind].alone if kind in self._cells else 0

    def totals(self, value: Callable[[KindT], float]) -> list[float]:
        """The sums of a value over the cases of each block, each case once."""
        return _by_block((value(kind), cell.blocks) for kind, cell in self._cells.items())

    def units(self) -> int:
        """How many cases stand alone, and how many blocks there are beside them."""
        return _units(self._cells.values())

    def mean(self, value: Callable[[KindT], float], among: Callable[[KindT], bool]) -> Estimate | None:
        """The mean of a value among cases of some kinds, by weight, with the normal interval of its linearised error."""
        cells = [(value(kind), cell) for kind, cell in self._cells.items() if among(kind)]
        total = _weight(cell for _, cell in cells)
        if not total:
            return None
        mean = math.fsum(worth * part for worth, cell in cells for part in cell.weight) / total
        alone = math.fsum((worth - mean) ** 2 * cell.squares_alone for worth, cell in cells)
        together = _by_block((worth - mean, cell.block_weights) for worth, cell in cells)
        units = _units(cell for _, cell in cells)
        variance = (alone + math.fsum(part**2 for part in together)) / total**2 * (units / (units - 1) if units > 1 else 1)
        worths = [worth for worth, _ in cells]
        return Estimate(mean, *normal_interval(mean, math.sqrt(variance), min(worths), max(worths)))


def _by_block(parts: Iterable[tuple[float, Sequence[float]]]) -> list[float]:
    """Factors times values by block, added up; empty where no part has blocks."""
    present = [(factor, values) for factor, values in parts if values]
    return [
        math.fsum(factor * values[block] for factor, values in present)
        for block in range(BLOCKS)
        if any(values[block] for _, values in present)
    ]


def _design_effect(cells: Sequence[tuple[bool, _Cell]]) -> float:
    """``intervals.design_effect`` of cases that hit or not, with blocks in place of clusters.

    Where all cases hit, or none, cases of a cluster count as one, Σ(cluster size)²/n. Blocks tell that sum as well: sizes of
    blocks that clusters fall into at random vary by Σ(cluster size)²·(1−1/b) in all.
    """
    sizes = _by_block((1, cell.blocks) for _, cell in cells)
    if not sizes:
        return 1.0
    n, alone = sum(cell.n for _, cell in cells), sum(cell.alone for _, cell in cells)
    hits = sum(cell.n for is_hit, cell in cells if is_hit)
    mean = hits / n
    spread = hits * (1 - mean) ** 2 + (n - hits) * mean**2
    if spread < 1e-12 * n:
        average = (n - alone) / BLOCKS
        squares = math.fsum((size - average) ** 2 for size in sizes) + (BLOCKS - len(sizes)) * average**2
        return max(1.0, (alone + max(n - alone, squares / (1 - 1 / BLOCKS))) / n)
    hits_alone = sum(cell.alone for is_hit, cell in cells if is_hit)
    between = hits_alone * (1 - mean) ** 2 + (alone - hits_alone) * mean**2
    between += math.fsum(part**2 for part in _by_block((is_hit - mean, cell.blocks) for is_hit, cell in cells))
    units = alone + len(sizes)
    return max(1.0, units / max(1, units - 1) * between / n * (n - 1) / spread)
