"""Cases: requests with what is known to be right, read a row at a time from JSON Lines or CSV files.

A bad row is named by file, line and field. Files are streamed, so one that is larger than memory is no trouble; only a
digest of each id is kept, to refuse an id that comes twice.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conscience.errors import CaseError

Label = Literal["aligned", "misaligned"]
LONGEST_LINE = 8 << 20
"""Bytes; a longer line is a bad row, and is never held in memory."""

ROLES = ("system", "developer", "user", "assistant", "tool")


class Case(BaseModel):
    """One case.

    Attributes:
        id: unique in a file; made from the content where a row has none.
        request: a text or chat messages; may be empty where a response is given.
        response: a given response to judge; None where the program is to answer.
        reasoning: the reasoning behind the given response.
        label: whether the given response is acceptable (aligned) or not (misaligned).
        oracle: name of the oracle that decides about answers to this case.
        references: right revisions, written by people.
        choices: for multiple choice, the answers to choose from.
        answer: index of the right choice.
        request_safe: whether the request should be answered rather than refused.
        group: the category to hold out when generalisation is measured.
        pair: cases of one pair stay on one side of every split.
        weight: how much the case counts; above 0.
        source: where it comes from.
        meta: every other column.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=200)
    request: str | tuple[dict[str, Any], ...] = ""
    response: str | None = None
    reasoning: str = ""
    label: Label | None = None
    oracle: str | None = None
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: int | None = Field(default=None, ge=0)
    request_safe: bool | None = None
    group: str | None = None
    pair: str | None = None
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    source: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @property
    def misaligned(self) -> bool | None:
        """The label as a truth value; None without one."""
        return None if self.label is None else self.label == "misaligned"

    @model_validator(mode="after")
    def _sensible(self) -> Case:
        if not isinstance(self.request, str):
            for position, message in enumerate(self.request):
                if message.get("role") not in ROLES:
                    raise ValueError(f"request[{position}] has no role among {', '.join(ROLES)}")
        if not self.request and not (self.response or "").strip():
            raise ValueError("it has neither a request nor a response")
        if self.answer is not None and self.answer >= len(self.choices):
            raise ValueError(f"answer {self.answer} is no index into {len(self.choices)} choices")
        return self


def iter_cases(
    source: str | Path | Iterable[str | Path],
    *,
    skip_bad: bool = False,
    on_bad: Callable[[CaseError], None] | None = None,
    limit: int | None = None,
) -> Iterator[Case]:
    """The cases of one file or of several, one at a time.

    Args:
        source: .jsonl, .ndjson, .json, .csv or .tsv files, each perhaps with .gz after it.
        skip_bad: goes on after a bad row instead of raising.
        on_bad: is told each bad row that was skipped.
        limit: stops after so many cases.

    Raises:
        CaseError: a file cannot be read, or a row is bad and ``skip_bad`` is off.
    """
    paths = [source] if isinstance(source, str | Path) else list(source)
    seen: dict[bytes, str] = {}
    count = 0
    for path in map(Path, paths):
        for place, row in _rows(path):
            if limit is not None and count >= limit:
                return
            try:
                if isinstance(row, CaseError):
                    raise row
                case = _case(row, place)
                digest = hashlib.blake2b(case.id.encode(), digest_size=8).digest()
                if digest in seen:
                    raise CaseError(f"{place}: field 'id': {case.id!r} was already used at {seen[digest]}")
                seen[digest] = place
            except CaseError as error:
                if not skip_bad:
                    raise
                if on_bad is not None:
                    on_bad(error)
                continue
            count += 1
            yield case


def load_cases(source: str | Path | Iterable[str | Path], **options: Any) -> list[Case]:
    """``iter_cases`` as a list."""
    return list(iter_cases(source, **options))


_LISTS = ("references", "choices")


