"""Messages between two processes of one user, over a socket that only they can open.

A message is any value that can be pickled. So an end trusts the other one: the socket's key is made anew for each run, and
is handed to those who may join.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from typing import Any, NamedTuple

import cloudpickle


class Place(NamedTuple):
    """Where a process listens.

    Attributes:
        path: of its socket, on its own machine.
        key: opens it.
        host, port: for other machines; no host where there are none.
    """

    path: str
    key: bytes
    host: str = ""
    port: int = 0

    def connect(self) -> Connection:
        """A connection, by the shorter way.

        Raises:
            OSError, AuthenticationError, EOFError: there is nobody, or nobody whom the key is known to.
        """
        near = not self.host or os.path.exists(self.path)
        return Client(self.path if near else (self.host, self.port), authkey=self.key)


class Channel:
    """One end of a connection, once it is started. Threads may share it.

    Args:
        connection: to the other end.
        receive: is given each message, in a thread of the channel's own.
        closed: is called in that thread when the other end is gone; no message comes after it.
    """

    def __init__(
        self, connection: Connection, receive: Callable[[Channel, Any], None], closed: Callable[[Channel], None]
    ) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._receive, self._closed = receive, closed

    def start(self) -> None:
        """Begins to receive."""
        threading.Thread(target=self._read, name="conscience-channel", daemon=True).start()

    @classmethod
    def to(cls, place: Place, receive: Callable[[Channel, Any], None], closed: Callable[[Channel], None]) -> Channel:
        """A channel to whoever listens at a place, started.

        Raises:
            OSError: nobody does, or the key does not open it.
        """
        try:
            channel = cls(place.connect(), receive, closed)
        except (AuthenticationError, EOFError) as error:
            raise ConnectionError(f"{place.path}: {error or 'closed'}") from None
        channel.start()
        return channel

    def send(self, message: Any) -> None:
        """Sends a message. Where the other end is gone it is lost, and ``closed`` is called."""
        try:
            data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError):  # functions of a script, locks
            data = cloudpickle.dumps(message)
        with self._lock, suppress(OSError):
            self._connection.send_bytes(data)

    def close(self) -> None:
        """Ends it at both ends."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)  # which wakes the thread that reads; closing would not

    def _read(self) -> None:
        while True:
            try:
                data = self._connection.recv_bytes()
            except (OSError, EOFError):
                break
            self._receive(self, pickle.loads(data))
        self._connection.close()
        self._closed(self)
