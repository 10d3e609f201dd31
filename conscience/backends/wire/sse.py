"""Server-sent events, as chat servers write them: bytes in, the data of each event out."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE = re.compile(rb"(.*?)(\r\n|\n|\r(?=.))", re.DOTALL)
"""A line and its end; a carriage return at the very end may be half of one."""


class Events:
    """The events in a body that comes in pieces, cut anywhere."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of each event that this piece completes; comments, names and ids are passed by."""
        self._rest += data
        if not (b"\n" in data or b"\r" in self._rest):
            return
        end = 0
        lines = []
        for match in _LINE.finditer(self._rest):
            lines.append(match[1])
            end = match.end()
        del self._rest[:end]
        for line in lines:
            yield from self._line(line)

    def close(self) -> Iterator[bytes]:
        """The data of an event that nothing closed: some servers end without a blank line."""
        rest, self._rest = bytes(self._rest).strip(b"\r\n"), bytearray()
        yield from self._line(rest)
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        if not line and self._data:
            data, self._data = b"\n".join(self._data), []
            yield data
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
