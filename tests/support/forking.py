"""Forked children whose result comes back, and which end whatever happens in them."""

from __future__ import annotations

import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any

LONGEST = 60.0
"""Seconds; a child that takes longer hangs."""


class Forked:
    """A child that is under way."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._result, end = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads beside a fork: the point
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.write(end, pickle.dumps(work()))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(end)

    def result(self, longest: float = LONGEST) -> Any:
        """What the work returned; fails where it raised, or hangs for so many seconds."""
        data = b""
        try:
            while select.select([self._result], [], [], longest)[0]:
                if not (part := os.read(self._result, 65536)):
                    break
                data += part
            else:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"a forked child hangs: nothing within {longest:g} seconds")
        finally:
            os.close(self._result)
            _, status = os.waitpid(self.pid, 0)
        assert status == 0, "a forked child failed; its traceback is on stderr"
        return pickle.loads(data)


def in_fork(work: Callable[[], Any]) -> Any:
    """What the work returns in a forked child."""
    return Forked(work).result()
