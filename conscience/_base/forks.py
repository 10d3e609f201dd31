"""What a forked process must not inherit: locks that threads of its parent held, and whatever belongs to the parent."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_generation = 0
_renewal = threading.Lock()


def generation() -> int:
    """How many forks lie between this process and the one that imported this module; state of another one is stale."""
    return _generation


def after_fork(renew: Callable[[], None]) -> None:
    """Calls a function in every forked child before anything else runs there; does nothing where there is no fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


def _forked() -> None:
    global _generation, _renewal
    _generation += 1
    _renewal = threading.Lock()


after_fork(_forked)


class ForkLock:
    """A lock that is open in a forked child, whoever held it in the parent: that thread is not in the child."""

    __slots__ = ("_generation", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = _generation

    def __enter__(self) -> None:
        if self._generation != _generation:
            with _renewal:
                if self._generation != _generation:
                    self._lock = threading.Lock()
                    self._generation = _generation
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[ForkLock], tuple[()]]:
        return ForkLock, ()
