"""``load`` on a program's class and on a program, which are two things."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, Unpack, overload

from conscience._types import GenerateSpec, PolicyArgs, RolesSpec
from conscience.artifacts.io import load_into, open_program


class _Program(Protocol):
    def set_lm(self, lm: RolesSpec | None) -> None: ...


P_co = TypeVar("P_co", bound=_Program, covariant=True)


class _Open(Protocol[P_co]):
    def __call__(
        self,
        path: str | Path,
        *,
        lm: RolesSpec | None = None,
        generate: GenerateSpec | None = None,
        **policy: Unpack[PolicyArgs],
    ) -> P_co:
        """A new program from a file that ``save`` wrote; see ``conscience.load``."""


class Load:
    """``Conscience.load(path, lm=…)`` opens a program; ``program.load(path)`` loads into one, as on any DSPy module.

    A classmethod would give both the first meaning: whoever writes ``program.load(path)``, as DSPy's users do, would get
    another program, and go on with an uncompiled one without a word.
    """

    @overload
    def __get__(self, program: None, owner: type[P_co]) -> _Open[P_co]: ...
    @overload
    def __get__(self, program: _Program, owner: type[Any]) -> Callable[[str | Path], None]: ...
    def __get__(self, program: _Program | None, owner: type[Any]) -> Callable[..., Any]:
        return partial(open_program, owner) if program is None else partial(load_into, program)
