"""One small HTTP/1.1 client for every call of the light wire: pooled, within a deadline, sync and async in one flow.

A call is a generator over bytes (h11 for HTTP, ``ssl.SSLObject`` for TLS, CONNECT for proxies) with two thin drivers that do
the reading and writing. So an idle connection is a plain socket that belongs to no event loop and no thread: whoever calls
next takes it. A forked child begins with an empty pool. A call with httpx costs ten times the CPU (docs/backends.md).
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, TypeVar

import h11

from conscience.backends.origins import PORTS, Origin, Proxy, UnknownScheme, is_loopback, locate, origin, proxy_settings

T = TypeVar("T")

Traffic = Generator[bytes | None, bytes, T]
"""Yields bytes to send, or None to be given what comes next (empty at the end)."""

IDLE_SECONDS = 4.0
"""How long a connection is kept for the next call: shorter than servers do, so that they seldom hang up first."""

IDLE_CONNECTIONS = 128
CONNECT_SECONDS = 3.0
"""For each of a host's addresses but the last: one that leads nowhere must not take all of the time."""
LARGEST_BODY = 64 << 20
LARGEST_HEAD = 128 << 10
REDIRECTS = 3
CHUNK = 65536


class HTTPFailure(Exception):
    """No whole answer came."""


class _HungUp(Exception):
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

    def exchange(self, target: str, headers: Sequence[tuple[str, str]], content: bytes) -> Traffic[Reply]:
        """One request and its answer."""
        if self.to.proxy is not None and self.to.scheme == "http":
            target = f"http://{self.to.authority}{target}"
            if self.to.proxy.credentials:
                headers = [*headers, ("proxy-authorization", self.to.proxy.credentials)]
        http = self._http
        lines = [("host", self.to.authority), *headers, ("content-length", str(len(content)))]
        data = http.send(h11.Request(method="POST", target=target, headers=lines)) or b""
        data += http.send(h11.Data(data=content)) or b""
        data += http.send(h11.EndOfMessage()) or b""
        yield from self._send(data)
        head: h11.Response | None = None
        parts: list[bytes] = []
        size = 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data((yield from self._receive()))
            elif type(event) is h11.Data:
                parts.append(bytes(event.data))
                size += len(event.data)
                if size > LARGEST_BODY:
                    raise HTTPFailure(f"the answer is longer than {LARGEST_BODY >> 20} MiB")
            elif type(event) is h11.Response:
                head = event
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


_idle: dict[Origin, deque[Connection]] = {}


def _after_fork() -> None:
    """The child's own copies are closed; the connections stay the parent's."""
    for waiting in _idle.values():
        for connection in list(waiting):
            connection.close()
    _idle.clear()


os.register_at_fork(after_in_child=_after_fork)


def close_idle() -> None:
    """Closes the connections that wait for a next call."""
    for waiting in list(_idle.values()):
        while waiting:
            waiting.pop().close()


def _take(to: Origin) -> Connection | None:
    waiting = _idle.get(to)
    while waiting:
        try:
            connection = waiting.pop()  # the last one used: the others grow old and go
        except IndexError:  # another thread took it
            return None
        if connection.usable():
            return connection
        connection.close()
    return None


def _keep(connection: Connection) -> None:
    if not connection.reuse():
        connection.close()
        return
    waiting = _idle.setdefault(connection.to, deque())
    waiting.append(connection)
    while waiting and (len(waiting) > IDLE_CONNECTIONS or connection.idle_since - waiting[0].idle_since > IDLE_SECONDS):
        try:
            waiting.popleft().close()
        except IndexError:
            return


# The two drivers -------------------------------------------------------------------------------------------------------


def post(url: str, headers: Sequence[tuple[str, str]], content: bytes, seconds: float) -> Reply:
    """Sends a request and waits for the whole answer.

    Raises:
        HTTPFailure: no whole answer came.
        TimeoutError: the time is up, however busily the server sends.
        UnknownScheme: the address, or the proxy's, is not for this client.
    """
    end = time.monotonic() + seconds
    for _ in range(REDIRECTS):
        reply = _post(url, headers, content, end)
        if (moved := _moved(url, reply)) is None:
            return reply
        url = moved
    return reply


def _post(url: str, headers: Sequence[tuple[str, str]], content: bytes, end: float) -> Reply:
    scheme, host, port, target = locate(url)
    to = origin(scheme, host, port, () if is_loopback(host) else proxy_settings())
    connection = _take(to)
    try:
        try:
            if connection is None:
                connection = _connect(to, end)
                _drive(connection, connection.opening(), end)
            reply = _drive(connection, connection.exchange(target, headers, content), end)
        except Exception as error:
            raise _failure(connection, error) from None
    except _HungUp:
        return _post(url, headers, content, end)
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    _keep(connection)
    return reply


