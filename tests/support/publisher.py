"""A publisher of one file on loopback, which serves it well or badly; and wheels that carry it in parts."""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """How one request is answered.

    Attributes:
        status: None for 206 or 200, whichever a server with ranges gives.
        ranges: whether Range is obeyed.
        cut: bytes of the body after which the connection ends, whatever was promised.
        body: what is served; None for the file.
        length: whether Content-Length is sent.
        pause: seconds before each 16 KB of the body.
        headers: more of them, or others.
    """

    status: int | None = None
    ranges: bool = True
    cut: int | None = None
    body: bytes | None = None
    length: bool = True
    pause: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


class Publisher:
    """The server; ``behaviour(number)`` answers the number-th request, counted from 1."""

    def __init__(self, content: bytes, behaviour: Callable[[int], Answer] = lambda number: Answer()) -> None:
        self.content, self.behaviour = content, behaviour
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("range")))
                outer._answer(self, outer.behaviour(len(outer.asked)))

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        body = self.content if answer.body is None else answer.body
        asked = handler.headers.get("range")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and answer.ranges else 0
        headers = {"Content-Type": "application/octet-stream"}
        status = answer.status or (206 if begin else 200)
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        if answer.length:
            headers["Content-Length"] = str(len(body) - begin)
        handler.send_response(status)
        for name, value in {**headers, **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        rest = body[begin:] if answer.cut is None else body[begin : begin + answer.cut]
        try:
            for start in range(0, len(rest), 16_384):
                time.sleep(answer.pause)
                handler.wfile.write(rest[start : start + 16_384])
        except OSError:
            pass  # whoever asked has left

    def __enter__(self) -> Publisher:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


def write_wheel(folder: Path, requirement: str, member: str, content: bytes) -> Path:
    """A wheel that pip takes, with one data file; importing it would fail the test."""
    name, _, version = requirement.partition("==")
    package = name.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    path = folder / f"{package}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{package}/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(member.replace("*", package), content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: nowhere\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path
