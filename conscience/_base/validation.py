"""The first fault that pydantic finds in data, as one line for the person who wrote the data."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

FEW = 8
"""So many names can be listed in a line."""

Place = tuple[str | int, ...]
"""Where in the data: keys and indices, outermost first."""


@dataclass(frozen=True)
class DataFault:
    """One fault.

    Attributes:
        kind: pydantic's name for it, such as "missing" or "string_type".
        place: where it is; empty where it concerns the whole.
        message: pydantic's sentence.
        value: what stands there.
    """

    kind: str
    place: Place
    message: str
    value: Any

    def render(
        self,
        *,
        noun: str = "key",
        known: Collection[str] = (),
        wording: Mapping[str, Callable[[Any], str]] | None = None,
    ) -> str:
        """One line, such as ``key 'policy.max_revision' is unknown; did you mean max_revisions?``

        Args:
            noun: what the place is called: key or field.
            known: the names that are allowed where an unknown one stands; a few are listed where none is near.
            wording: kind → what to say of the value, in place of pydantic's sentence.
        """
        where = f"{noun} {place_text(self.place)[:200]!r}"
        if self.kind == "extra_forbidden":
            return f"{where} is unknown{_instead(str(self.place[-1]), known)}"
        if self.kind == "missing":
            return f"{where} is missing"
        said = wording[self.kind](self.value) if wording and self.kind in wording else self._said()
        return f"{where}: {said}" if self.place else said

    def _said(self) -> str:
        message = self.message.removeprefix("Value error, ")
        wanted = message.removeprefix("Input should be ")
        if wanted == message:
            return message
        return f"{reprlib.repr(self.value)} is not {wanted.replace('tuple', 'list')}"


def _instead(name: str, known: Collection[str]) -> str:
    if near := difflib.get_close_matches(name, list(known), 1):
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= FEW else ""


def first_fault(error: ValidationError, *, tags: Collection[str] = ()) -> DataFault:
    """The fault to tell of. An unknown key comes first: it explains more than what its absence elsewhere leads to.

    Args:
        error: what pydantic raised.
        tags: names of the variants of a list's items, which pydantic counts into the place and no file shows.
    """
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = first["loc"]
    place = tuple(p for i, p in enumerate(path) if not (p in tags and i and isinstance(path[i - 1], int)))
    return DataFault(first["type"], place, first["msg"], first.get("input"))


def place_text(place: Place) -> str:
    """A place as people write it: ``calibrations[0].stages``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
