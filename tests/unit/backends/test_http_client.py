"""The light wire's HTTP client: its deadlines, its connections, forks, proxies and TLS."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conscience.backends.wire import connection, http_client
from conscience.backends.wire.http_client import HTTPFailure, apost, close_idle, post
from conscience.backends.wire.origins import Proxy, UnknownScheme, locate, origin, proxy_settings
from tests.conftest import ROOT
from tests.support.loopback import Loopback, Raw, chat

HEADERS = [("content-type", "application/json")]
BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.fixture(autouse=True)
def _no_idle_connections() -> Iterator[None]:
    close_idle()
    yield
    close_idle()


def serving(answer: Callable[[socket.socket, bytes], None]) -> str:
    """A server that answers one connection after another with raw bytes; its address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                try:
                    answer(connection, connection.recv(65536))
                except OSError:
                    pass  # the client gave up, which is what some tests are about

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def drip(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.05)


def drip_headers(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        connection.sendall(b"x-%d: 1\r\n" % number)
        time.sleep(0.05)


@pytest.mark.parametrize("behaviour", [drip, drip_headers])
def test_a_dripping_server_does_not_outlast_the_deadline(behaviour: Any) -> None:
    url = serving(behaviour)
    begun, threads = time.monotonic(), threading.active_count()
    with pytest.raises(TimeoutError):
        post(url, HEADERS, BODY, 0.4)
    assert time.monotonic() - begun < 1.0
    assert threading.active_count() < threads + 10


@pytest.mark.parametrize("behaviour", [drip, drip_headers])
async def test_nor_async(behaviour: Any) -> None:
    url = serving(behaviour)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await apost(url, HEADERS, BODY, 0.4)
    assert time.monotonic() - begun < 1.0


def test_a_connection_serves_the_next_call_from_any_thread_or_loop(server: Loopback) -> None:
    def sockets() -> int:
        return sum(len(waiting) for waiting in http_client._idle.values())

    post(server.url, HEADERS, BODY, 5.0)
    asyncio.run(apost(server.url, HEADERS, BODY, 5.0))
    asyncio.run(apost(server.url, HEADERS, BODY, 5.0))
    worker = threading.Thread(target=post, args=(server.url, HEADERS, BODY, 5.0))
    worker.start()
    worker.join()
    assert len(server.calls) == 4
    assert sockets() == 1


def test_the_length_is_that_of_what_is_sent() -> None:
    """Of each call on one connection, whatever length the caller's headers claim."""
    seen: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    url = serving(answer)
    for content in (b"1", b"123", b""):
        assert post(url, [*HEADERS, ("Content-Length", "999")], content, 5.0).content == b"{}"
    told = [[line for line in request.split(b"\r\n") if line.lower().startswith(b"content-length")] for request in seen]
    assert told == [[b"content-length: 1"], [b"content-length: 3"], [b"content-length: 0"]]


async def test_a_cancelled_call_leaves_no_connection_to_the_next(server: Loopback) -> None:
    server.behaviour = lambda body, number: Raw(hang=0.5, text="late") if number == 1 else chat("second")
    with pytest.raises(TimeoutError):
        await apost(server.url, HEADERS, BODY, 0.1)
    reply = await apost(server.url, HEADERS, BODY, 5.0)
    assert b"second" in reply.content


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    def once(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")  # and closes, without a word

    url = serving(once)
    for _ in range(5):
        assert post(url, HEADERS, BODY, 5.0).content == b"ok"
        assert asyncio.run(apost(url, HEADERS, BODY, 5.0)).content == b"ok"


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", b"HTTP/1.1 200 OK\r\n", b"\0" * 300_000],
)
def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    url = serving(lambda connection, request: connection.sendall(answer))
    with pytest.raises(HTTPFailure):
        post(url, HEADERS, BODY, 5.0)
    with pytest.raises(HTTPFailure):
        asyncio.run(apost(url, HEADERS, BODY, 5.0))


def test_answers_in_chunks_packed_or_without_a_length_are_whole() -> None:
    packed = gzip.compress(b"packed")
    answers = iter(
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed,
            b"HTTP/1.0 200 OK\r\n\r\nto the end",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ]
    )
    url = serving(lambda connection, request: connection.sendall(next(answers)))
    assert [post(url, HEADERS, BODY, 5.0).content for _ in range(4)] == [b"abcde", b"packed", b"to the end", b"ok"]


