"""Splits that leak nothing."""

from __future__ import annotations

import pytest

from conscience.cases.case import Case
from conscience.cases.splits import split_cases
from conscience.errors import InputError

FRACTIONS = {"train": 0.6, "test": 0.4}
CASES = [
    Case(
        id=f"{n}", request="q", response=f"r{n}", label=("aligned", "misaligned")[n % 2], pair=f"{n // 2}", group=f"{n % 5}"
    )
    for n in range(100)
]


def test_a_split_keeps_the_fractions() -> None:
    """As near as whole pairs let it."""
    assert {name: len(part) for name, part in split_cases(CASES, FRACTIONS, seed=3).items()} == {"train": 60, "test": 40}


def test_a_split_keeps_pairs_whole() -> None:
    """No pair is on both sides."""
    parts = split_cases(CASES, FRACTIONS, seed=3)
    assert not {case.pair for case in parts["train"]} & {case.pair for case in parts["test"]}


def test_a_split_by_group_keeps_groups_whole() -> None:
    """No group is on both sides."""
    parts = split_cases(CASES, FRACTIONS, seed=3, by="group")
    assert not {case.group for case in parts["train"]} & {case.group for case in parts["test"]}


def test_a_split_keeps_labels_in_proportion() -> None:
    """Half and half, as in the whole."""
    assert sum(case.misaligned is True for case in split_cases(CASES, FRACTIONS, seed=3)["test"]) == 20


def test_a_split_does_not_hang_on_the_order_of_rows() -> None:
    """The seed alone decides."""
    parts = split_cases(CASES, FRACTIONS, seed=3)
    assert split_cases(CASES[::-1], FRACTIONS, seed=3) == parts
    assert split_cases(CASES, FRACTIONS, seed=4) != parts


@pytest.mark.parametrize("fractions", [{"train": 0.6, "test": 0.6}, {"train": 1.0, "test": 0.0}, {}])
def test_fractions_that_are_no_split_are_refused(fractions: dict[str, float]) -> None:
    """Each is above 0, and they are 1 in all."""
    with pytest.raises(InputError, match="no split"):
        split_cases(CASES, fractions, seed=3)


def test_too_few_cases_are_refused() -> None:
    """Rather than an empty part."""
    with pytest.raises(InputError, match="too few to split"):
        split_cases(CASES[:2], FRACTIONS, seed=3)