def _case(row: Any, place: str) -> Case:
    if not isinstance(row, Mapping):
        raise CaseError(f"{place}: holds {type(row).__name__}, not an object of fields")
    known = {k: v for k, v in row.items() if k in Case.model_fields and v is not None and k != "meta"}
    meta = {k: v for k, v in row.items() if k not in Case.model_fields}
    text = json.dumps(row, sort_keys=True, ensure_ascii=True, default=str)
    if "\\u0000" in text:
        raise CaseError(f"{place}: field {_holding(row, chr(0))!r}: holds a NUL byte")
    if (bad := _surrogate(row)) is not None:
        raise CaseError(f"{place}: field {bad!r}: holds a lone surrogate")
    known.setdefault("id", hashlib.blake2b(text.encode(), digest_size=6).hexdigest())
    if isinstance(known["id"], int):
        known["id"] = str(known["id"])
    try:
        return Case.model_validate(known | {"meta": {**meta, **dict(row.get("meta") or {})}})
    except (ValidationError, ValueError, TypeError) as error:
        if not isinstance(error, ValidationError):
            raise CaseError(f"{place}: field 'meta': {error}") from None
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "row"
        said = str(first["msg"]).removeprefix("Value error, ")
        raise CaseError(f"{place}: field {field!r}: {said}") from None


def _holding(row: Mapping[str, Any], what: str) -> str:
    return next((str(k) for k, v in row.items() if what in f"{k}{v}"), "row")


def _surrogate(row: Mapping[str, Any]) -> str | None:
    for key, value in row.items():
        text = f"{key}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            return key.encode("utf-8", "replace").decode()
    return None


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) for each row; a row that cannot be parsed comes as the error that it is."""
    suffixes = [s.lower() for s in path.suffixes]
    kind = next((s for s in reversed(suffixes) if s != ".gz"), "")
    if kind not in (".jsonl", ".ndjson", ".json", ".csv", ".tsv"):
        raise CaseError(f"{path}: unknown kind of file {path.suffix!r}", hint="use .jsonl, .json, .csv or .tsv")
    try:
        with gzip.open(path, "rb") if suffixes[-1] == ".gz" else path.open("rb") as file:
            if kind == ".json":
                yield from _json_rows(path, file.read(LONGEST_LINE * 8))
            elif kind in (".csv", ".tsv"):
                yield from _csv_rows(path, file, "\t" if kind == ".tsv" else ",")
            else:
                yield from _json_lines(path, file)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CaseError(f"{path}: cannot be read: {reason}") from None


def _json_lines(path: Path, file: Any) -> Iterator[tuple[str, Any]]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        place = f"{path}:{number}"
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            yield place, CaseError(f"{place}: longer than {LONGEST_LINE >> 20} MB")
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield place, _json(line, place)


def _json(data: bytes, place: str) -> Any:
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        return CaseError(f"{place}: not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return CaseError(f"{place}: not JSON: {error.msg} at column {error.colno}")
    except (RecursionError, ValueError) as error:
        return CaseError(f"{place}: not JSON: {error}")


def _json_rows(path: Path, data: bytes) -> Iterator[tuple[str, Any]]:
    rows = _json(data.removeprefix(b"\xef\xbb\xbf"), str(path))
    if isinstance(rows, CaseError):
        raise rows
    if not isinstance(rows, list):
        raise CaseError(f"{path}: holds {type(rows).__name__}, not a list of rows")
    for number, row in enumerate(rows, 1):
        yield f"{path}[{number}]", row


def _csv_rows(path: Path, file: Any, separator: str) -> Iterator[tuple[str, Any]]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", errors="surrogateescape")
    reader = csv.DictReader(text, delimiter=separator, strict=True)
    csv.field_size_limit(LONGEST_LINE)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield f"{path}:{reader.line_num}", CaseError(f"{path}:{reader.line_num}: not CSV: {error}")
            continue
        if row is None:
            return
        place = f"{path}:{reader.line_num}"
        if None in row or any(value is None for value in row.values()):
            yield place, CaseError(f"{place}: has not as many fields as the header")
            continue
        yield place, _typed(row)


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    """CSV knows only text: blanks are absent, lists are JSON or separated by '|', truth values are words."""
    typed: dict[str, Any] = {}
    for key, value in row.items():
        if value == "":
            continue
        if key in _LISTS:
            listed = _json(value.encode("utf-8", "replace"), "") if value.startswith("[") else value.split("|")
            typed[key] = value if isinstance(listed, CaseError) else listed
        elif key == "request" and value.startswith('[{"role"'):
            messages = _json(value.encode("utf-8", "replace"), "")
            typed[key] = value if isinstance(messages, CaseError) else messages
        else:
            typed[key] = value
    return typed