def test_a_redirect_is_followed_on_the_same_host_only() -> None:
    def move(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"POST /v1 "):
            connection.sendall(b"HTTP/1.1 307 X\r\nlocation: /v1/\r\ncontent-length: 0\r\n\r\n")
        elif request.startswith(b"POST /v1/ "):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        else:
            connection.sendall(b"HTTP/1.1 307 X\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n")

    url = serving(move)
    assert post(url, HEADERS, BODY, 5.0).content == b"ok"
    assert post(url + "/away", HEADERS, BODY, 5.0).status == 307


def test_what_a_server_says_before_it_hangs_up_on_a_long_request_is_heard() -> None:
    def refuse(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 413 X\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            time.sleep(0.001)

    url = serving(refuse)
    assert post(url, HEADERS, b"x" * 20_000_000, 20.0).status == 413
    assert asyncio.run(apost(url, HEADERS, b"x" * 20_000_000, 20.0)).status == 413


def test_a_header_that_http_cannot_send_is_not_told(server: Loopback) -> None:
    with pytest.raises(HTTPFailure) as caught:
        post(server.url, [("authorization", "Bearer sk-secret\n")], BODY, 5.0)
    assert "secret" not in str(caught.value)


def test_addresses() -> None:
    assert locate("http://host/my path/v1") == ("http", "host", 80, "/my%20path/v1")
    assert locate("https://[::1]:8443/v1?a=b c")[1:] == ("::1", 8443, "/v1?a=b%20c")
    for bad in ("ftp://host/", "host/v1", "http://user:pass@host/", "http://[", "http://host:x/"):
        with pytest.raises(UnknownScheme):
            locate(bad)


PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("host", "exempt", "through"),
    [
        ("api.openai.com", "", True),
        ("localhost", "", False),
        ("127.0.0.1", "", False),
        ("::1", "", False),
        ("api.openai.com", "*", False),
        ("api.openai.com", "openai.com", False),
        ("api.openai.com", ".openai.com", False),
        ("api.openai.com", "*.openai.com", False),
        ("API.openai.com", " x.y , OPENAI.COM ", False),
        ("notopenai.com", "openai.com", True),
        ("api.openai.com", "openai.com:443", False),
        ("api.openai.com", "openai.com:80", True),
        ("10.1.2.3", "10.0.0.0/8", False),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", False),
    ],
)
def test_no_proxy_reads_as_unix_programs_read_it(host: str, exempt: str, through: bool) -> None:
    assert (origin("https", host, 443, ("", PROXY, "", exempt)).proxy is not None) is through


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ALL_PROXY", "http://user:p%40ss@all:1")
    found = origin("https", "host", 443, proxy_settings()).proxy
    assert found is not None
    assert (found.host, found.port, found.credentials) == ("all", 1, "Basic dXNlcjpwQHNz")
    assert "p@ss" not in repr(found)
    monkeypatch.setenv("HTTP_PROXY", "http://upper:2")
    monkeypatch.setenv("http_proxy", "lower:3")
    assert origin("http", "host", 80, proxy_settings()).proxy == Proxy("lower", 3)
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv("REQUEST_METHOD", "GET")  # a CGI script's HTTP_PROXY is its caller's header
    assert origin("http", "host", 80, proxy_settings()).proxy != Proxy("upper", 2)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://x:1")
    with pytest.raises(UnknownScheme):
        origin("https", "host", 443, proxy_settings())


