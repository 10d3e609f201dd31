"""The embedded model: weights served by llama.cpp on loopback, one server for each file, started on first use.

The server is a process of its own, so neither its memory nor a crash of it touches the application. It lives as long as
someone holds the write end of a pipe to it: this process and the children it forks. When the last of them ends, killed or
not, the pipe closes and the server goes. The key travels over that pipe, never in an argument.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from conscience._base.forks import ForkLock
from conscience.backends.embedded.catalogue import SMOLLM2
from conscience.backends.embedded.weights import Weights, weights_of
from conscience.errors import BackendError, ConfigurationError
from conscience.usage import paused_clock

SPINS = "1000"
"""The engine's threads meet after every operation, and wait so many turns before they sleep. By default they spin so long
that two busy servers on the same cores make each other a hundred times slower; with far fewer, one alone gets slower."""

START_SECONDS, START_SECONDS_A_GB = 60.0, 300.0
"""A server that has not told its address by then is given up: so long, and more for each GB of weights, which are read and
tried once before it speaks. One whose process ends is not waited for."""


@dataclass(frozen=True)
class Endpoint:
    """Where the embedded model answers.

    Attributes:
        base_url: the OpenAI route, ending in /v1.
        root_url: the same without /v1, as LiteLLM's anthropic/ route wants it.
        api_key: made anew for each server.
        model: the name to ask for.
    """

    base_url: str
    root_url: str
    api_key: str = field(repr=False)
    model: str = SMOLLM2.name


@dataclass
class _Server:
    process: subprocess.Popen[bytes]
    endpoint: Endpoint
    owner: int  # id of the process that started it

    def alive(self) -> bool:
        if self.owner == os.getpid():
            return self.process.poll() is None
        # A forked child cannot wait for its parent's child. It has the other end of the server's output, which closes.
        assert self.process.stdout is not None
        hung_up = select.poll()
        hung_up.register(self.process.stdout, 0)
        return not hung_up.poll(0)


_servers: dict[tuple[str, bool], _Server] = {}
_lock = ForkLock()


@atexit.register
def _let_go() -> None:
    """Leaves the servers to their pipes; without this, the interpreter warns of processes that nobody waits for."""
    for server in _servers.values():
        server.process.returncode = 0


@paused_clock()
def endpoint(weights: Weights | str | Path | None = None, *, embedding: bool = False) -> Endpoint:
    """The server for these weights, started when there is none; every thread of the process shares it.

    Args:
        weights: a name of the catalogue or a GGUF file; None for the built-in weights.
        embedding: a second server on the same file, which gives the last hidden state at /v1/embeddings.

    Raises:
        ConfigurationError: weights or engine are missing, or the weights are not what they should be.
        BackendError: the server did not start.
    """
    named = weights if isinstance(weights, Weights) else weights_of(weights)
    path = named.path()
    key = (str(path), embedding)
    server = _servers.get(key)
    if server is not None and server.alive():
        return server.endpoint
    with _lock:
        server = _servers.get(key)
        if server is None or not server.alive():
            server = _servers[key] = _start(named, path, embedding)
    return server.endpoint


def start_ahead(weights: str | None = None) -> None:
    """Begins to start a server, in a thread; whoever asks for its endpoint waits for it, or meets what went wrong.

    Args:
        weights: see ``endpoint``.
    """

    def start() -> None:
        with suppress(Exception):
            endpoint(weights)

    threading.Thread(target=start, name="conscience-engine", daemon=True).start()


def shutdown(weights: Path | None = None) -> None:
    """Stops the servers that this process started.

    Args:
        weights: only those for this file; by default all.
    """
    with _lock:
        for key in [key for key in _servers if weights is None or key[0] == str(weights)]:
            server = _servers.pop(key)
            if server.owner == os.getpid():
                if server.process.stdin is not None:
                    server.process.stdin.close()
                server.process.terminate()
                server.process.wait(timeout=10)
                if server.process.stdout is not None:
                    server.process.stdout.close()


def _start(weights: Weights, path: Path, embedding: bool) -> _Server:
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigurationError("the embedded engine is not installed", hint="run: pip install 'dspy-conscience[local]'")
    key = secrets.token_urlsafe(24)
    with tempfile.TemporaryFile() as log:
        process = _spawn(log)
        order = {"weights": str(path), "model": weights.alias, "embedding": embedding, "key": key} | weights.limits
        root = _handshake(process, order)
        if root is None:
            fate = _end(process)
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or [fate]
            raise BackendError(f"the embedded model did not start: {lines[-1]}", gone=True)
    return _Server(process, Endpoint(f"{root}/v1", root, key, weights.alias), os.getpid())


def _spawn(log: IO[bytes]) -> subprocess.Popen[bytes]:
    # The package may have been found in a way that a new interpreter would not repeat, so its place is handed on.
    places = [str(Path(__file__).parent.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "conscience.backends.embedded.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=tempfile.gettempdir(),
        env=os.environ | {"GOMP_SPINCOUNT": SPINS, "PYTHONPATH": os.pathsep.join(places)},
    )


def _end(process: subprocess.Popen[bytes]) -> str:
    """Ends a server that told no address, and says in words what it had come to by then."""
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "no answer from its process in time"
    if code < 0:  # by the system: out of memory (Killed), or a build for another processor (Illegal instruction)
        return f"its process was ended: {signal.strsignal(-code) or f'signal {-code}'}"
    return f"its process ended with exit code {code}"


def _handshake(process: subprocess.Popen[bytes], order: Mapping[str, Any]) -> str | None:
    """Hands the server its order; its address, or None where it does not give one in time."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    seconds = START_SECONDS + START_SECONDS_A_GB * os.path.getsize(order["weights"]) / 1e9
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    line = process.stdout.readline() if ready else b""
    return str(json.loads(line)["url"]) if line else None
