"""Files: atomic writes, appended lines, digests, strict JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conscience.errors import InputError


def write_atomic(path: Path, data: bytes | str | Iterable[bytes], *, private: bool = False) -> None:
    """Writes a whole file: whatever happens, and even after a power cut, there is the old file or the new one. One that was
    for its owner alone stays so.

    Args:
        path: in a folder that exists.
        data: a text is written as UTF-8; what is too long to be held comes in pieces.
        private: whether it is for its owner alone.

    Raises:
        OSError: it cannot be written; the old file, if any, is as it was.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")  # two writers never share one
    try:
        with open(partial, "xb", opener=private_file if private or _is_private(path) else None) as file:
            file.writelines((data,) if isinstance(data, bytes) else (data.encode(),) if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def private_file(path: str, flags: int) -> int:
    """Opens a file for this user alone: an ``opener`` of ``open``."""
    return os.open(path, flags, 0o600)


def _is_private(path: Path) -> bool:
    try:
        return not os.stat(path).st_mode & 0o077
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Makes a file's new name last; a system that cannot open a folder keeps names by itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have nothing to sync
            raise
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Makes a folder for this user alone, with what is missing above it. A folder that is there keeps its rights.

    Raises:
        OSError: it cannot be made, or is none.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise


def append_line(file: int, line: bytes, path: Path) -> int:
    """Appends a line to a file, whole or not at all, whatever other processes append to it.

    Args:
        file: descriptor, opened with ``O_APPEND``, of this process alone.
        line: with its line feed.
        path: for the message.

    Returns:
        Where in the file it begins.

    Raises:
        InputError: the disk is full or gone.
    """
    try:
        written = os.write(file, line)
        end = os.lseek(file, 0, os.SEEK_CUR)
        if written < len(line):
            if os.fstat(file).st_size == end:  # nobody has written behind it
                os.truncate(file, end - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        hint = "make room; the same command goes on from here"
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint=hint) from None
    return end - written


def digest(value: Any, length: int = 12) -> str:
    """The first digits of the SHA-256 of a value as JSON, whatever the order of keys; what JSON lacks is taken as text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:length]


def digest64(text: str) -> int:
    """A digest of 8 bytes as one integer: small enough to be held for each of a million texts."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


class RepeatedKey(ValueError):
    """A key that comes twice in one JSON object: one of its values would be lost without a word.

    Attributes:
        key: the key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} comes twice")
        self.key = key


def parse_json(text: str) -> Any:
    """The value of a JSON text in which no object repeats a key.

    NaN and infinities pass, as in ``json.loads``: a caller who minds can say where they stand.

    Raises:
        json.JSONDecodeError: it is not JSON; with the place.
        RepeatedKey: a key comes twice.
        ValueError: it is nested too deeply, or holds an integer of thousands of digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (json.JSONDecodeError, RepeatedKey):
        raise
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError("an integer of thousands of digits") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKey(next(key for key in keys if keys.count(key) > 1))
    return members
