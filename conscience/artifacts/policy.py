"""What a file's policy may do to a program's: make it stricter. Only the caller can make it looser, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from conscience.usage import Budget

_STRICTNESS: Mapping[str, tuple[str, ...]] = {
    "on_error": ("open", "closed", "raise"),
    "on_unresolved": ("best", "refuse", "raise"),
}
"""Each policy's values, the loosest first."""


def stricter(name: str, own: Any, asked: Any) -> tuple[Any, bool]:
    """The stricter of a program's own setting and what a file asks for.

    Args:
        name: max_revisions, samples, on_unresolved, on_error or budget.
        own: the program's.
        asked: the file's.

    Returns:
        The setting, and whether the file asked for something looser.
    """
    if name == "budget":
        return _stricter_budget(Budget.of(own), Budget.of(asked))
    if name in _STRICTNESS:
        rank = _STRICTNESS[name].index
        return max(own, asked, key=rank), rank(asked) < rank(own)
    return min(own, asked), asked > own


def _stricter_budget(own: Budget | None, asked: Budget | None) -> tuple[Budget | None, bool]:
    if own is None or asked is None:
        return own or asked, False
    limits, looser = {}, False
    for field in fields(Budget):
        mine, theirs = getattr(own, field.name), getattr(asked, field.name)
        limits[field.name] = min((limit for limit in (mine, theirs) if limit is not None), default=None)
        looser = looser or (mine is not None and theirs is not None and theirs > mine)
    return Budget(**limits), looser


def as_argument(name: str, value: Any) -> str:
    """A setting as the caller would write it."""
    if isinstance(value, Budget):
        value = {limit: most for limit, most in asdict(value).items() if most is not None}
    return f"{name}={value!r}"
