"""Runs commands as a shell would, without paying for their imports each time.

``run`` calls the console script's ``main`` in this process. ``start`` gives it a process of its own, forked from one that
has everything imported already, for the tests that kill or interrupt a command. ``script`` is the real thing: a new
interpreter; it costs seconds, so a handful of tests use it.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Env = Mapping[str, str]

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    ["litellm", "dspy", "conscience.program", "conscience.evals.runner", "conscience.optimizers.self_correction", __name__]
)


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run(
    *arguments: str, env: Env | None = None, stdin: str = "", cwd: Path | None = None, encoding: str = "utf-8:strict"
) -> Done:
    """Runs the command in this process, its three streams in memory.

    Args:
        env: variables on top of the environment.
        stdin: what it reads.
        cwd: the folder that it runs in.
        encoding: of the terminal, as PYTHONIOENCODING has it.
    """
    name, _, errors = encoding.partition(":")
    streams = [io.TextIOWrapper(io.BytesIO(), name, errors or "strict", write_through=True) for _ in range(3)]
    standard_in, out, err = streams
    standard_in.buffer.write(stdin.encode("utf-8", "surrogateescape"))
    standard_in.seek(0)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in (env or {}).items():
            patch.setenv(variable, value)
        if cwd is not None:
            patch.chdir(cwd)
        patch.setattr(sys, "path", ["" if cwd is not None else str(Path.cwd()), *sys.path])
        patch.setattr(sys, "argv", ["conscience", *arguments])
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        code = _exit_code()
    written = [stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (out, err)]  # type: ignore[attr-defined]
    return Done(code, *written)


class Running:
    """A command in a forked process of its own, under way."""

    def __init__(self, arguments: tuple[str, ...], env: Env, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.out")))
        self._files = folder / f"{number}.out", folder / f"{number}.err"
        for file in self._files:
            file.touch()
        self._process = _FORKING.Process(target=_child, args=(arguments, {**os.environ, **env}, self._files))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended, at the latest after so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Waits for the condition or the command's end; says whether the command is still running."""
        while not condition() and self._process.is_alive():
            time.sleep(0.005)
        return self._process.is_alive()

    def stderr(self) -> str:
        """What it has said so far."""
        return self._files[1].read_text(encoding="utf-8")

    def kill(self) -> None:
        """As the kernel kills: nothing of the command runs any more."""
        self._process.kill()
        self._process.join()

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGINT)

    def done(self) -> Done:
        """What it left, once it has ended."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return Done(code, *(file.read_text(encoding="utf-8") for file in self._files))


@contextlib.contextmanager
def start(*arguments: str, env: Env | None = None, folder: Path) -> Iterator[Running]:
    """Starts the command in a forked process; what it writes is kept in ``folder``. It does not outlive the block."""
    running = Running(arguments, env or {}, folder)
    try:
        yield running
    finally:
        running.kill()


def script(*arguments: str, env: Env | None = None, stdin: str = "") -> Done:
    """A new interpreter, as ``python -m conscience``."""
    done = subprocess.run(
        [sys.executable, "-m", "conscience", *arguments],
        env=os.environ | dict(env or {}),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _child(arguments: tuple[str, ...], env: dict[str, str], files: tuple[Path, Path]) -> None:
    os.environ.clear()
    os.environ.update(env)
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), stream.fileno())
    sys.argv = ["conscience", *arguments]
    code: Any = _exit_code()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code() -> int:
    from conscience.cli.main import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
