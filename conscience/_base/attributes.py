"""Attributes whose values are checked whenever they are set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Given = TypeVar("Given")
Kept = TypeVar("Kept")


class Checked(Generic[Given, Kept]):
    """An attribute that keeps what a function makes of each value it is set to; it raises where that does.

    Args:
        check: from what may be given to what is kept.
    """

    def __init__(self, check: Callable[[Given], Kept]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Any, owner: type) -> Kept: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.__dict__[self._name]

    def __set__(self, instance: Any, value: Given) -> None:
        instance.__dict__[self._name] = self._check(value)
