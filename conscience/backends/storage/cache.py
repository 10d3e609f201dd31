"""The response cache: answers already paid for, a JSON file each, readable by this user alone.

Keys cover everything that shapes an answer: model, address, messages, parameters, rollout, and who asks. A file is read only
if it is a plain one that this library sealed under that very key (see ``sealing.py``); anything else is asked again. There
is nothing to lock: files are put in place whole, and processes, threads and forks share a folder as they like. Caching is a
convenience, so a full, broken or missing disk costs the cache, never the answer.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import stat
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from conscience._base.files import make_private
from conscience.backends.storage.sealing import NO_LINKS, folder_secret, request_key, seal, unseal
from conscience.errors import ConfigurationError

logger = logging.getLogger("conscience")

SIZE_LIMIT = 1 << 30
"""Bytes on disk before the oldest answers go."""

EXPIRY_SECONDS = 30 * 24 * 3600.0
"""How long an answer is kept: models change under their names."""

ENTRY_LIMIT = 4 << 20
"""Bytes of one answer; a longer one is not kept, and a longer file is not read."""

PARTS = 256
"""Folders that the answers are spread over by their keys. Each is held to its share of the limit by itself, so no process
needs to know what the others wrote."""

LOOKS = 8
"""How often a folder is looked through while its share is written anew."""

ABANDONED_SECONDS = 3600.0
"""A file half written for so long is of a process that was killed."""


def cache_home() -> Path:
    """The folder for everything this library keeps between runs (``XDG_CACHE_HOME`` or ``~/.cache``).

    Raises:
        ConfigurationError: this user has no home folder.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or "")
    if not root.is_absolute():
        try:
            root = Path.home() / ".cache"
        except (RuntimeError, KeyError):
            root = Path()
        if not root.is_absolute() or os.environ.get("HOME") == "":
            raise ConfigurationError("this user has no home folder", hint="set HOME or XDG_CACHE_HOME")
    return root / "dspy-conscience"


class ResponseCache:
    """Maps a request to the JSON body of its answer.

    Args:
        directory: where to keep it; what is missing of it is made with mode 0700 on first use. None is nowhere.
        reason: why nowhere.
    """

    replays = False

    def __init__(self, directory: Path | None, reason: str = "") -> None:
        self.directory = directory
        self._reason = reason
        self._secret: bytes | None = None
        self._off = False
        self._told = False

    def __reduce__(self) -> tuple[Any, ...]:
        return shared_cache, (None if self is shared_cache() else self.directory,)

    def key(self, parts: Mapping[str, Any], credentials: Mapping[str, Any]) -> str | None:
        """The key of a request, see ``request_key``; None where nothing is kept."""
        return None if (secret := self._open()) is None else request_key(parts, credentials, secret)

    def get(self, key: str) -> dict[str, Any] | None:
        """The stored value, or None."""
        secret = self._open()
        if secret is None or self.directory is None:
            return None
        data = _read(self.directory / key[:2] / f"{key[2:]}.json")
        value = None if data is None else unseal(secret, key, data)
        if value is None or not 0 <= time.time() - value.pop("stored", 0) <= EXPIRY_SECONDS:
            return None
        return value

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Stores a JSON value."""
        secret = self._open()
        if secret is None or self.directory is None:
            return
        data = seal(secret, key, {**value, "stored": int(time.time())})
        if len(data) > ENTRY_LIMIT:
            return
        folder = self.directory / key[:2]
        try:
            if not self.directory.exists():  # somebody emptied the cache, and its secret is gone too
                self._secret = None
                return
            _write(folder, f"{key[2:]}.json", data)
            share = SIZE_LIMIT / PARTS
            if random.random() < LOOKS * len(data) / share:
                _trim(folder, share)
        except OSError as error:
            self._tell(f"response cache {self.directory} takes no answer: {error}")

    def drop(self, key: str) -> None:
        """Forgets what was stored under the key."""
        if self.directory is not None:
            try:
                (self.directory / key[:2] / f"{key[2:]}.json").unlink(missing_ok=True)
            except OSError as error:
                self._tell(f"response cache {self.directory} keeps a rejected answer: {error}")

    def _open(self) -> bytes | None:
        if self._secret is None and not self._off:
            try:
                if self.directory is None:
                    raise OSError(self._reason)
                make_private(self.directory)
                self._secret = folder_secret(self.directory)
            except (OSError, ValueError) as error:
                self._off = True
                self._tell(f"response cache {self.directory or ''} is off for this run: {error}")
        return self._secret

    def _tell(self, message: str) -> None:
        if not self._told:
            self._told = True
            logger.warning(message)


@lru_cache(maxsize=8)
def shared_cache(directory: Path | None = None) -> ResponseCache:
    """One cache object per folder and process; without a folder, the user's own."""
    try:
        return ResponseCache((directory or cache_home() / "responses").expanduser().absolute())
    except (ConfigurationError, RuntimeError, OSError) as error:  # no home folder, or no folder that we are in
        return ResponseCache(None, str(error))


def chosen_cache(cache: bool | Path | str) -> ResponseCache | None:
    """The cache that a user chose: the shared one, one in a folder, or none; ``CONSCIENCE_CACHE=0`` turns all off."""
    if cache is False or os.environ.get("CONSCIENCE_CACHE") == "0":
        return None
    return shared_cache() if cache is True else shared_cache(Path(cache))


def _read(path: Path) -> bytes | None:
    """What a plain file of bearable length holds; None for anything else, links too."""
    try:
        file = os.open(path, os.O_RDONLY | NO_LINKS)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > ENTRY_LIMIT:
            return None
        return os.read(file, status.st_size)
    except OSError:
        return None
    finally:
        os.close(file)


def _write(folder: Path, name: str, data: bytes) -> None:
    """Puts a file in place, whole or not at all. It is not synced: a seal tells what a power cut left of it."""
    partial = folder / f"{secrets.token_hex(8)}.partial"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS
    try:
        file = os.open(partial, flags, 0o600)
    except FileNotFoundError:
        make_private(folder)
        file = os.open(partial, flags, 0o600)
    try:
        try:
            if os.write(file, data) < len(data):
                raise OSError("no space is left")
        finally:
            os.close(file)
        os.replace(partial, folder / name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _trim(folder: Path, limit: float) -> None:
    """Removes the oldest answers of a folder until it is within its limit, and what killed processes left half written."""
    found: list[tuple[float, int, str]] = []
    with os.scandir(folder) as files:
        for file in files:
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:  # another process removed it
                continue
            if file.name.endswith(".json"):
                found.append((status.st_mtime, getattr(status, "st_blocks", 0) * 512 or status.st_size, file.path))
            elif file.name.endswith(".partial") and status.st_mtime < time.time() - ABANDONED_SECONDS:
                Path(file.path).unlink(missing_ok=True)
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        Path(path).unlink(missing_ok=True)
        total -= size
