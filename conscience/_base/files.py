"""Files: atomic writes, appended lines, digests, strict JSON."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from conscience.errors import InputError


def add_line(file: int, end: int, line: bytes, path: Path) -> None:
    """Adds a line to a file, whole or not at all.

    Args:
        file: descriptor, open for appending.
        end: the file's length.
        line: with its line feed.
        path: for the message.

    Raises:
        InputError: the disk is full or gone.
    """
    try:
        if os.write(file, line) < len(line):
            os.truncate(file, end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        hint = "make room; the same command goes on from here"
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint=hint) from None
