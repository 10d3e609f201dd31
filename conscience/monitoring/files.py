"""Verdict logs as records: a file with those that were rotated away from it, read once or followed as it grows."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import orjson

from conscience.errors import InputError
from conscience.observability.record import VerdictRecord

LONGEST = 16 << 20
"""Bytes of a line beyond which it is no record."""
MOST_ROTATED = 10_000
"""Rotated files that are looked for."""

Paths = str | Path | Iterable[str | Path]
Tell = Callable[[str], None]


class LogReader:
    """The records of one log, oldest first: NAME.2.gz, NAME.1, NAME.

    Each call of ``records`` gives those that came since the one before, also over a rotation. Lines that are no record, as a
    crash or a full disk leaves them, are counted and passed over; so is a last line that is still being written.

    Args:
        path: of the file that is written to; one that was rotated away is read alone.
        since: the time from which on records are given.
        on_bad: is told each line that is no record, as "FILE: line 3: why".

    Raises:
        InputError: there is no such file, or it cannot be read.
    """

    def __init__(self, path: str | Path, *, since: datetime | None = None, on_bad: Tell | None = None) -> None:
        self.path = Path(path)
        self.bad = 0
        self.lost = 0
        self.since = None if since is None else in_utc(since)
        self._tell = on_bad
        self._read: dict[tuple[int, int], int] = {}  # device and inode → bytes read
        if self.path.is_dir():
            raise InputError(f"{path}: is a folder, not a log", hint="name the file that the program logs to")

    def records(self) -> Iterator[VerdictRecord]:
        """The records that are new."""
        with ExitStack() as opened:
            files = self._files(opened)
            present = {key for key, _, _ in files}
            self._read = {key: read for key, read in self._read.items() if key in present}
            for key, name, file in files:
                yield from self._records(key, name, file)

    def _files(self, opened: ExitStack) -> list[tuple[tuple[int, int], Path, IO[bytes]]]:
        """All files of the log, opened newest first, so that a rotation in between hides none; those read before are where
        the search ends."""
        found: dict[tuple[int, int], tuple[Path, IO[bytes]]] = {}
        missing = 0
        for number in range(1 if _is_rotated(self.path) else MOST_ROTATED):
            file = _opened(self.path, number, required=not number and not self._read)
            missing = missing + 1 if file is None else 0
            if missing > 1:  # one alone may be on its way to another name
                break
            if file is None:
                continue
            opened.enter_context(file)
            status = os.fstat(file.fileno())
            key = (status.st_dev, status.st_ino)
            found.setdefault(key, (Path(file.name), file))
            if key in self._read:
                break
        return [(key, name, file) for key, (name, file) in reversed(found.items())]

    def _records(self, key: tuple[int, int], name: Path, file: IO[bytes]) -> Iterator[VerdictRecord]:
        packed = name.suffix == ".gz"
        start = self._read.get(key, 0)
        size = os.fstat(file.fileno()).st_size
        if packed and start:
            return
        if start > size:  # it was cut off and begun anew
            start = 0
        self._read[key] = start
        file.seek(start)
        try:
            lines = gzip.GzipFile(fileobj=file) if packed else file
            for number, line, end in _lines(lines, start):
                record = self._record(line, name, number if not start else None)
                if record is None and not line.endswith(b"\n"):
                    break  # still being written
                self._read[key] = end
                if record is not None:
                    yield record
        except (OSError, EOFError, zlib.error) as error:
            self._is_bad(f"{name}: cannot be read to its end: {getattr(error, 'strerror', None) or error}")
        if packed:
            self._read[key] = max(1, size)

    def _record(self, line: bytes, name: Path, number: int | None) -> VerdictRecord | None:
        if not line.strip():
            return None
        try:
            if len(line) >= LONGEST:
                raise ValueError("too long")
            data = orjson.loads(line)
            if not isinstance(data, dict):
                raise ValueError("not an object")
            record = VerdictRecord.from_json(data)
            time = record.time
        except (ValueError, InputError) as error:
            if line.endswith(b"\n"):
                where = f"line {number}" if number else "a new line"
                why = error.message if isinstance(error, InputError) else "not a record of a verdict"
                self._is_bad(f"{name}: {where}: {why}")
            return None
        if self.since is not None and in_utc(time) < self.since:
            return None
        self.lost += record.lost
        return record

    def _is_bad(self, said: str) -> None:
        self.bad += 1
        if self._tell is not None:
            self._tell(said)


def read_log(paths: Paths, *, since: datetime | None = None, on_bad: Tell | None = None) -> Iterator[VerdictRecord]:
    """The records of a log, or of several one after the other; see ``LogReader``."""
    for reader in readers(paths, since=since, on_bad=on_bad):
        yield from reader.records()


def readers(paths: Paths, *, since: datetime | None = None, on_bad: Tell | None = None) -> list[LogReader]:
    """A reader for each log: of files of one log, as a shell's ``NAME*`` gives them, only for the one that is written to."""
    given: Sequence[Path] = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not given:
        raise InputError("no log is named")
    alone = [path for path in dict.fromkeys(given) if not (_is_rotated(path) and _base(path) in given)]
    return [LogReader(path, since=since, on_bad=on_bad) for path in alone]


def in_utc(time: datetime) -> datetime:
    """The time; without a zone it is UTC's."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_ROTATED = re.compile(r"(.+)\.(\d+)(\.gz)?$|(.+)\.gz$")


def _is_rotated(path: Path) -> bool:
    return _ROTATED.match(path.name) is not None


def _base(path: Path) -> Path:
    match = _ROTATED.match(path.name)
    return path.with_name(match[1] or match[4]) if match else path


def _opened(path: Path, number: int, *, required: bool) -> IO[bytes] | None:
    """The log's file of a number, 0 for the one that is written to; None where there is none.

    Raises:
        InputError: it is there, or has to be, and cannot be read.
    """
    names = [path] if not number else [path.with_name(f"{path.name}.{number}{end}") for end in ("", ".gz")]
    for name in names:
        try:
            return open(name, "rb")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if required:
        raise InputError(f"{path}: there is no such log", hint="name the file that the program logs to")
    return None


def _lines(file: IO[bytes] | gzip.GzipFile, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Number, line and where it ends; of a line that is too long the beginning alone."""
    number, end = 0, start
    while line := file.readline(LONGEST):
        number, end, whole = number + 1, end + len(line), line
        while len(line) >= LONGEST and not line.endswith(b"\n"):
            line = file.readline(LONGEST)
            end += len(line)
            whole = whole[: LONGEST - 1] + b"\n" if line.endswith(b"\n") else whole
            if not line:
                break
        yield number, whole, end
