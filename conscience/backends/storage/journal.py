"""The journal of one run: every answer that it paid for, a line each, so that an interrupted run pays for nothing twice."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from conscience._base.files import append_line
from conscience._base.flow import IOStep
from conscience._base.forks import ForkLock, generation
from conscience.backends.storage.sealing import folder_secret, request_key, seal, sealed_key, unseal
from conscience.errors import InputError
from conscience.usage import idle

logger = logging.getLogger("conscience")

B = TypeVar("B")


class Journal:
    """Stands where a backend's response cache stands, for the length of a run.

    What it holds was paid for by this run, so an answer read from it counts as spent: the parts of an interrupted run add
    up to what an undisturbed one would. A line is written at once, behind whatever other processes write, and what they
    write is found here too. A line that was torn by a crash, or is not as it was written (see ``sealing.py``), is passed
    over, and its answer asked for anew.

    Args:
        path: the file; made, with its folder, on first use.

    Raises:
        InputError: on first use, if the file cannot be read or written.
    """

    replays = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.used: set[int] = set()
        """Half the key's digest of each answer that was used since the journal was opened."""
        self._lock = ForkLock()
        self._forget()

    def _forget(self) -> None:
        """As before first use. What a forked child inherits is its parent's: the file's offset, and requests under way."""
        self._generation = generation()
        self._file: int | None = None
        self._secret = b""
        self._torn = False
        self._end = 0  # of the last whole line that was read or written here
        self._size = 0  # of the file at that time
        self._places: dict[int, tuple[int, int]] = {}  # half a key's digest → where its line begins, and its length
        self._rejected: set[int] = set()
        self._inflight: dict[str, Future[None]] = {}

    def key(self, parts: Mapping[str, Any], credentials: Mapping[str, Any]) -> str:
        """The key of a request, see ``request_key``."""
        with self._lock:
            self._open()
            return request_key(parts, credentials, self._secret)

    def get(self, key: str) -> dict[str, Any] | None:
        """What was written under the key, or None."""
        with self._lock:
            file = self._open()
            if (place := self._places.get(_short(key))) is None and os.fstat(file).st_size > self._size:
                self._index(file)
                place = self._places.get(_short(key))
        if place is None:
            return None
        return unseal(self._secret, key, os.pread(file, place[1], place[0]).rstrip(b"\n"))

    def claim(self, key: str) -> IOStep | None:
        """The wait for whoever makes the same request; None where nobody does: then the caller does, until ``release``."""
        own: Future[None] = Future()
        with self._lock:
            self._open()
            inflight = self._inflight.setdefault(key, own)
        return None if inflight is own else IOStep(partial(_wait, inflight), partial(_await, inflight))

    def release(self, key: str) -> None:
        """The caller's request has ended, with an answer that it has put here, or without."""
        with self._lock:
            inflight = self._inflight.pop(key, None)
        if inflight is not None:  # None in a child that was forked meanwhile
            inflight.set_result(None)

    def sync(self) -> None:
        """Makes what was written last, even through a power cut.

        Raises:
            InputError: the disk is gone.
        """
        with self._lock:
            try:
                os.fsync(self._open())
            except OSError as error:
                raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None

    def dollars(self) -> float:
        """What the answers in it cost: all that the run has paid for, whether its cases are done or not."""
        with self._lock:
            file = self._open()
            places = list(self._places.values())
        spent = 0.0
        for start, length in places:
            line = os.pread(file, length, start).rstrip(b"\n")
            value = unseal(self._secret, sealed_key(line) or "", line)
            spent += value["spend"]["dollars"] if value else 0.0
        return spent

    def asked_by(self, backend: B, plain: B) -> B:
        """The backend that asks in a run: the one that keeps its answers here, unless calls are made elsewhere.

        Args:
            backend: keeps its answers here.
            plain: the same outside of the run.
        """
        return backend

    def is_first_use(self, key: str) -> bool:
        """Whether this is the first use of an answer since the journal was opened: what it cost counts once in the whole."""
        with self._lock:
            is_new = _short(key) not in self.used
            self.used.add(_short(key))
            return is_new

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Writes a JSON value.

        Raises:
            InputError: the disk is full or gone; the answer would be lost to a later run.
        """
        with self._lock:
            self._append(key, value)
            self.used.add(_short(key))

    def drop(self, key: str) -> None:
        """Takes back what was written under the key: a line says so, and whoever opens the journal again finds nothing.
        Until then the run keeps to it: it was paid for, and the same answer would be rejected again.

        Raises:
            InputError: the disk is full or gone.
        """
        with self._lock:
            if (place := self._places.get(_short(key))) is not None and _short(key) not in self._rejected:
                self._append(key, None)
                self._places[_short(key)] = place
                self._rejected.add(_short(key))

    def _append(self, key: str, value: Mapping[str, Any] | None) -> None:
        file = self._open()
        if os.fstat(file).st_size > self._size:  # another process has written, and may have been killed in the middle
            self._index(file)
        line = seal(self._secret, key, value) + b"\n"
        start = append_line(file, b"\n" + line if self._torn else line, self.path) + self._torn
        if start - self._torn == self._size:  # nobody else has written meanwhile
            self._end = self._size = start + len(line)
        self._torn = False
        self._places[_short(key)] = (start, len(line))

    def _open(self) -> int:
        if self._generation != generation():
            self._forget()
        if self._file is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
            except OSError as error:
                raise self._unusable(error.strerror or str(error)) from None
            weakref.finalize(self, os.close, descriptor)
            try:
                self._secret = folder_secret(self.path.parent)
                self._index(descriptor)
            except OSError as error:
                raise self._unusable(error.strerror or str(error)) from None
            self._file = descriptor
        return self._file

    def _index(self, descriptor: int) -> None:
        """Reads the lines behind ``_end``, all but a last one that is not whole."""
        strange, line = 0, b"\n"
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(self._end)
            for line in file:
                self._size = self._end + len(line)
                key = sealed_key(line)
                if not line.endswith(b"\n") and (key is not None or self._places or line.startswith(b'{"key":')):
                    break
                if key is not None:
                    try:
                        self._places[_short(key)] = (self._end, len(line))
                    except ValueError:
                        strange += 1
                elif not line.startswith(b'{"key":') and not self._places and line.strip():
                    raise self._unusable("its first line is none that a run writes")
                else:
                    strange += bool(line.strip())
                self._end = self._size
        self._torn = not line.endswith(b"\n")  # by a crash, or by a process that is writing it just now
        if strange:
            logger.warning(f"{self.path}: {strange} lines are not as this version writes them; they are asked for anew")

    def _unusable(self, why: str) -> InputError:
        return InputError(f"{self.path}: is no journal of a run: {why}", hint="choose another --out")


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
