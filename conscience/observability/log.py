"""The verdict log: one JSON object a call, in a file that rotates, written behind the answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import orjson

from conscience._base.files import make_private
from conscience._base.forks import ForkLock
from conscience._redaction import redact
from conscience.errors import ConfigurationError
from conscience.messages.completion import clean
from conscience.messages.rendering import content_text
from conscience.observability.background import Background
from conscience.observability.files import PartlyWritten, append_lines, check_appendable
from conscience.observability.record import TEXTS, VerdictRecord

logger = logging.getLogger("conscience")

LONGEST_TEXT = 100_000
"""Characters of a text that are kept."""

BATCH = 200
"""Records that are written at once."""

LINGER = 0.05
"""Seconds that a record may wait for others to be written with it."""


class VerdictLog:
    """A file with a line for each call; see ``VerdictRecord`` for what is in it.

    A call leaves its record in a queue, and one thread writes. A record that cannot be written, since the disk or the queue
    is full, is lost and counted; an answer never waits for it nor fails of it. Several programs and processes may write to
    one file. Credentials are taken out of every text.

    Args:
        path: the file, made for this user alone where it is missing. It is rotated to ``PATH.1``, ``PATH.2``, …
        texts: whether requests, responses and drafts are logged too.
        max_bytes: of the file, before it is rotated.
        keep: rotated files that are kept.
        backlog: records that may wait to be written.

    Raises:
        ConfigurationError: the file cannot be written, or an argument is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        texts: bool = False,
        max_bytes: int = 64 << 20,
        keep: int = 5,
        backlog: int = 10_000,
    ) -> None:
        for name, value in (("max_bytes", max_bytes), ("keep", keep), ("backlog", backlog)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r} is not a whole number of 1 or more")
        self._begin(
            {
                "path": Path(path).expanduser().absolute(),
                "texts": texts,
                "max_bytes": max_bytes,
                "keep": keep,
                "backlog": backlog,
            }
        )
        try:
            make_private(self.path.parent)
            check_appendable(self.path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"log {str(path)!r} cannot be written: {reason}") from None

    def _begin(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self.path: Path = options["path"]
        self.texts: bool = options["texts"]
        self._lock = ForkLock()
        self._lost = self._unreported = self._written = 0
        self._warned = self._grows = False
        self._queue: Background[VerdictRecord] = Background(
            self._write, name="conscience-log", most=options["backlog"], batch=BATCH, linger=LINGER, last=True
        )

    @classmethod
    def of(cls, log: VerdictLog | str | Path | None) -> VerdictLog | None:
        """A log from itself or from its path."""
        if log is None or isinstance(log, VerdictLog):
            return log
        if not isinstance(log, str | Path):
            raise ConfigurationError(f"log={log!r} is neither a path nor a VerdictLog")
        return cls(log)

    @property
    def written(self) -> int:
        """Records that this process has written."""
        return self._written

    @property
    def lost(self) -> int:
        """Records that this process could not write."""
        return self._lost

    def add(self, record: VerdictRecord) -> None:
        """Logs a call; at once, and without a word where it cannot."""
        if not self._queue.put(record):
            self._lose(1, "more records wait than it may hold")

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until all records so far are written, so many seconds at most; whether they are."""
        return self._queue.flush(timeout)

    def _write(self, records: Sequence[VerdictRecord]) -> None:
        with self._lock:
            unreported, self._unreported = self._unreported, 0
        if unreported:
            records = [replace(records[0], lost=unreported), *records[1:]]
        lines = [self._line(record) for record in records]
        done = len(lines)
        try:
            limits = {"max_bytes": self._options["max_bytes"], "keep": self._options["keep"]}
            if not append_lines(self.path, lines, **limits) and not self._grows:
                self._grows = True
                logger.warning("%s: cannot be rotated, so it grows beyond %d bytes", self.path, limits["max_bytes"])
        except PartlyWritten as error:
            done = error.lines
            self._lose(len(lines) - done, error.strerror or "it cannot be written", again=0 if done else unreported)
        with self._lock:
            self._written += done

    def _line(self, record: VerdictRecord) -> bytes:
        data = record.to_json()
        for name in ("id", "tenant", "error", *TEXTS):
            if data.get(name):
                data[name] = _shown(data[name])
        return orjson.dumps(clean(data)) + b"\n"

    def _lose(self, records: int, why: str, *, again: int = 0) -> None:
        """Counts lost records, and says so the first time.

        Args:
            again: lost ones that were to be reported by one of these.
        """
        with self._lock:
            self._lost += records
            self._unreported += records + again
            warned, self._warned = self._warned, True
        if not warned:
            logger.warning("%s: records of verdicts are lost: %s; answers go on (see VerdictLog.lost)", self.path, why)

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # copies of a program write to one log

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (type(self), self._options)

    def __repr__(self) -> str:
        return f"VerdictLog({str(self.path)!r})"


LogSpec: TypeAlias = VerdictLog | str | Path
"""What a user may pass as a log: a VerdictLog, or its path."""


def _reopened(cls: type[VerdictLog], options: Mapping[str, Any]) -> VerdictLog:
    log = cls.__new__(cls)
    log._begin(options)
    return log


def _shown(value: Any) -> Any:
    """A text, or chat messages with the text of their contents, without credentials and of bounded length."""
    if isinstance(value, str):
        return _cut(value)
    messages = []
    for message in value:
        kept = {name: _redacted(inner) for name, inner in message.items() if name != "content"}
        messages.append({**kept, "content": _cut(content_text(message.get("content")))})
    return messages


def _cut(text: str) -> str:
    """A text without credentials, of bounded length; all of it is read first, as half a key is not known for one."""
    return redact(text)[:LONGEST_TEXT]


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, Mapping):
        return {str(name): _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
