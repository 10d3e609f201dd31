"""A set of digests that holds each in 12 to 24 bytes: for the keys of a million rows."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from conscience._base.files import digest64

FIRST = 1 << 10
"""Slots of an empty set; a power of two, as ever after."""


class KeySet:
    """Keys by 64 bits of each: 16 hexadecimal digits are themselves, any other text is digested to as many.

    Two texts are taken for one where these are the same: among a million, with a probability of 3e-8.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._slots = array("Q", bytes(8 * FIRST))  # open addressing; 0 is an empty slot
        self._count = 0
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: str) -> bool:
        number = _number(key)
        return self._slots[_slot(self._slots, number)] == number

    def add(self, key: str) -> None:
        """Takes a key in; one that is there already changes nothing."""
        number = _number(key)
        slot = _slot(self._slots, number)
        if self._slots[slot]:
            return
        self._slots[slot] = number
        self._count += 1
        if self._count * 3 > len(self._slots) * 2:
            self._grow()

    def _grow(self) -> None:
        wider = array("Q", bytes(16 * len(self._slots)))
        for number in self._slots:
            if number:
                wider[_slot(wider, number)] = number
        self._slots = wider


def _slot(slots: array[int], number: int) -> int:
    """Where a number stands, or would. Digests are evenly spread, so the next slot does where one is taken."""
    mask = len(slots) - 1
    slot = number & mask
    while (there := slots[slot]) and there != number:
        slot = (slot + 1) & mask
    return slot


def _number(key: str) -> int:
    if len(key) == 16:
        try:
            return int(key, 16) or digest64(key)
        except ValueError:
            pass
    return digest64(key)
