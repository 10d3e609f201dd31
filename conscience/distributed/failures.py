"""Errors as data: what another process could not do, said here as it would have been said here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience import errors
from conscience.errors import BackendError, ConscienceError

_FACTS = ("retryable", "gone", "reason")
"""What a caller may ask of an error besides its text."""


def error_data(error: ConscienceError) -> dict[str, Any]:
    """An error as JSON types. What is known of the call that it ended stays where it was made."""
    known = next(base for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
    facts = {name: getattr(error, name) for name in _FACTS if hasattr(error, name)}
    refused = {"refused": sorted(error.refused)} if isinstance(error, BackendError) and error.refused else {}
    return {"type": known.__name__, "message": error.message, "hint": error.hint, **facts, **refused}


def error_from_data(data: Mapping[str, Any]) -> ConscienceError:
    """The error that ``error_data`` wrote."""
    known = getattr(errors, data["type"], ConscienceError)
    error: ConscienceError = known(data["message"], hint=data["hint"])
    for name in _FACTS:
        if name in data:
            setattr(error, name, data[name])
    if isinstance(error, BackendError) and "refused" in data:
        error.refused = frozenset(data["refused"])
    return error
