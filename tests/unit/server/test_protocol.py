"""What a client may draw out on the wire: a real server on loopback, and sockets that behave badly."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conscience.server import Limits
from tests.support.serving import HARM, Serving, scripted, serving

LIMITS = Limits(
    header_seconds=0.3, body_seconds=0.4, request_seconds=3, body_bytes=1 << 20, connections=40, concurrency=4, queue=2
)
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def body(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with serving({"m": scripted(), "slow": scripted(seconds=0.1)}, limits=LIMITS) as running:
        yield running


def raw(served: Serving, data: bytes) -> bytes:
    """What comes back for these bytes until the server closes."""
    with connected(served) as client:
        client.sendall(data)
        return everything(client)


def everything(client: socket.socket) -> bytes:
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def connected(served: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=5.0)


def drip(client: socket.socket, seconds: float) -> None:
    """Sends a byte now and then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.sendall(b"x")
        time.sleep(0.05)


def settled(served: Serving, connections: int = 0) -> bool:
    """Whether no more connections than these are left, after a while."""
    deadline = time.monotonic() + 10
    while served.connections > connections and time.monotonic() < deadline:
        time.sleep(0.02)
    return served.connections <= connections


def resident() -> int:
    """Bytes of memory that this process, which is the server's too, holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def error_in(response: bytes) -> dict[str, Any]:
    head, _, text = response.partition(b"\r\n\r\n")
    assert b"application/json" in head
    return {"status": int(head.split()[1]), **json.loads(text)["error"]}


def test_headers_that_do_not_end_are_told_so(served: Serving) -> None:
    """A client that sends a byte now and then does not keep its connection for ever."""
    with connected(served) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        for letter in b"x-slow: 1":
            time.sleep(0.05)
            try:
                client.sendall(bytes([letter]))
            except ConnectionError:
                break
        assert error_in(everything(client))["code"] == "timeout"


def test_a_connection_that_says_nothing_ends(served: Serving) -> None:
    assert error_in(raw(served, b""))["status"] == 408


def test_a_second_request_whose_headers_do_not_end_is_told_so_too(served: Serving) -> None:
    """The time between two requests is not the time of a head."""
    with connected(served) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200" in client.recv(65536)
        client.sendall(b"GET /heal")
        assert error_in(everything(client))["status"] == 408


def test_a_body_that_does_not_come_is_told_so(served: Serving) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    with connected(served) as client:
        client.sendall(head)
        assert error_in(everything(client))["status"] == 408  # and the connection does not stay for the rest of it


def test_a_body_that_nobody_waits_for_is_read_no_longer_than_others(served: Serving) -> None:
    """After a refusal a client may go on sending; not for ever."""
    with connected(served) as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        assert b" 404 " in client.recv(65536)
        with pytest.raises(ConnectionError):
            drip(client, 5)


NO_HTTP = [
    b"nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01" * 9,
    b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000,
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
]


@pytest.mark.parametrize("data", NO_HTTP)
def test_what_is_no_http_is_told_so_in_json(served: Serving, data: bytes) -> None:
    assert error_in(raw(served, data))["code"] == "bad_http"


def test_a_body_of_50_mb_is_refused_and_not_kept(served: Serving) -> None:
    """Announced or in chunks: the client hears of it, the memory stays where it was."""
    piece = b"x" * (1 << 20)
    before = resident()
    for announced in ({}, {"content-length": str(50 << 20)}):
        content = (piece for _ in range(50))
        response = httpx.post(served.url + CHAT, content=content, headers={**JSON, **announced}, timeout=20)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
    assert resident() - before < 40 << 20


def test_a_reader_that_stands_still_loses_its_connection() -> None:
    """An answer that is not taken is not kept."""
    with serving(limits=Limits(body_seconds=0.4)) as served, connected(served) as client:
        client.sendall(_post(body("long", stream=True)))
        assert client.recv(10)
        assert settled(served)


def _post(content: Any) -> bytes:
    data = json.dumps(content).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def test_too_many_connections_are_told_so() -> None:
    with serving(limits=Limits(connections=2)) as served:
        with connected(served), connected(served):
            assert error_in(raw(served, b""))["status"] == 429
        assert settled(served)
        assert httpx.get(served.url + "/healthz").status_code == 200


def test_clients_that_leave_take_nothing_with_them(served: Serving) -> None:
    """In the middle of a stream, thirty of them: no connection stays, no turn is lost, and the server goes on."""

    def leave(number: int) -> None:
        with connected(served) as client:
            client.sendall(_post(body("harm" if number % 2 else "hi", stream=True, model="slow" if number % 3 else "m")))
            time.sleep(0.01 * (number % 7))

    threads = [threading.Thread(target=leave, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settled(served)
    answers = [httpx.post(served.url + CHAT, json=body("harm"), timeout=10) for _ in range(5)]
    assert {a.json()["choices"][0]["message"]["content"] for a in answers} == {"A clean answer."}
    assert not any(HARM in a.text for a in answers)


def test_a_full_queue_says_so_at_once() -> None:
    """Room for one, one may wait: the rest hear of it while the first is still answered."""
    with serving({"m": scripted(seconds=0.2)}, limits=Limits(concurrency=1, queue=1)) as served:
        codes = []

        def ask() -> None:
            response = httpx.post(served.url + CHAT, json=body(), timeout=20)
            codes.append(response.status_code)
            if response.status_code == 429:
                assert response.json()["error"]["code"] == "server_busy"
                assert response.headers["retry-after"]

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [200, 200, 429, 429, 429, 429]
