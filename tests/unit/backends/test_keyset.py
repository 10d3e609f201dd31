"""A set of keys that holds a digest of each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conscience.backends.storage.keyset import FIRST, KeySet

KEYS = st.text(max_size=20) | st.integers(0, 2**64 - 1).map("{:016x}".format) | st.integers(0, 2).map("{:016x}".format)


@given(st.lists(KEYS), st.lists(KEYS))
def test_it_holds_what_a_set_holds(taken: list[str], asked: list[str]) -> None:
    """Hexadecimal digits and any other text."""
    keys, expected = KeySet(taken), set(taken)
    assert len(keys) == len(expected)
    assert all((key in keys) == (key in expected) for key in [*taken, *asked])


def test_it_grows_and_a_key_costs_few_bytes() -> None:
    """Many times its first size."""
    many = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(1, 20 * FIRST)]
    keys = KeySet(many)
    assert len(keys) == len(many)
    assert all(key in keys for key in many)
    assert "f" * 15 + "0" not in keys
    assert len(keys._slots) * 8 <= 24 * len(many)
