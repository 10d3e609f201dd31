"""Compiles programs: searches questions, weights, thresholds, prompts and demos on labelled cases, and keeps what wins.

Imports as ``conscience.optimizers``. Nothing is in here yet; the types below are what every optimizer will speak.
"""

from __future__ import annotations

from typing import Any, Protocol

from conscience.program import Conscience


class Optimizer(Protocol):
    """What a stage of the compiler does: takes a program and cases, gives back a program that is no worse."""

    def compile(self, student: Conscience, *, trainset: list[Any], valset: list[Any] | None = None) -> Conscience: ...
