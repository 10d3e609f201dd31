"""Kinds of case files: JSON Lines, JSON, CSV and TSV as rows, one at a time.

Nothing here knows what a row means; a table's header alone is shown to ``Columns``, which tells one separator from another.
"""

from __future__ import annotations

import csv
import io
import reprlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from conscience.cases.columns import Columns
from conscience.cases.decoding import LONGEST_LINE, Lines, Stream, as_utf8, decoded
from conscience.cases.rows import BadRow, Rows, TextRow, parsed

LARGEST_LIST = 64 << 20
"""Bytes; a .json file has to be read whole, so a larger one is refused."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_rows(kind: str, file: Stream, columns: Columns) -> Rows:
    """The rows of an open file of a kind in ``KINDS``.

    Raises:
        BadRow: it cannot be read as such at all.
    """
    return _READERS[kind](as_utf8(file), columns)


def _json_lines(file: io.BufferedIOBase, columns: Columns) -> Rows:
    lines = Lines(file)
    while True:
        lines.held = 0
        try:
            line = next(lines)
            if not line.strip():
                continue
            row = parsed(line)
            if isinstance(row, list):
                raise BadRow(f"{reprlib.repr(row)} is a list, not an object of fields", hint="name a list of rows .json")
            yield lines.number, row
        except StopIteration:
            return
        except BadRow as bad:
            yield lines.number, bad


def _json_list(file: io.BufferedIOBase, columns: Columns) -> Rows:
    data = file.read(LARGEST_LIST + 1)
    if len(data) > LARGEST_LIST:
        raise BadRow(f"larger than {LARGEST_LIST >> 20} MB", hint="use .jsonl, a row a line, which is streamed")
    try:
        rows = parsed(decoded(data))
    except BadRow as bad:
        if "Extra data" in str(bad) and data.lstrip().startswith(b"{"):  # JSON Lines under another name
            yield from _json_lines(io.BytesIO(data), columns)
            return
        raise
    yield from enumerate(_listed(rows, columns), 1)


def _listed(rows: Any, columns: Columns) -> list[Any]:
    """The list of rows in a .json file: the whole, or the only list of objects in an object."""
    if isinstance(rows, list):
        return rows
    if isinstance(rows, dict):
        if {"columns", "data"} <= rows.keys() or _is_by_column(rows, columns):
            hint = "in pandas: .to_json('cases.jsonl', orient='records', lines=True)"
            raise BadRow("holds no list of rows: it is written by column or by index", hint=hint)
        if columns.knows(tuple(rows)):
            return [rows]
        lists = [value for value in rows.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(lists) == 1:
            return lists[0]
    raise BadRow(f"{reprlib.repr(rows)} is not a list of rows", hint="use .jsonl for a row a line")


def _is_by_column(rows: dict[str, Any], columns: Columns) -> bool:
    kinds = {type(value) for value in rows.values()}
    if kinds == {dict}:
        return True
    lists = kinds == {list} and columns.knows(tuple(rows))
    return lists and not any(isinstance(value[0], dict) for value in rows.values() if value)


def _table(file: io.BufferedIOBase, columns: Columns, separator: str) -> Rows:
    lines = Lines(file)
    first = next(lines, "")
    while first and not first.strip(' ,;|"\t\r\n'):
        first = next(lines, "")
    if first.lower().startswith("sep=") and len(first.rstrip("\r\n")) == 5:  # Excel's own way to say it
        separator = first[4]
        first = next(lines, "")
    else:
        separator = _separator(first, separator, columns)
    header: Header | None = None
    for number, cells in _cells(lines, first, separator):
        try:
            if isinstance(cells, BadRow):
                raise cells
            if header is None:
                header = _header(cells, separator, columns)
                continue
            row: Any = header.row(cells)
        except BadRow as bad:
            if header is None:
                raise
            row = bad
        yield number, row


def _separator(line: str, usual: str, columns: Columns) -> str:
    """What stands between columns, as the header shows, whatever the file's name: Excel writes what its country does."""
    for separator in (usual, *(other for other in _SEPARATORS if other != usual)):
        try:
            names = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            continue
        if columns.knows(_stripped(names)):
            return separator
    return usual


def _cells(lines: Lines, ahead: str, separator: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Line and cells of each row that is not blank.

    Args:
        ahead: the line that was read already.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))  # the whole process's: only ever raised
    reader = csv.reader(chain((ahead,), lines), delimiter=separator, strict=True)
    first = lines.number
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, BadRow(f"not CSV{f' up to line {lines.number}' if lines.number > first else ''}: {error}")
        except BadRow as bad:
            yield first, bad
        else:
            if any(cell and not cell.isspace() for cell in cells):
                yield first, cells
        lines.held, first = 0, lines.number + 1


def _stripped(cells: Sequence[str]) -> list[str]:
    return [name.strip() for name in cells]


class Header(NamedTuple):
    """A table's columns.

    Attributes:
        names: each once.
        least: so many cells a row has; behind them only columns without a name follow.
    """

    names: list[str]
    least: int

    def row(self, cells: Sequence[str]) -> TextRow:
        """Cells by name. Blank ones behind the last column, as in a spreadsheet's wider rows, are none.

        Raises:
            BadRow: there are too few or too many.
        """
        if len(cells) < self.least or any(map(str.strip, cells[len(self.names) :])):
            hint = "a text with a separator or a line break in it needs quotes"
            raise BadRow(f"has {len(cells)} fields, the header {len(self.names)}", hint=hint)
        return TextRow(((name, text) for name, text in zip(self.names, cells, strict=False) if text), self.names)


def _header(cells: Sequence[str], separator: str, columns: Columns) -> Header:
    """The columns. Those that nobody reads may be blank or come twice, and get names of their own.

    Raises:
        BadRow: none could be a case's, or one that is read comes twice.
    """
    names = _stripped(cells)
    if not columns.knows(names):
        raise BadRow(
            f"its header {reprlib.repr(names)} has neither 'request' nor 'response'",
            hint=f"not separated by {_SEPARATORS.get(separator, separator)}? or say which it is: --column request=NAME",
        )
    unique: list[str] = []
    for number, name in enumerate(names, 1):
        unique.append(name if name not in unique else f"{name or 'column'} {number}")
    for name in columns.read(unique):
        if name and names.count(name) > 1:
            raise BadRow(f"its header has the column {reprlib.repr(name)} twice", hint="give one of them another name")
    return Header(unique, max(number for number, name in enumerate(names, 1) if name))


_READERS: dict[str, Callable[[io.BufferedIOBase, Columns], Rows]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": partial(_table, separator=","),
    ".tsv": partial(_table, separator="\t"),
}
KINDS = tuple(_READERS)
