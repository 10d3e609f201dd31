"""A row on its way from a file to a case, and what is wrong with it."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from conscience._base.files import RepeatedKey, parse_json


class BadRow(Exception):
    """What is wrong with a row, or, raised by a reader, with its whole source; the place is added by who knows it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TextRow(dict[str, str]):
    """Column → cell of a table that knows only text, such as CSV: a blank is absent, numbers and lists are written out.

    Args:
        cells: those that hold something.
        columns: all of the table's, blank here or not: what a column is does not change from row to row.
    """

    def __init__(self, cells: Iterable[tuple[str, str]], columns: Sequence[str]) -> None:
        super().__init__(cells)
        self.columns = columns


Rows = Iterator[tuple[int, Any]]
"""(line or number, row); a row that could not be parsed comes as a ``BadRow``."""


def parsed(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        BadRow: it is not JSON, or an object has a key twice.
    """
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        line = f" of line {error.lineno}" if error.lineno > 1 else ""
        raise BadRow(f"not JSON: {error.msg} at column {error.colno}{line}", hint=_mend(text)) from None
    except RepeatedKey as error:
        raise BadRow(f"field {reprlib.repr(error.key)}: comes twice") from None
    except ValueError as error:
        raise BadRow(f"not JSON that can be read: {error}") from None


def _mend(text: str) -> str:
    text = text.strip()
    if text.endswith(("},", "],")):
        return "drop the comma at its end"
    if text.startswith(("//", "#", "/*")):
        return "JSON has no comments: drop the line"
    if text.startswith(("{'", "[{'")):
        return "it is Python's notation: write it with json.dumps"
    if text in ("[", "]", "{", "}"):
        return "in .jsonl each row is one line; a list over several lines is a .json file"
    return ""
