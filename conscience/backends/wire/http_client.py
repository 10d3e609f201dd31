"""One small HTTP/1.1 client for every call of the light wire: pooled, within a deadline, sync and async in one flow.

A call is a generator over bytes (h11 for HTTP, ``ssl.SSLObject`` for TLS, CONNECT for proxies) with two thin drivers that do
the reading and writing. So an idle connection is a plain socket that belongs to no event loop and no thread: whoever calls
next takes it. A forked child begins with an empty pool. A call with httpx costs ten times the CPU (docs/backends.md).
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any, TypeVar

import h11

from conscience._base.forks import after_fork
from conscience.backends.wire.connection import CHUNK, IDLE_SECONDS, Connection, HTTPFailure, HungUp, Reply, Sink, Traffic
from conscience.backends.wire.origins import Origin, UnknownScheme, is_loopback, locate, origin, proxy_settings

T = TypeVar("T")


IDLE_CONNECTIONS = 128
CONNECT_SECONDS = 3.0
"""For each of a host's addresses but the last: one that leads nowhere must not take all of the time."""
REDIRECTS = 3


_idle: dict[Origin, deque[Connection]] = {}


def _after_fork() -> None:
    """The child's own copies are closed; the connections stay the parent's."""
    for waiting in _idle.values():
        for connection in list(waiting):
            connection.close()
    _idle.clear()


after_fork(_after_fork)


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
    except HungUp:
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


async def apost(
    url: str, headers: Sequence[tuple[str, str]], content: bytes, seconds: float, sink: Sink | None = None
) -> Reply:
    """The async form of ``post``; ``sink`` is given a streamed body as it comes, see ``Connection.exchange``."""
    async with asyncio.timeout(seconds):
        for _ in range(REDIRECTS):
            reply = await _apost(url, headers, content, sink)
            if (moved := _moved(url, reply)) is None:
                return reply
            url = moved
        return reply


async def _apost(url: str, headers: Sequence[tuple[str, str]], content: bytes, sink: Sink | None) -> Reply:
    scheme, host, port, target = locate(url)
    to = origin(scheme, host, port, () if is_loopback(host) else proxy_settings())
    connection = _take(to)
    try:
        try:
            if connection is None:
                connection = await _aconnect(to)
                await _adrive(connection, connection.opening())
            reply = await _adrive(connection, connection.exchange(target, headers, content, sink))
        except Exception as error:
            raise _failure(connection, error) from None
    except HungUp:
        return await _apost(url, headers, content, sink)
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
        return HungUp()
    return error if isinstance(error, HTTPFailure) else HTTPFailure(_told(error))


def _told(error: BaseException) -> str:
    if isinstance(error, h11.LocalProtocolError):
        return "a header holds what HTTP cannot send"  # which may be a key
    if isinstance(error, h11.RemoteProtocolError):
        return f"the server's answer is not HTTP or ends too soon: {error}"
    if isinstance(error, socket.gaierror):
        return f"the host's name is not known: {error.strerror}"
    return f"{error.strerror or error}" if isinstance(error, OSError) else str(error)