def test_loopback_ignores_proxies_and_others_obey_them(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(server.url, HEADERS, BODY, 5.0).status == 200
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    assert post("http://model.example/v1", HEADERS, BODY, 5.0).status == 200
    assert server.paths[-1] == "http://model.example/v1"
    assert server.headers[-1]["host"] == "model.example"


# TLS and tunnels -------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of localhost's own, with its key."""
    path = tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extra = ["-addext", "subjectAltName=DNS:localhost,DNS:model.example", "-keyout", str(path), "-out", str(tmp_path / "c")]
    try:
        subprocess.run([*command, *extra], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    path.write_text(path.read_text() + (tmp_path / "c").read_text())
    return path


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that answers over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listening = socket.create_server(("127.0.0.1", 0))

    def talk(raw: socket.socket) -> None:
        try:
            with context.wrap_socket(raw, server_side=True) as connection:
                while connection.recv(65536):
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b"x" * 70_000)
        except OSError:
            pass  # a certificate that the client does not trust

    def serve() -> None:
        while True:
            raw, _ = listening.accept()
            threading.Thread(target=talk, args=(raw,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    connection.tls_context.cache_clear()
    yield listening.getsockname()[1]
    connection.tls_context.cache_clear()


def test_tls_sync_and_async(secure: int) -> None:
    url = f"https://localhost:{secure}/v1"
    for _ in range(3):
        assert len(post(url, HEADERS, BODY, 5.0).content) == 70_000
        assert len(asyncio.run(apost(url, HEADERS, BODY, 5.0)).content) == 70_000


def test_tls_of_another_is_refused(secure: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    connection.tls_context.cache_clear()
    with pytest.raises(HTTPFailure, match="TLS"):
        post(f"https://localhost:{secure}/v1", HEADERS, BODY, 5.0)


def test_a_tunnel_through_a_proxy(secure: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def relay(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", secure)) as onward:

            def back() -> None:
                with suppress(OSError):  # the other side closed first
                    while data := onward.recv(65536):
                        connection.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            while data := connection.recv(65536):
                onward.sendall(data)

    monkeypatch.setenv("https_proxy", serving(relay).removesuffix("/v1").replace("//", "//me:word@"))
    assert len(post("https://model.example/v1", HEADERS, BODY, 5.0).content) == 70_000
    assert asked[0].startswith(b"CONNECT model.example:443 HTTP/1.1\r\n")
    assert b"proxy-authorization: Basic bWU6d29yZA==" in asked[0].lower().replace(b"bwu6d29yza==", b"bWU6d29yZA==").replace(
        b"basic", b"Basic"
    )


# Processes -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_nothing_crosses_after_a_fork(server: Loopback) -> None:
    """Eight children of a process with warm connections, twenty requests each, sync and async."""
    server.behaviour = lambda body, number: {"echo": body["say"]}

    def ask(words: str) -> bytes:
        return json.dumps({"say": words}).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda args: None)
        warm = [threading.Thread(target=post, args=(server.url, HEADERS, ask("warm"), 5.0)) for _ in range(8)]
        for thread in warm:
            thread.start()
        for thread in warm:
            thread.join()
    script = textwrap.dedent(
        """
        import asyncio, json, os, sys, threading
        from conscience.backends.wire.http_client import apost, post
        url, headers = sys.argv[1], [("content-type", "application/json")]
        def ask(words): return json.dumps({"say": words}).encode()
        threads = [threading.Thread(target=post, args=(url, headers, ask("warm"), 9.0)) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        children = []
        for child in range(8):
            if (pid := os.fork()) == 0:
                wrong = 0
                for number in range(20):
                    words = f"{child}-{number}"
                    reply = post(url, headers, ask(words), 9.0) if number % 2 else asyncio.run(
                        apost(url, headers, ask(words), 9.0))
                    wrong += json.loads(reply.content)["echo"] != words
                os._exit(min(wrong, 100))
            children.append(pid)
        for number in range(20):
            words = f"parent-{number}"
            assert json.loads(post(url, headers, ask(words), 9.0).content)["echo"] == words
        print(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
        """
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, server.url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert len(server.calls) >= 8 + 8 + 8 * 20 + 20


def test_an_interpreter_ends_without_warnings(server: Loopback) -> None:
    script = (
        "import asyncio, sys; from conscience.backends.wire.http_client import apost, post\n"
        "h = [('content-type', 'application/json')]\n"
        "async def many(): await asyncio.gather(*(apost(sys.argv[1], h, b'{}', 9.0) for _ in range(9)))\n"
        "server = post(sys.argv[1], h, b'{}', 9.0); asyncio.run(many())\n"
        "print('asyncio.sslproto' in sys.modules, 'httpx' in sys.modules, 'litellm' in sys.modules)"
    )
    server.behaviour = lambda body, number: {}
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script, server.url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stderr == ""
    assert done.stdout.split()[1:] == ["False", "False"]