def _drive(connection: Connection, traffic: Traffic[T], end: float) -> T:
    sock = connection.sock
    data = b""
    try:
        want = next(traffic)
        while True:
            sock.settimeout(_left(end))
            if want is None:
                data = sock.recv(CHUNK)
                connection.heard = connection.heard or bool(data)
            else:
                try:
                    sock.sendall(want)
                except (BrokenPipeError, ConnectionResetError):
                    connection.spent = True  # it may have answered before it hung up: 413 to a long request
            want = traffic.send(data)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _connect(to: Origin, end: float) -> Connection:
    host, port = (to.proxy.host, to.proxy.port) if to.proxy is not None else (to.host, to.port)
    failure: OSError = ConnectionError("the host has no address")
    places = _resolved(host, port, end)
    for number, (family, address) in enumerate(places):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(_left(end) if number == len(places) - 1 else min(_left(end), CONNECT_SECONDS))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
            continue
        return Connection(sock, to)
    raise failure


def _resolved(host: str, port: int, end: float) -> list[tuple[int, Any]]:
    """A name's addresses. The system's resolver knows no time limit, so it is asked in a thread of its own."""
    if (known := _numeric(host, port)) is not None:
        return known
    done: Future[Any] = Future()

    def ask() -> None:
        try:
            done.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            done.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(ask,), daemon=True).start()
    return [(family, address) for family, _, _, _, address in done.result(_left(end))]


def _numeric(host: str, port: int) -> list[tuple[int, Any]] | None:
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    return [(socket.AF_INET, (host, port)) if version == 4 else (socket.AF_INET6, (host, port, 0, 0))]


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, 1e6)  # sockets know no infinity


async def apost(url: str, headers: Sequence[tuple[str, str]], content: bytes, seconds: float) -> Reply:
    """The async form of ``post``."""
    async with asyncio.timeout(seconds):
        for _ in range(REDIRECTS):
            reply = await _apost(url, headers, content)
            if (moved := _moved(url, reply)) is None:
                return reply
            url = moved
        return reply


async def _apost(url: str, headers: Sequence[tuple[str, str]], content: bytes) -> Reply:
    scheme, host, port, target = locate(url)
    to = origin(scheme, host, port, () if is_loopback(host) else proxy_settings())
    connection = _take(to)
    try:
        try:
            if connection is None:
                connection = await _aconnect(to)
                await _adrive(connection, connection.opening())
            reply = await _adrive(connection, connection.exchange(target, headers, content))
        except Exception as error:
            raise _failure(connection, error) from None
    except _HungUp:
        return await _apost(url, headers, content)
    except BaseException:  # a cancellation too: what is under way on this connection is nobody else's answer
        if connection is not None:
            connection.close()
        raise
    _keep(connection)
    return reply


async def _adrive(connection: Connection, traffic: Traffic[T]) -> T:
    sock, loop = connection.sock, asyncio.get_running_loop()
    data = b""
    try:
        want = next(traffic)
        while True:
            if want is None:
                data = await loop.sock_recv(sock, CHUNK)
                connection.heard = connection.heard or bool(data)
            else:
                try:
                    await loop.sock_sendall(sock, want)
                except (BrokenPipeError, ConnectionResetError):
                    connection.spent = True  # see _drive
            want = traffic.send(data)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _aconnect(to: Origin) -> Connection:
    host, port = (to.proxy.host, to.proxy.port) if to.proxy is not None else (to.host, to.port)
    loop = asyncio.get_running_loop()
    places = _numeric(host, port)
    if places is None:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        places = [(family, address) for family, _, _, _, address in found]
    failure: OSError = ConnectionError("the host has no address")
    for number, (family, address) in enumerate(places):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            async with asyncio.timeout(None if number == len(places) - 1 else CONNECT_SECONDS):
                await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
            continue
        except BaseException:
            sock.close()
            raise
        return Connection(sock, to)
    raise failure


def _moved(url: str, reply: Reply) -> str | None:
    """Where the same host sends the same request on to, as for a slash at the end; nothing is sent to another host."""
    if reply.status not in (307, 308) or not (where := reply.headers.get("location")):
        return None
    scheme, host, port, _ = locate(url)
    if where.startswith("/") and not where.startswith("//"):
        return f"{scheme}://{Origin(scheme, host, port).authority}{where}"
    try:
        return where if locate(where)[:3] == (scheme, host, port) else None
    except UnknownScheme:
        return None


def _failure(connection: Connection | None, error: Exception) -> Exception:
    """What to raise for a call that failed."""
    if isinstance(error, TimeoutError):
        return TimeoutError()
    if not isinstance(error, OSError | h11.RemoteProtocolError | h11.LocalProtocolError | HTTPFailure):
        return error
    local = isinstance(error, h11.LocalProtocolError | ssl.SSLError)
    if connection is not None and connection.calls and not connection.heard and not local:
        connection.close()
        return _HungUp()
    return error if isinstance(error, HTTPFailure) else HTTPFailure(_told(error))


def _told(error: BaseException) -> str:
    if isinstance(error, h11.LocalProtocolError):
        return "a header holds what HTTP cannot send"  # which may be a key
    if isinstance(error, h11.RemoteProtocolError):
        return f"the server's answer is not HTTP or ends too soon: {error}"
    if isinstance(error, socket.gaierror):
        return f"the host's name is not known: {error.strerror}"
    return f"{error.strerror or error}" if isinstance(error, OSError) else str(error)
