"""The server's processes: bound before anything starts, ended when what is under way is over."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn import Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from conscience.errors import ConfigurationError, InputError
from conscience.server.limits import Limits
from conscience.server.metrics import SHARED_FOLDER
from conscience.server.protocol import ServerConfig

BACKLOG = 1024


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host; a name that is not localhost's counts as one that others reach."""
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_binding(host: str, has_keys: bool) -> None:
    """Refuses to let strangers in without a key.

    Raises:
        ConfigurationError: others than this machine reach the host, and there is no key.
    """
    if not has_keys and not is_loopback(host):
        raise ConfigurationError(
            f"--host {host}: without a key the server answers on loopback alone",
            hint="set CONSCIENCE_API_KEY, or name keys in the file of --config",
        )


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 takes a free one.

    Raises:
        InputError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(f"{host}:{port} cannot be bound: {error.strerror or error}", hint="choose another --port") from None
    listener.set_inheritable(True)
    return listener


def run(make_app: Callable[[], Any], listener: socket.socket, limits: Limits, *, workers: int) -> None:
    """Serves until it is told to stop by SIGTERM or SIGINT.

    Args:
        make_app: makes the app of a process; with several workers it is pickled.

    Raises:
        ConfigurationError: a worker could not start; it has said why.
    """
    config = ServerConfig(make_app, limits, factory=True, workers=workers, backlog=BACKLOG)
    if workers == 1:
        with _quiet_end():
            Server(config).run(sockets=[listener])
        return
    with _added_up():
        supervisor = Multiprocess(config, sockets=[listener])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise ConfigurationError("a worker could not start")


@contextmanager
def _quiet_end() -> Iterator[None]:
    """uvicorn raises the signal that ended it anew, once all is over: being told to stop is no failure."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _added_up() -> Iterator[None]:
    """A folder in which the workers' metrics add up; it does not outlive them."""
    if os.environ.get(SHARED_FOLDER):
        yield
        return
    folder = tempfile.mkdtemp(prefix="conscience-metrics-")
    os.environ[SHARED_FOLDER] = folder
    try:
        yield
    finally:
        del os.environ[SHARED_FOLDER]
        shutil.rmtree(folder, ignore_errors=True)
