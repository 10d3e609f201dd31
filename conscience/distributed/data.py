"""What JSON can say, and what it says back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_json(value: Any) -> bool:
    """Whether a value is of JSON's types all through, so that it comes back as it was; a tuple would come back a list."""
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_json(inner) for key, inner in value.items())
    return value is None or isinstance(value, str | int | float | bool)
