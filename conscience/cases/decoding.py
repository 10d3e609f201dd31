"""Bytes of a case file as UTF-8: what Excel and Windows write besides, and files that are no text at all."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from itertools import chain
from typing import IO

from conscience._base.text import text_fault
from conscience.cases.rows import BadRow

LONGEST_LINE = 8 << 20
"""Bytes; a longer line, or row of several lines, is a bad row and is never held in memory."""
CHUNK = 1 << 16

Stream = IO[bytes] | gzip.GzipFile

AS_CSV = "save it as 'CSV UTF-8', or export .jsonl"
_IN_PANDAS = "in pandas: read it, then .to_json('cases.jsonl', orient='records', lines=True)"

UNREADABLE = {
    ".xlsx": ("an Excel workbook", AS_CSV),
    ".xlsm": ("an Excel workbook", AS_CSV),
    ".xlsb": ("an Excel workbook", AS_CSV),
    ".xls": ("an Excel workbook", AS_CSV),
    ".ods": ("a LibreOffice workbook", AS_CSV),
    ".numbers": ("a Numbers workbook", AS_CSV),
    ".arrow": ("an Arrow file", _IN_PANDAS),
    ".feather": ("an Arrow file", _IN_PANDAS),
    ".pkl": ("a pickle, which is never opened", _IN_PANDAS),
    ".pickle": ("a pickle, which is never opened", _IN_PANDAS),
    ".zip": ("a zip archive", "unpack it"),
    ".txt": ("a text file, which does not say how it is written", "name it .csv, .tsv or .jsonl, as it is inside"),
    ".yaml": ("a YAML file", "write .jsonl or .json"),
    ".yml": ("a YAML file", "write .jsonl or .json"),
}
"""Suffix → what people have instead of cases, and what to do about it."""

_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive", AS_CSV),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of old", AS_CSV),
    (b"PAR1", "a Parquet file", "name it .parquet"),
    (b"ARROW1", "an Arrow file", _IN_PANDAS),
    (b"\x1f\x8b", "packed with gzip", "add .gz to its name"),
    (b"%PDF-", "a PDF", AS_CSV),
    (b"<!DOCTYPE", "a web page", AS_CSV),
    (b"<html", "a web page", AS_CSV),
)

_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)


def as_utf8(file: Stream) -> io.BufferedReader:
    """The file without its byte order mark, its lines ended by \\n; UTF-16 and UTF-32 are recoded as they are read.

    Raises:
        BadRow: it is no text, and what to do.
    """
    head = file.read(CHUNK)
    for magic, kind, hint in _MAGIC:
        if head.startswith(magic):
            raise BadRow(f"is {kind}, whatever its name says", hint=hint)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))
    if not mark and len(head) > 2 and b"\0" in head[:2]:
        raise BadRow("looks like UTF-16 without a byte order mark", hint="save it as UTF-8")
    chunks = chain((head[len(mark) :],), iter(lambda: file.read(CHUNK), b""))
    return io.BufferedReader(_Chunks(_line_ends(chunks if encoding == "utf-8" else _recoded(chunks, encoding))), CHUNK)


def _recoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        decoder.decode(b"", final=True)
    except UnicodeError:
        raise BadRow(f"is not the {encoding[:6].upper()} that its first bytes say", hint="save it as UTF-8") from None


def _line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end by \\r alone, as on old Macs, end by \\n."""
    first = next(chunks, b"")
    old = b"\r" in first[:-1] and b"\n" not in first
    for chunk in chain((first,), chunks):
        yield chunk.replace(b"\r", b"\n") if old else chunk


class _Chunks(io.RawIOBase):
    """Chunks of any length as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


class Lines:
    """The lines of a file as text. A line that cannot be used raises, and the next call goes on behind it."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file = file
        self.number = 0
        self.held = 0  # bytes of the row that is being read; the reader sets it back

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self.file.readline(LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.held += len(line)
        if self.held > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = self.file.readline(CHUNK)
            raise BadRow(f"longer than {LONGEST_LINE >> 20} MB")
        return decoded(line)


def decoded(data: bytes) -> str:
    """Bytes as text.

    Raises:
        BadRow: they are not UTF-8, or hold what no provider can receive.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8 (in Excel: 'CSV UTF-8'; in pandas: read_csv(…, encoding='cp1252') and write it anew)"
        raise BadRow(f"not UTF-8 at byte {error.start + 1}", hint=hint) from None
    if fault := text_fault(text):
        raise BadRow(fault)
    return text
