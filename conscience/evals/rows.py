"""The rows of a run on disk: a line of JSON each, in parts where there are many.

The first part has the name that was asked for, such as ``rows.jsonl``. One that has reached ``PART`` is closed, and rows
go on in ``rows-2.jsonl``, ``rows-3.jsonl`` and so on. The order of the lines says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import orjson

from conscience._base.files import append_line, write_atomic
from conscience.backends.storage.keyset import KeySet
from conscience.errors import InputError

PART = 256 << 20
"""Bytes after which the rows of a run go on in another file: few enough to open one, and to write it anew."""

_BEGINS = b'{"id":'
"""How each record does."""
_LONG_NUMBER = re.compile(rb"\d{19}")


def parts(path: Path) -> list[Path]:
    """The files that hold rows, in order: those of ``path`` and of its later parts that are there."""
    found: list[Path] = []
    while (part := _part(path, len(found) + 1)).exists():
        found.append(part)
    return found


def lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Place ("rows.jsonl:3") and text of every line in all parts, streamed, each with its line feed.

    A part's last line may lack its line feed: it is being written just now, or was when its process was killed.
    """
    for part in parts(path):
        with part.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield f"{part}:{number}", line


def parse(line: bytes) -> Any:
    """The value of a line that ``dumped`` wrote.

    Raises:
        ValueError: it is not JSON.
    """
    if not _LONG_NUMBER.search(line):  # which orjson reads inexactly
        with suppress(ValueError):  # half of a surrogate pair
            return orjson.loads(line)
    return json.loads(line)


def dumped(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON, without its line feed."""
    try:
        return orjson.dumps(row).decode()
    except TypeError:  # whole numbers beyond 64 bits, half of a surrogate pair
        return json.dumps(row)


class LineFile:
    """A file that lines are added to; each is there whole or not at all.

    Args:
        path: its folder exists.
        mode: "ab" to go on with what is there, "wb" to begin anew.
        part: bytes after which lines go on in another part; None: never.

    Raises:
        InputError: the file cannot be opened, or (from ``add``) not be written.
    """

    def __init__(self, path: Path, mode: Literal["ab", "wb"], part: int | None = None) -> None:
        self._first = path
        self._part = part
        self._number = max(1, len(parts(path))) if part is not None else 1
        self._open(mode)

    def _open(self, mode: Literal["ab", "wb"]) -> None:
        self._path = _part(self._first, self._number)
        try:
            self._file = self._path.open(mode, buffering=0)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from None
        self._size = self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, line: str) -> None:
        """Writes a line, with its line feed."""
        if self._part is not None and self._size >= self._part:
            self._file.close()
            self._number += 1
            self._open("ab")
        data = f"{line}\n".encode()
        self._size = append_line(self._file.fileno(), data, self._path) + len(data)


class Finished(NamedTuple):
    """What a run has done so far.

    Attributes:
        keys: of the records; failed cases are not among them.
        dollars: what they cost.
        flagged: how many of them say that a text was flagged.
        reviewers: by whom their verdicts are, as far as they say so.
    """

    keys: KeySet
    dollars: float
    flagged: int
    reviewers: frozenset[str]


def finished(path: Path, *, in_parts: bool = False) -> Finished:
    """What stands in a file of records. A torn last line and failed cases are taken out of it.

    Args:
        in_parts: whether files beside it with a number in their names are its parts.

    Raises:
        InputError: a file is not one of records, or cannot be used.
    """
    keys, dollars, flagged, reviewers = KeySet(), 0.0, 0, set[str]()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for part in parts(path)[: None if in_parts else 1]:
            is_whole = True
            with part.open("rb") as file:
                for number, line in enumerate(file, 1):
                    done = _done(line, part, number)
                    is_whole &= done is not None and line.endswith(b"\n")
                    if done is not None:
                        keys.add(done.key)
                        dollars += done.dollars
                        flagged += done.flagged
                        reviewers.add(done.reviewer)
            if not is_whole:
                write_atomic(part, _done_lines(part))
    except OSError as error:
        raise InputError(f"{path}: cannot be used: {error.strerror}", hint="choose another --out") from None
    return Finished(keys, dollars, flagged, frozenset(filter(None, reviewers)))


class _Done(NamedTuple):
    """The parts of a finished record that any kind of it has."""

    key: str
    dollars: float
    flagged: bool
    reviewer: str


def _done(line: bytes, part: Path, number: int) -> _Done | None:
    """What a line says of a finished record; None for a failed case, and for a line that was torn.

    Raises:
        InputError: it is another file's.
    """
    try:
        row = parse(line)
        key = row["key"]
        if "error" in row:
            return None
        dollars = row["usage"]["dollars"] if "usage" in row else row.get("dollars", 0.0)
        return _Done(key, dollars, bool(row.get("flagged")), row.get("reviewer", ""))
    except (ValueError, KeyError, TypeError):
        if _is_torn(line, number):
            return None
        raise InputError(f"{part}:{number}: not a row of a run", hint="choose another --out") from None


def _is_torn(line: bytes, number: int) -> bool:
    """Whether a line is what is left of a record: others stand before it, or it begins as records do."""
    begins = line.startswith(_BEGINS) or _BEGINS.startswith(line)
    if line.endswith(b"\n") or (number == 1 and not begins):
        return False
    with suppress(ValueError):
        parse(line)
        return False  # whole, and no record
    return True


def _done_lines(part: Path) -> Iterator[bytes]:
    with part.open("rb") as file:
        for number, line in enumerate(file, 1):
            if _done(line, part, number) is not None:
                yield line if line.endswith(b"\n") else line + b"\n"


def _part(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
