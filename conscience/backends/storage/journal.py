"""The journal of one run: every answer that it paid for, a line each, so that an interrupted run pays for nothing twice."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from conscience._base.files import append_line
from conscience._base.flow import IOStep
from conscience.errors import InputError
from conscience.usage import idle


class Journal:
    """Stands where a backend's response cache stands, for the length of a run.

    What it holds was paid for by this run, so an answer read from it counts as spent: the parts of an interrupted run add
    up to what an undisturbed one would. A line is written at once; one that was torn by a crash is cut off.

    Args:
        path: the file; made, with its folder, on first use.

    Raises:
        InputError: on first use, if the file cannot be read or written.
    """

    replays = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: int | None = None
        self._end = 0
        self._places: dict[int, tuple[int, int]] = {}  # half a key's digest → where its line begins, and its length
        self._used: set[int] = set()
        self._inflight: dict[str, Future[None]] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        """What was written under the key, or None."""
        with self._lock:
            file = self._open()
            place = self._places.get(_short(key))
        if place is None:
            return None
        entry = orjson.loads(os.pread(file, place[1], place[0]))
        return entry["value"] if entry["key"] == key else None

    def claim(self, key: str) -> IOStep | None:
        """The wait for whoever makes the same request; None where nobody does: then the caller does, until ``release``."""
        own: Future[None] = Future()
        with self._lock:
            inflight = self._inflight.setdefault(key, own)
        return None if inflight is own else IOStep(partial(_wait, inflight), partial(_await, inflight))

    def release(self, key: str) -> None:
        """The caller's request has ended, with an answer that it has put here, or without."""
        with self._lock:
            inflight = self._inflight.pop(key)
        inflight.set_result(None)

    def is_first_use(self, key: str) -> bool:
        """Whether this is the first use of an answer since the journal was opened: what it cost counts once in the whole."""
        with self._lock:
            is_new = _short(key) not in self._used
            self._used.add(_short(key))
            return is_new

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Writes a JSON value.

        Raises:
            InputError: the disk is full or gone; the answer would be lost to a later run.
        """
        line = orjson.dumps({"key": key, "value": value}) + b"\n"
        with self._lock:
            file = self._open()
            append_line(file, self._end, line, self.path)
            self._places[_short(key)] = (self._end, len(line))
            self._end += len(line)
            self._used.add(_short(key))

    def _open(self) -> int:
        if self._file is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
                with open(descriptor, "rb", closefd=False) as file:
                    for line in file:
                        if not line.endswith(b"\n"):
                            os.truncate(descriptor, self._end)
                            break
                        self._places[_short(orjson.loads(line)["key"])] = (self._end, len(line))
                        self._end += len(line)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self.path}: is no journal of a run: {error}", hint="choose another --out") from None
            self._file = descriptor
            weakref.finalize(self, os.close, descriptor)
        return self._file


def _wait(inflight: Future[None]) -> None:
    """On an event loop's own thread nothing is waited for: whoever asks may need that loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with idle():
            inflight.result()


async def _await(inflight: Future[None]) -> None:
    with idle():
        await asyncio.shield(asyncio.wrap_future(inflight))


def _short(key: str) -> int:
    return int(key[:16], 16)
