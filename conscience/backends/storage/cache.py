"""The response cache: answers already paid for, kept as JSON on disk, readable by this user alone.

Keys cover everything that shapes an answer: model, address, messages, parameters, rollout. Nothing is ever pickled,
neither written nor read. Caching is a convenience, so a full or broken disk costs the cache, never the answer.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

logger = logging.getLogger("conscience")
SIZE_LIMIT = 1 << 30
"""Bytes on disk before the oldest answers go."""


def cache_home() -> Path:
    """The folder for everything this library keeps between runs (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "dspy-conscience"


class ResponseCache:
    """Maps a request to the JSON body of its answer.

    Args:
        directory: where to keep it; made with mode 0700 on first use.
    """

    replays = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._store: Any = None
        self._broken = False

    def __reduce__(self) -> tuple[Any, ...]:
        return shared_cache, (None if self is shared_cache() else self.directory,)

    @staticmethod
    def key(parts: Mapping[str, Any]) -> str:
        """A digest of everything that shapes the answer; ``parts`` must be JSON."""
        canonical = orjson.dumps(parts, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        return hashlib.sha256(canonical).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """The stored value, or None."""
        store = self._open()
        if store is None:
            return None
        try:
            text = store.get(key)
            value = None if text is None else orjson.loads(text)
        except (OSError, sqlite3.Error, ValueError, TimeoutError) as error:
            self._give_up(error)
            return None
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Stores a JSON value."""
        store = self._open()
        if store is None:
            return
        try:
            store.set(key, orjson.dumps(value).decode())
        except (OSError, sqlite3.Error, TimeoutError) as error:
            self._give_up(error)

    def _open(self) -> Any:
        if self._store is None and not self._broken:
            with self._lock:
                if self._store is None and not self._broken:
                    try:
                        self._store = _private_store(self.directory)
                    except (OSError, sqlite3.Error, TimeoutError) as error:
                        self._give_up(error)
        return self._store

    def _give_up(self, error: Exception) -> None:
        self._broken, self._store = True, None
        logger.warning("response cache %s is off for this run: %s", self.directory, error)


@lru_cache(maxsize=8)
def shared_cache(directory: Path | None = None) -> ResponseCache:
    """One cache object per folder and process."""
    return ResponseCache(directory or cache_home() / "responses")


def _private_store(directory: Path) -> Any:
    import diskcache

    class TextDisk(diskcache.Disk):  # type: ignore[misc]
        """Text in, text out: values that would need pickle are refused both ways."""

        def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
            if not isinstance(value, str):
                raise TypeError(f"the response cache stores text, not {type(value).__name__}")
            return super().store(value, read, key=key)

        def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
            if mode == diskcache.core.MODE_PICKLE:
                raise ValueError("the response cache holds a pickled value, which this library never wrote")
            return super().fetch(mode, filename, value, read)

    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(directory, 0o700)
    return diskcache.Cache(str(directory), disk=TextDisk, size_limit=SIZE_LIMIT)
