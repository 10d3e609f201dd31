"""Where rows come from: files, folders, the built-in packs and Hugging Face datasets, a row at a time.

Nothing here knows what a row means. What cannot be parsed comes as a ``BadRow`` in its place, so that a reader may go on.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import reprlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO, Any, NamedTuple

from conscience._base.files import RepeatedKey, parse_json
from conscience._base.text import text_fault
from conscience.errors import CaseError, ConfigurationError

PACKS = ("general", "medical", "code", "hiring")
"""The built-in packs, one for each built-in constitution; ``pack:NAME`` reads one."""

LONGEST_LINE = 8 << 20
"""Bytes; a longer line, or row of several lines, is a bad row and is never held in memory."""
LARGEST_LIST = 64 << 20
"""Bytes; a .json file has to be read whole, so a larger one is refused."""


class BadRow(Exception):
    """What is wrong with a row, or, raised by a reader, with its whole source; the place is added by who knows it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


Stream = IO[bytes] | gzip.GzipFile
Rows = Iterator[tuple[int, Any]]
"""(line or number, row); a row that could not be parsed comes as a ``BadRow``."""


class Input(NamedTuple):
    """One file, pack or dataset, not yet opened.

    Attributes:
        name: what messages call it.
        mark: what stands between the name and a row's number: "FILE:3", "hf:NAME row 3".
        read: opens it and gives its rows.
    """

    name: str
    mark: str
    read: Callable[[], Rows]

    def place(self, number: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.name}{self.mark}{number}"

    def rows(self) -> Rows:
        """Its rows, one at a time.

        Raises:
            CaseError: it cannot be read.
        """
        try:
            yield from self.read()
        except BadRow as bad:
            raise CaseError(f"{self.name}: {bad}", hint=bad.hint) from None
        except (OSError, EOFError, zlib.error) as error:
            raise CaseError(f"{self.name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def inputs(source: str | Path | Iterable[Any]) -> Iterator[Input]:
    """The inputs that a source stands for, or several of them; see ``iter_cases``.

    Raises:
        CaseError: a pack that does not exist, or a folder without cases.
    """
    if not isinstance(source, str | Path):
        for part in source:
            yield from inputs(part)
    elif str(source).startswith("pack:"):
        yield _pack(str(source))
    elif str(source).startswith("hf:"):
        yield Input(str(source), " row ", partial(_hub_rows, str(source)))
    elif os.path.isdir(source):
        yield from _folder(Path(source))
    else:
        yield _file(Path(source))


def _pack(source: str) -> Input:
    name = source.removeprefix("pack:")
    if name not in PACKS:
        raise CaseError(f"{source}: there is no such pack", hint=f"one of {', '.join(PACKS)}")
    path = resources.files("conscience.cases") / "packs" / f"{name}.jsonl"
    return Input(source, ":", partial(_file_rows, path))


def _folder(path: Path) -> Iterator[Input]:
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise CaseError(f"{path}: cannot be read: {error.strerror}") from None
    if "state.json" in names or "dataset_dict.json" in names:
        yield Input(str(path), " row ", partial(_saved_rows, path))
        return
    files = [path / name for name in names if _kind(name) in (".jsonl", ".ndjson")]
    if not files:
        raise CaseError(f"{path}: holds neither .jsonl files nor a saved dataset")
    for file in files:
        yield _file(file)


def _file(path: Path) -> Input:
    return Input(str(path), " row " if _kind(path.name) == ".json" else ":", partial(_file_rows, path))


def _kind(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _file_rows(path: Path | Traversable) -> Rows:
    kind = _kind(path.name)
    if kind not in _READERS:
        raise BadRow(f"unknown kind of file {kind!r}", hint=f"use one of {', '.join(_READERS)}, perhaps with .gz after it")
    try:
        raw = path.open("rb")
    except ValueError as error:  # a path with a NUL byte
        raise BadRow(f"cannot be opened: {error}") from None
    with raw, gzip.open(raw) if path.name.lower().endswith(".gz") else nullcontext(raw) as file:
        yield from _READERS[kind](file)


class _Lines:
    """The lines of a file as text. A line that cannot be used raises, and the next call goes on behind it."""

    def __init__(self, file: Stream) -> None:
        self.file = file
        self.number = 0
        self.held = 0  # bytes of the row that is being read; the reader sets it back

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.file.readline(LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.held += len(line)
        if self.held > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = self.file.readline(1 << 16)
            raise BadRow(f"longer than {LONGEST_LINE >> 20} MB")
        if self.number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        return _decoded(line)


def _decoded(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 at byte {error.start + 1}", hint="save it as UTF-8") from None
    if fault := text_fault(text):
        raise BadRow(fault)
    return text


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        line = f" of line {error.lineno}" if error.lineno > 1 else ""
        raise BadRow(f"not JSON: {error.msg} at column {error.colno}{line}") from None
    except RepeatedKey as error:
        raise BadRow(f"field {reprlib.repr(error.key)}: comes twice") from None
    except ValueError as error:
        raise BadRow(f"not JSON that can be read: {error}") from None


def _json_lines(file: Stream) -> Rows:
    lines = _Lines(file)
    while True:
        lines.held = 0
        try:
            line = next(lines)
            if line.strip():
                yield lines.number, _parsed(line)
        except StopIteration:
            return
        except BadRow as bad:
            yield lines.number, bad


def _json_list(file: Stream) -> Rows:
    data = file.read(LARGEST_LIST + 1)
    if len(data) > LARGEST_LIST:
        raise BadRow(f"larger than {LARGEST_LIST >> 20} MB", hint="use .jsonl, a row a line, which is streamed")
    rows = _parsed(_decoded(data.removeprefix(b"\xef\xbb\xbf")))
    if not isinstance(rows, list):
        raise BadRow(f"{reprlib.repr(rows)} is not a list of rows", hint="use .jsonl for a row a line")
    yield from enumerate(rows, 1)


def _csv_rows(file: Stream, separator: str) -> Rows:
    header: list[str] = []
    for number, cells in _csv_cells(file, separator):
        try:
            if isinstance(cells, BadRow):
                raise cells
            if not header:
                header = _header(cells)
                continue
            row: Any = _typed(header, cells)
        except BadRow as bad:
            if not header:
                raise
            row = bad
        yield number, row


def _csv_cells(file: Stream, separator: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))  # the whole process's: only ever raised
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.held, first = 0, lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, BadRow(f"not CSV{f' up to line {lines.number}' if lines.number > first else ''}: {error}")
        except BadRow as bad:
            yield first, bad
        else:
            if cells:
                yield first, cells


def _header(cells: Sequence[str]) -> list[str]:
    names = [name.strip() for name in cells]
    if not {"request", "response"} & set(names):
        raise BadRow(f"its header {reprlib.repr(names)} has neither 'request' nor 'response'", hint="separated otherwise?")
    if (twice := _twice(names)) is not None:
        raise BadRow(f"its header has the column {reprlib.repr(twice)} twice")
    return names


def _twice(names: Iterable[str]) -> str | None:
    """The first name that was there before."""
    met: set[str] = set()
    for name in names:
        if name in met:
            return name
        met.add(name)
    return None


def _typed(header: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """CSV knows only text: a blank is absent, lists are JSON or separated by '|', messages and meta are JSON."""
    if len(cells) != len(header):
        raise BadRow(f"has {len(cells)} fields, the header {len(header)}")
    row: dict[str, Any] = {}
    for name, text in zip(header, cells, strict=True):
        if name in ("references", "choices") and text:
            row[name] = _parsed(text) if text.startswith('["') else [part.strip() for part in text.split("|")]
        elif (name == "meta" and text) or (name == "request" and text.startswith('[{"')):
            row[name] = _parsed(text)
        elif text:
            row[name] = text
    return row


_READERS: dict[str, Callable[[Stream], Rows]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": partial(_csv_rows, separator=","),
    ".tsv": partial(_csv_rows, separator="\t"),
}


def _hub_rows(source: str) -> Rows:
    name, _, split = source.removeprefix("hf:").partition(":")
    load = partial(_datasets().load_dataset, name, split=split or None, streaming=True)
    return _dataset_rows(load, f"name one, as in hf:{name}:SPLIT")


def _saved_rows(path: Path) -> Rows:
    return _dataset_rows(partial(_datasets().load_from_disk, str(path)), f"name one, as in {path / 'SPLIT'}")


def _datasets() -> Any:
    try:
        return import_module("datasets")
    except ImportError:
        hint = "run: pip install 'dspy-conscience[datasets]'"
        raise ConfigurationError("reading a Hugging Face dataset needs the package 'datasets'", hint=hint) from None


def _dataset_rows(load: Callable[[], Any], hint: str) -> Rows:
    try:
        data = load()
        if isinstance(data, dict):
            if len(data) != 1:
                raise BadRow(f"has the splits {', '.join(map(str, data))}", hint=hint)
            (data,) = data.values()
        classes = {name: kind.int2str for name, kind in (data.features or {}).items() if hasattr(kind, "int2str")}
        for number, row in enumerate(data, 1):
            named = {name: text(row[name]) if (row[name] or 0) >= 0 else None for name, text in classes.items()}
            yield number, row | named
    except (_datasets().exceptions.DatasetsError, RuntimeError, ValueError) as error:
        raise BadRow(f"cannot be read: {error}") from None
