"""An OpenAI-compatible server on loopback that behaves as it is told, well or badly."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from conscience.testing import is_critique as is_critique
from conscience.testing import is_gate as is_gate
from conscience.testing import is_revision as is_revision

Body = dict[str, Any]


@dataclass(frozen=True)
class Raw:
    """An answer on the wire as it is.

    ``hang`` waits that long before answering; ``drip`` sends blanks for that long first; ``cut`` promises more bytes than it
    sends.
    """

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    hang: float = 0.0
    drip: float = 0.0
    cut: bool = False


@dataclass(frozen=True)
class Streamed:
    """A streamed answer on the wire: what is written (bytes) and how long nothing is (seconds), in order.

    ``cut`` ends the connection in the middle of the body; ``endless`` leaves it open after the last piece.
    """

    pieces: Sequence[bytes | float]
    cut: bool = False
    endless: bool = False
    content_type: str = "text/event-stream"


def chunk(text: str | None = None, *, finish: str | None = None, usage: bool = False, **delta: Any) -> bytes:
    """One event of a chat stream."""
    body: Body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
    body["choices"] = [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": finish}]
    if usage:
        body |= {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def stream(*texts: str, pause: float = 0.0) -> Streamed:
    """A well-formed stream of these pieces of text."""
    pieces = [part for text in texts for part in (chunk(text), pause)]
    return Streamed([*pieces, chunk(finish="stop"), chunk(usage=True), b"data: [DONE]\n\n"])


def chat(text: str | None, *, yes: float | None = None, finish: str = "stop", **message: Any) -> Body:
    """A well-formed chat completion; ``yes`` adds log-probabilities in which Yes has this probability."""
    import math

    choice: Body = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    if yes is not None:
        top = [{"token": "Yes", "logprob": math.log(yes)}, {"token": "No", "logprob": math.log(1 - yes)}]
        choice["logprobs"] = {"content": [{**max(top, key=lambda t: t["logprob"]), "bytes": None, "top_logprobs": top}]}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def error(status: int, message: str, **headers: str) -> Raw:
    """An error in OpenAI's form."""
    return Raw(status, json.dumps({"error": {"message": message, "type": "x", "code": None}}), headers)


Behaviour = Callable[[Body, int], Body | Raw | Streamed]


def well_behaved(body: Body, number: int) -> Body | Raw:
    """Flags answers that hold BADWORD, finds what it flagged, and revises it to be clean."""
    said = json.dumps(body["messages"])
    if is_gate(body):
        return chat("Yes" if "BADWORD" in said else "No", yes=0.95 if "BADWORD" in said else 0.05)
    if is_critique(body):
        finding = {"principle": "no-serious-harm", "quote": "BADWORD", "why": "It harms.", "change": "Leave it out."}
        return chat(json.dumps({"findings": [finding] if "BADWORD" in said else []}))
    if is_revision(body):
        return chat("A clean answer.")
    return chat("BADWORD, do it." if "UNSAFE" in said else "Paris.")


class Loopback:
    """The server; ``behaviour(body, number)`` answers the number-th call, counted from 1."""

    def __init__(self, behaviour: Behaviour = well_behaved) -> None:
        self.behaviour = behaviour
        self.calls: list[Body] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.left: list[Body] = []  # requests whose client went away while they were answered
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits 40 ms for the client's acknowledgement of its headers

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
                with outer._lock:
                    outer.calls.append(body)
                    outer.paths.append(self.path)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    number = len(outer.calls)
                answer = outer.behaviour(body, number)
                if isinstance(answer, Streamed):
                    self.stream(answer, body)
                    return
                raw = answer if isinstance(answer, Raw) else Raw(text=json.dumps(answer))
                if raw.hang:
                    time.sleep(raw.hang)
                data, blanks = raw.text.encode(), round(raw.drip / 0.1)
                try:
                    self.send_response(raw.status)
                    self.send_header("content-type", raw.content_type)
                    self.send_header("content-length", str(blanks + len(data) + (100 if raw.cut else 0)))
                    for key, value in raw.headers.items():
                        self.send_header(key, value)
                    self.end_headers()
                    for _ in range(blanks):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                        time.sleep(0.1)
                    self.wfile.write(data)
                    self.wfile.flush()
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client gave up, which is what some tests are about
                if raw.cut:
                    self.close_connection = True

            def stream(self, answer: Streamed, body: Body) -> None:
                self.send_response(200)
                self.send_header("content-type", answer.content_type)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                try:
                    for piece in answer.pieces:
                        if isinstance(piece, float):
                            if self.gone(piece):
                                raise ConnectionResetError
                        elif piece:
                            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                            self.wfile.flush()
                    if answer.endless and self.gone(30.0):
                        raise ConnectionResetError
                    if not (answer.endless or answer.cut):
                        self.wfile.write(b"0\r\n\r\n")
                except (BrokenPipeError, ConnectionResetError):
                    outer.left.append(body)
                    self.close_connection = True
                if answer.cut:
                    self.close_connection = True

            def gone(self, seconds: float) -> bool:
                """Waits; ends it early where the client leaves."""
                if not select.select([self.connection], [], [], seconds)[0]:
                    return False
                return not self.connection.recv(1, socket.MSG_PEEK)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Loopback:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def backend(self, model: str = "openai/fake", **options: Any) -> Any:
        """A backend that reaches this server as its provider, through LiteLLM."""
        from conscience import Backend

        options = {"cache": False, "retries": 1, "timeout": 20.0, **options}
        return Backend(model, api_base=self.url, api_key="sk-test-secret-0123", **options)
