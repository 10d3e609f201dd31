"""A file that several processes append lines to, and that makes room for itself by rotation.

Whoever writes opens the file, takes the operating system's lock on it, and lets go of both: nothing is held in between, so a
fork, a ``logrotate`` or a file that somebody removed needs no care. ``NAME`` becomes ``NAME.1``, that ``NAME.2``, and so on.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_FLAGS = os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
_TRIES = 100


class PartlyWritten(OSError):
    """Only the first lines were written.

    Attributes:
        lines: how many.
    """

    def __init__(self, cause: OSError, lines: int) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.lines = lines


def append_lines(path: Path, lines: Sequence[bytes], *, max_bytes: int, keep: int) -> bool:
    """Appends whole lines, each with its line feed.

    Args:
        path: the file; made for this user alone where it is missing.
        max_bytes: the file is rotated before it would grow beyond.
        keep: rotated files that are kept.

    Returns:
        Whether it could be rotated where it had to be; it grows on where not, as in a folder that is somebody else's.

    Raises:
        PartlyWritten: the disk is full, or the file cannot be written; no line of it is torn.
    """
    done, rotates = 0, True
    try:
        while done < len(lines):
            with _locked(path) as file:
                done += _append(file, lines[done:], max_bytes if rotates else sys.maxsize)
                if done < len(lines):
                    rotates = _rotate(path, file, keep)
    except OSError as error:
        done += error.lines if isinstance(error, PartlyWritten) else 0
        raise PartlyWritten(error, done) from None
    return rotates


def check_appendable(path: Path) -> None:
    """Makes the file where it is missing.

    Raises:
        OSError: lines cannot be appended to it.
    """
    os.close(_open(path))


def _append(file: int, lines: Sequence[bytes], max_bytes: int) -> int:
    """Writes those lines that the file has room for; how many. A first line always has room in an empty file."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        _write_all(file, b"".join(lines))
        return len(lines)
    torn = status.st_size > 0 and _last_byte(file) != b"\n"  # by a process that died
    size, count = status.st_size, 0
    while count < len(lines) and (not size or size + len(lines[count]) <= max_bytes):
        size += len(lines[count])
        count += 1
    if not count:
        return 0
    begin = status.st_size
    if torn:
        _write_all(file, b"\n")
        begin += 1
    try:
        _write_all(file, b"".join(lines[:count]))
    except OSError as error:
        whole, left = 0, os.fstat(file).st_size - begin
        while whole < count and left >= len(lines[whole]):
            left -= len(lines[whole])
            whole += 1
        if left > 0:
            os.ftruncate(file, os.fstat(file).st_size - left)
        raise PartlyWritten(error, whole) from None
    return count


def _last_byte(file: int) -> bytes:
    os.lseek(file, -1, os.SEEK_END)
    return os.read(file, 1)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _rotate(path: Path, file: int, keep: int) -> bool:
    """Moves the file, whose lock we hold, out of the way; the next one gets its rights. False where it must stay."""
    try:
        for number in range(keep, 1, -1):
            older = path.with_name(f"{path.name}.{number - 1}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number}"))
        path.replace(path.with_name(f"{path.name}.1"))
    except OSError:
        return False
    new = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    if hasattr(os, "fchmod"):
        os.fchmod(new, stat.S_IMODE(os.fstat(file).st_mode))
    os.close(new)
    return True


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open and ours alone."""
    for _ in range(_TRIES):
        file = _open(path)
        try:
            _lock(file)
            if _is_at(file, path):
                yield file
                return
        finally:
            os.close(file)  # and the lock with it
    raise OSError(0, "the file is replaced again and again")


def _open(path: Path) -> int:
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = True
    return os.open(path, (os.O_RDWR | os.O_CREAT if regular else os.O_WRONLY) | _FLAGS, 0o600)


def _lock(file: int) -> None:
    if sys.platform == "win32":
        return  # appending is atomic enough there, and a rotation fails where another process has the file open
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks: lines of two processes still do not mix, since each write appends


def _is_at(file: int, path: Path) -> bool:
    """Whether the file is still the one of this name: another process may have rotated it while we waited."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
