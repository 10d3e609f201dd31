"""One connection of the light wire: a socket, TLS over it, HTTP's state, as generators over bytes."""

from __future__ import annotations

import os
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import h11
from h11._headers import Headers

from conscience.backends.wire.origins import PORTS, Origin, Proxy

T = TypeVar("T")

Traffic = Generator[bytes | None, bytes, T]
"""Yields bytes to send, or None to be given what comes next (empty at the end)."""

Sink = Callable[[bytes], bool]
"""Takes a piece of a streamed body as soon as it comes; whether the rest of the body is not wanted."""

IDLE_SECONDS = 4.0
"""How long a connection is kept for the next call: shorter than servers do, so that they seldom hang up first."""

EVENT_STREAM = b"text/event-stream"
LARGEST_BODY = 64 << 20
LARGEST_HEAD = 128 << 10
CHUNK = 65536


class HTTPFailure(Exception):
    """No whole answer came."""


class HungUp(Exception):
    """The server closed a kept connection before it answered anything: between two calls, most likely."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered, whatever it was.

    Attributes:
        headers: by lower-case name; of several, the last.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


# Connections -----------------------------------------------------------------------------------------------------------


class Connection:
    """A socket, TLS over it where the address asks for it, and HTTP's state."""

    def __init__(self, sock: socket.socket, to: Origin) -> None:
        self.sock = sock
        self.to = to
        self.idle_since = 0.0
        self.spent = False
        self.heard = False
        self.calls = 0
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()

    def close(self) -> None:
        self.sock.close()

    def __del__(self) -> None:
        self.sock.close()  # a pool that ends with its process, or a call that was cancelled

    def usable(self) -> bool:
        """Whether it can carry another call: the server has not hung up, and has sent nothing that nobody asked for."""
        if time.monotonic() - self.idle_since > IDLE_SECONDS:
            return False
        try:
            self.sock.setblocking(False)
            self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def opening(self) -> Traffic[None]:
        """Asks the proxy for a tunnel and shakes hands, where the way is such."""
        if self.to.scheme == "http":
            return
        if self.to.proxy is not None:
            yield from self._tunnel(self.to.proxy)
        self._tls = tls_context().wrap_bio(self._in, self._out, server_hostname=self.to.host)
        try:
            yield from self._secured(self._tls.do_handshake)
        except ssl.SSLError as error:
            raise HTTPFailure(f"TLS: {error.reason or error}") from None

    def _tunnel(self, proxy: Proxy) -> Traffic[None]:
        place = self.to.authority + ("" if self.to.port != PORTS[self.to.scheme] else f":{self.to.port}")
        headers = [("host", place)] + ([("proxy-authorization", proxy.credentials)] if proxy.credentials else [])
        tunnel = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        yield tunnel.send(h11.Request(method="CONNECT", target=place, headers=headers)) or b""
        while True:
            event = tunnel.next_event()
            if event is h11.NEED_DATA:
                tunnel.receive_data((yield None))
            elif isinstance(event, h11.Response):
                if not 200 <= event.status_code < 300:
                    raise HTTPFailure(f"the proxy answered {event.status_code} to CONNECT")
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise HTTPFailure("the proxy hung up")

    def exchange(
        self, target: str, headers: Sequence[tuple[str, str]], content: bytes, sink: Sink | None = None
    ) -> Traffic[Reply]:
        """One request and its answer.

        Args:
            sink: is given the body of a stream of events in place of the reply, which has an empty one then. A body that
                was not read to its end leaves a connection that carries no other call.
        """
        if self.to.proxy is not None and self.to.scheme == "http":
            target = f"http://{self.to.authority}{target}"
            if self.to.proxy.credentials:
                headers = [*headers, ("proxy-authorization", self.to.proxy.credentials)]
        http = self._http
        checked = _checked(self.to.authority, tuple(headers))
        length = b"content-length"
        lines = Headers([*checked._full_items, (length, length, str(len(content)).encode())])
        data = http.send(h11.Request(method="POST", target=target, headers=lines)) or b""
        data += http.send(h11.Data(data=content)) or b""
        data += http.send(h11.EndOfMessage()) or b""
        yield from self._send(data)
        head: h11.Response | None = None
        parts: list[bytes] = []
        size = 0
        streamed = False
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data((yield from self._receive()))
            elif type(event) is h11.Data:
                size += len(event.data)
                if size > LARGEST_BODY:
                    raise HTTPFailure(f"the answer is longer than {LARGEST_BODY >> 20} MiB")
                if not streamed:
                    parts.append(bytes(event.data))
                elif sink is not None and sink(bytes(event.data)):
                    break
            elif type(event) is h11.Response:
                head = event
                streamed = sink is not None and _is_stream(head)
            elif type(event) is h11.EndOfMessage:
                break
            elif type(event) is h11.ConnectionClosed:
                raise HTTPFailure("the server hung up without an answer")
        assert head is not None
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        return Reply(head.status_code, found, _unpacked(b"".join(parts), found.get("content-encoding", "")))

    def reuse(self) -> bool:
        """Makes it ready for another call, if it can carry one."""
        if self.spent or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.heard = False
        self.calls += 1
        self.idle_since = time.monotonic()
        return True

    def _send(self, data: bytes) -> Traffic[None]:
        if self._tls is None:
            yield data
        else:
            yield from self._secured(lambda: self._tls and self._tls.write(data))

    def _receive(self) -> Traffic[bytes]:
        if self._tls is None:
            return (yield None)
        try:
            return (yield from self._secured(lambda: self._tls.read(CHUNK) if self._tls else b"")) or b""
        except ssl.SSLZeroReturnError:
            return b""

    def _secured(self, work: Any) -> Traffic[Any]:
        """Work of the TLS layer, with whatever it must send and be given meanwhile."""
        while True:
            try:
                result = work()
            except ssl.SSLWantReadError:
                if self._out.pending:
                    yield self._out.read()
                if data := (yield None):
                    self._in.write(data)
                else:
                    self._in.write_eof()
                continue
            if self._out.pending:
                yield self._out.read()
            return result


def _is_stream(head: h11.Response) -> bool:
    """Whether a body of events follows that can be read as it comes."""
    found = dict(head.headers)
    kind, packed = found.get(b"content-type", b""), found.get(b"content-encoding", b"identity")
    return 200 <= head.status_code < 300 and kind.lower().startswith(EVENT_STREAM) and packed.lower() == b"identity"


@lru_cache(maxsize=32)
def _checked(authority: str, headers: tuple[tuple[str, str], ...]) -> Headers:
    """Headers that h11 has found fit to be sent: for each call of a model they are the same, but for the length."""
    others = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return h11.Request(method="POST", target="/", headers=[("host", authority), *others]).headers


def _unpacked(content: bytes, encoding: str) -> bytes:
    """The body as it was before a server packed it, which it was not asked to do."""
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        return content
    unpacking = zlib.decompressobj(47 if encoding.lower() != "deflate" else 15)
    try:
        plain = unpacking.decompress(content, LARGEST_BODY)
    except zlib.error as error:
        raise HTTPFailure(f"the answer cannot be unpacked: {error}") from None
    if unpacking.unconsumed_tail:
        raise HTTPFailure(f"the answer is longer than {LARGEST_BODY >> 20} MiB")
    return plain


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """The certificates that are trusted: SSL_CERT_FILE and SSL_CERT_DIR, else certifi's, as with httpx."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(
            cafile=os.environ.get("SSL_CERT_FILE") or None, capath=os.environ.get("SSL_CERT_DIR") or None
        )
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
