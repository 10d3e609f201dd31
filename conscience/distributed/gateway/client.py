"""A worker's end of the line to its gateway."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import Future
from typing import Any

from conscience.distributed.gateway.channel import Channel, Place
from conscience.distributed.gateway.requests import Told
from conscience.errors import BackendError

RETURN_SECONDS = 60.0
"""A gateway that is gone so long does not come back."""


class GatewayClient:
    """A connection to a gateway, for all threads of a process. One that breaks is made again, and what was not answered is
    asked again: the answers to what went on without it are in the journal."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Any, Future[Any], Told]] = {}
        self._registered: list[Any] = []
        self._closed = False
        self._channel = Channel.to(place, self._received, self._lost)

    def request(self, what: str, *arguments: Any, told: Told = lambda kind, begins: None) -> Future[Any]:
        """Asks for something that is answered."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        message = (number, what, arguments)
        with self._lock:
            self._waiting[number] = message, future, told
            channel = self._channel
        channel.send(message)
        return future

    def tell(self, what: str, *arguments: Any) -> None:
        """Says something that is not answered."""
        self._channel.send((None, what, arguments))

    def register(self, run: str, backend: str, pickled: bytes) -> None:
        """Names a backend at the gateway, and at whatever follows it."""
        message = (None, "register", (run, backend, pickled))
        with self._lock:
            self._registered.append(message)
            channel = self._channel
        channel.send(message)

    def forget(self, run: str) -> None:
        """A run has ended."""
        with self._lock:
            self._registered = [message for message in self._registered if message[2][0] != run]

    def close(self) -> None:
        """Ends the connection."""
        self._closed = True
        self._channel.close()

    def _received(self, channel: Channel, message: Any) -> None:
        number, kind, value = message
        if kind not in ("done", "failed"):
            if (waiting := self._waiting.get(number)) is not None:
                waiting[2](kind, value)
            return
        with self._lock:
            waiting = self._waiting.pop(number, None)
        if waiting is None or not waiting[1].set_running_or_notify_cancel():
            return
        if kind == "done":
            waiting[1].set_result(value)
        else:
            waiting[1].set_exception(value.made())

    def _lost(self, channel: Channel) -> None:
        until = time.monotonic() + RETURN_SECONDS
        while not self._closed:
            try:
                new = Channel.to(self._place, self._received, self._lost)
            except OSError:
                if time.monotonic() > until:
                    break
                time.sleep(0.1)
                continue
            with self._lock:
                self._channel = new
                messages = [*self._registered, *(message for message, _, _ in self._waiting.values())]
            for message in messages:
                new.send(message)
            return
        with self._lock:
            left, self._waiting = self._waiting, {}
        for _, future, _ in left.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(BackendError("the process that makes the calls has ended", gone=True))
