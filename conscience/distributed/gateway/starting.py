"""Starts a gateway's process, and talks to it for the run that it serves."""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from conscience.distributed.gateway.channel import Place
from conscience.distributed.gateway.client import GatewayClient
from conscience.errors import ConfigurationError

START_SECONDS = 120.0


class GatewayProcess:
    """A gateway of this process: it makes the calls of all workers on this machine, and ends when this process has ended.

    Args:
        host: this machine's name or address for others that have workers; without it, it listens to this machine only.

    Attributes:
        place: where workers find it.

    Raises:
        ConfigurationError: it does not start.
    """

    def __init__(self, host: str | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="conscience-", dir=_short_folder())
        self.place = Place(str(Path(self._folder, "gateway")), secrets.token_bytes(32), host or "")
        self._process = self._start()
        self.client = GatewayClient(self.place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def restart(self) -> None:
        """Starts it once more at the same place, where the workers look for it."""
        self._process.wait()
        Path(self.place.path).unlink(missing_ok=True)
        self._process = self._start()

    def close(self) -> None:
        """Ends it, when the calls under way have ended."""
        self.client.close()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        with suppress(OSError):
            os.rmdir(self._folder)

    def _start(self) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).parent.parent.parent.parent)
        order: dict[str, Any] = self.place._asdict() | {"key": self.place.key.hex(), "modules": sys.path}
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "conscience.distributed.gateway.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])},
                start_new_session=True,  # Ctrl-C is for whoever started it, which then has a say about the calls under way
            )
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(order).encode() + b"\n")
                process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            if ready and (port := process.stdout.readline()):
                self.place = self.place._replace(port=int(port))
                return process
            process.kill()
            process.wait()
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["no word from it"]
            raise ConfigurationError(f"the process that makes the calls did not start: {lines[-1]}")


def _short_folder() -> str | None:
    """Where sockets may lie: a path of theirs has at most some hundred characters."""
    return None if len(tempfile.gettempdir()) < 60 else "/tmp"
