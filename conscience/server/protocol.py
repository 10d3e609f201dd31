"""HTTP/1.1 as uvicorn speaks it, with a limit on the time of everything that a client may draw out.

uvicorn bounds the rest between two requests and nothing else: a client that sends a header a minute, never reads what it is
sent, or goes on sending a body after it was refused would keep its connection for ever.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from conscience.server.bodies import encoded
from conscience.server.errors import ApiError, invalid, too_busy
from conscience.server.limits import Limits


class ServerConfig(uvicorn.Config):
    """uvicorn's settings, with this server's limits."""

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        self.limits = limits
        fixed: dict[str, Any] = {
            "http": PatientProtocol,
            "ws": "none",
            "interface": "asgi3",
            "lifespan": "on",
            "log_config": None,
            "access_log": False,
            "proxy_headers": False,
            "server_header": False,
            "timeout_keep_alive": 75,  # above what clients and load balancers keep a connection, or they would meet its end
            "timeout_graceful_shutdown": max(1, round(limits.shutdown_seconds)),
            "timeout_worker_healthcheck": 15,
        }
        super().__init__(app, **fixed, **options)


class PatientProtocol(H11Protocol):
    """A connection whose client has so long for a request's head, for a body that nobody reads, and to read its answer."""

    def __init__(self, config: ServerConfig, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self._limits = config.limits
        self._clock: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse(too_busy("The server has too many connections."))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(self._clock)
        self._stop(self._reader)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            if self._clock is None:
                self._await_head()
        elif self.conn.our_state is not h11.DONE:
            self._clock = self._stop(self._clock)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and self._clock is None:
            self._clock = self.loop.call_later(self._limits.body_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(invalid("This is no HTTP request, or its headers are too large.", code="bad_http"))
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop(self._reader)
        self._reader = self.loop.call_later(self._limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._reader = self._stop(self._reader)
        super().resume_writing()

    def _await_head(self) -> None:
        seconds = self._limits.header_seconds
        late = invalid(f"The headers did not come within {seconds:g} s.", status=408, code="timeout")
        self._clock = self.loop.call_later(seconds, self._refuse, late)

    def _refuse(self, error: ApiError) -> None:
        """Answers before there is a request, and closes."""
        if self.transport.is_closing():
            return
        body = encoded(error.body())
        lines = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        )
        head = "\r\n".join((*lines, "", ""))
        self.transport.write(head.encode() + body)
        self.transport.close()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
