"""Text that no provider can receive and no file can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any


def text_fault(value: Any) -> str | None:
    """The first NUL byte or lone surrogate in a text, or in any text inside lists and mappings; None where there is none.

    Returns:
        Such as "holds a NUL byte at position 3", counted from 0 in its text.
    """
    if isinstance(value, str):
        return _string_fault(value)
    if isinstance(value, dict | Mapping):  # dict first: the abstract class takes its time
        parts: Iterator[Any] = chain(value, value.values())
    elif isinstance(value, list | tuple):
        parts = iter(value)
    else:
        return None
    for part in parts:
        if fault := text_fault(part):
            return fault
    return None


def _string_fault(text: str) -> str | None:
    if "\0" in text:
        return f"holds a NUL byte at position {text.index(chr(0))}"
    if text.isascii():  # as most are, and this is free
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds a lone surrogate at position {error.start}"
    return None
