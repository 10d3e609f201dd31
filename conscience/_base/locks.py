"""One process at a time: who writes to a folder or a file holds a lock on it, and whoever comes second is told who that is.

The lock is the operating system's, so it ends with the process that holds it, however that ends. Where a file system knows
no locks (some network ones), the file that names the holder stands for it: on the same machine one of a dead process counts
for nothing; of another machine only a person can tell.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path

from conscience._base.forks import after_fork
from conscience.errors import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_UNKNOWN_HERE = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""What a file system says that knows no locks."""

_mine: ContextVar[frozenset[str]] = ContextVar("conscience_locks", default=frozenset())
_open_files: set[int] = set()


def _after_fork() -> None:
    """A lock belongs to whoever took it; a child that lives longer than its parent must not keep it."""
    for file in _open_files:
        try:
            os.close(file)
        except OSError:  # it was being closed when the process forked
            pass
    _open_files.clear()
    _mine.set(frozenset())


after_fork(_after_fork)


def locked_folder(folder: Path) -> AbstractContextManager[None]:
    """Holds the lock on a folder, by the file ``lock`` in it; makes the folder. What runs inside may take the lock again.

    Raises:
        InputError: another process, or another run in this one, holds it; or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be used: {error.strerror or error}") from None
    return _locked(folder, folder / "lock", "choose another folder")


def locked_file(path: Path) -> AbstractContextManager[None]:
    """The same for a file, by ``.NAME.lock`` beside it; makes no folder."""
    return _locked(path, path.with_name(f".{path.name}.lock"), "work on a copy")


@contextmanager
def _locked(path: Path, lock: Path, otherwise: str) -> Iterator[None]:
    name = os.path.realpath(lock)
    if name in _mine.get():
        yield
        return
    try:
        file = _taken(lock)
    except OSError as error:
        raise InputError(f"{path}: cannot be used: {error.strerror or error}") from None
    if file is None:
        raise InputError(f"{path} is in use by {_holder(lock)}", hint=f"wait until it has ended, or {otherwise}")
    owner, token = os.getpid(), _mine.set(_mine.get() | {name})
    try:
        yield
    finally:
        if os.getpid() == owner:
            _mine.reset(token)
            _open_files.discard(file)
            lock.unlink(missing_ok=True)  # before it is let go: nobody can have taken it yet
            os.close(file)


def _taken(lock: Path) -> int | None:
    """The descriptor of a lock that is now ours; None where somebody has it."""
    while True:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
            is_new = True
        except FileExistsError:
            try:
                file = os.open(lock, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
            except FileNotFoundError:
                continue  # let go just now
            is_new = False
        _open_files.add(file)
        try:
            if not _lock(file, lock, is_new):
                _open_files.discard(file)
                os.close(file)
                return None
            if _is_at(file, lock):
                text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())})
                os.truncate(file, 0)
                os.pwrite(file, text.encode(), 0)
                return file
        except BaseException:
            _open_files.discard(file)
            os.close(file)
            raise
        _open_files.discard(file)
        os.close(file)  # whoever held it removed it between our opening and our locking


def _lock(file: int, path: Path, is_new: bool) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(file, 1 << 20, os.SEEK_SET)  # far behind the text: what is locked there cannot be read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNKNOWN_HERE:
            return is_new or _is_stale(path)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _told(path: Path) -> dict[str, object]:
    for _ in range(20):
        try:
            told = json.loads(path.read_bytes())
            return told if isinstance(told, dict) else {}
        except ValueError:  # it is being written
            time.sleep(0.01)
        except OSError:
            break
    return {}


def _is_stale(path: Path) -> bool:
    """Whether the holder named in a file is a process of this machine that is no more."""
    told = _told(path)
    if told.get("host") != socket.gethostname() or not isinstance(pid := told.get("pid"), int) or sys.platform == "win32":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _holder(path: Path) -> str:
    told = _told(path)
    if "pid" not in told:
        return "another process"
    who = "another run of this process" if told["pid"] == os.getpid() else f"process {told['pid']}"
    since = told.get("since")
    at = time.strftime(" since %H:%M:%S", time.localtime(since)) if isinstance(since, int) else ""
    return f"{who} on {told.get('host')}{at}"
