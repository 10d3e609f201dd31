"""Starts the loopback backend that benchmarks measure against."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quick_server(seconds: float = 0.0) -> Iterator[str]:
    """The address of ``quick_server.py``, which answers after so many seconds, in a process of its own."""
    command = [sys.executable, str(Path(__file__).parent / "quick_server.py"), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()
