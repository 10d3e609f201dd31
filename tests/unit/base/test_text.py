"""Text that nobody can receive is named by what it holds and where."""

from __future__ import annotations

from typing import Any

import pytest

from conscience._base.text import text_fault

CASES: list[tuple[Any, str | None]] = [
    ("naïve 😀", None),
    ("a\0b", "holds a NUL byte at position 1"),
    ("ab\ud800", "holds a lone surrogate at position 2"),
    ([{"role": "user", "content": [{"text": "a\0"}]}], "holds a NUL byte at position 1"),
    ({"a\ud800": 1}, "holds a lone surrogate at position 1"),
    ([1, None, 2.5, True, ()], None),
]


@pytest.mark.parametrize(("value", "fault"), CASES, ids=range(len(CASES)))
def test_the_first_fault_is_told(value: Any, fault: str | None) -> None:
    """In texts, lists and mappings, keys included."""
    assert text_fault(value) == fault
