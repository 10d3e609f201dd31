"""Where rows come from: files, folders, the built-in packs and Hugging Face datasets, a row at a time.

Nothing here knows what a row means. What cannot be parsed comes as a ``BadRow`` in its place, so that a reader may go on.
"""

from __future__ import annotations

import gzip
import os
import reprlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from conscience.cases.columns import Columns
from conscience.cases.decoding import UNREADABLE
from conscience.cases.formats import KINDS, read_rows
from conscience.cases.parquet import parquet_rows
from conscience.cases.rows import BadRow, Rows
from conscience.errors import CaseError, ConfigurationError

PACKS = ("general", "medical", "code", "hiring", "code-requests", "code-hacking")
"""The built-in packs; ``pack:NAME`` reads one. There is one for each built-in constitution, and two more for code."""


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


Sources = str | Path | Iterable[str | Path | Mapping[str, Any]]
"""A file, a folder, ``pack:NAME`` or ``hf:NAME``; several of these; or rows: a data frame, its records, a loaded dataset."""


def inputs(source: Sources, columns: Columns) -> Iterator[Input]:
    """The inputs that a source stands for, or several of them; see ``iter_cases``.

    Args:
        columns: tells a table's header from other lines.

    Raises:
        CaseError: a pack that does not exist, or a folder without cases.
    """
    if type(source).__module__.startswith("datasets."):
        yield Input("dataset", " row ", partial(_dataset_rows, lambda: source, "name one, as in data['SPLIT']"))
        return
    for frame in ("to_dicts", "to_pylist"):  # of Polars and Arrow
        if callable(rows := getattr(source, frame, None)):
            source = rows()
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # pandas' data frame, whose iteration gives names
        source = source.to_dict("records")
    if isinstance(source, Mapping):
        source = (source,)
    if not isinstance(source, str | Path | Iterable):
        raise CaseError(f"{reprlib.repr(source)} holds no cases", hint="a file, or rows: mappings, a data frame")
    if not isinstance(source, str | Path):
        parts = iter(source)
        for part in parts:
            if isinstance(part, Mapping):
                yield Input("rows", " row ", partial(enumerate, chain((part,), parts), 1))
            else:
                yield from inputs(part, columns)
    elif str(source).startswith("pack:"):
        yield _pack(str(source), columns)
    elif str(source).startswith("hf:"):
        yield Input(str(source), " row ", partial(_hub_rows, str(source)))
    elif os.path.isdir(source):
        yield from _folder(Path(source), columns)
    else:
        yield _file(Path(source), columns)


def _pack(source: str, columns: Columns) -> Input:
    name = source.removeprefix("pack:")
    if name not in PACKS:
        raise CaseError(f"{source}: there is no such pack", hint=f"one of {', '.join(PACKS)}")
    path = resources.files("conscience.cases") / "packs" / f"{name}.jsonl"
    return Input(source, ":", partial(_file_rows, path, columns))


def _folder(path: Path, columns: Columns) -> Iterator[Input]:
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise CaseError(f"{path}: cannot be read: {error.strerror}") from None
    if "state.json" in names or "dataset_dict.json" in names:
        yield Input(str(path), " row ", partial(_saved_rows, path))
        return
    files = [path / name for name in names if _kind(name) in (".jsonl", ".ndjson", ".parquet")]
    if not files:
        raise CaseError(f"{path}: holds neither .jsonl nor .parquet files nor a saved dataset", hint="name the files")
    for file in files:
        yield _file(file, columns)


def _file(path: Path, columns: Columns) -> Input:
    if path.name.lower().endswith(".parquet"):
        return Input(str(path), " row ", partial(parquet_rows, path))
    return Input(str(path), " row " if _kind(path.name) == ".json" else ":", partial(_file_rows, path, columns))


def _kind(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _file_rows(path: Path | Traversable, columns: Columns) -> Rows:
    kind = _kind(path.name)
    if kind in UNREADABLE:
        what, hint = UNREADABLE[kind]
        raise BadRow(f"is {what}", hint=hint)
    if kind not in KINDS:
        raise BadRow(f"unknown kind of file {kind!r}", hint=f"use one of {', '.join(KINDS)}, perhaps with .gz after it")
    try:
        raw = path.open("rb")
    except ValueError as error:  # a path with a NUL byte
        raise BadRow(f"cannot be opened: {error}") from None
    with raw, gzip.open(raw) if path.name.lower().endswith(".gz") else nullcontext(raw) as file:
        yield from read_rows(kind, file, columns)


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
            named = {name: None if _is_unlabelled(row[name]) else text(int(row[name])) for name, text in classes.items()}
            yield number, row | named
    except (_datasets().exceptions.DatasetsError, RuntimeError, ValueError) as error:
        raise BadRow(f"cannot be read: {error}") from None


def _is_unlabelled(value: Any) -> bool:
    return value is None or value < 0  # a test split hides its classes behind -1
