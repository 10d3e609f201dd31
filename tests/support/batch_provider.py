"""A provider of batch files on loopback, as strict as OpenAI's about what it is sent, and with its habits.

Input files are validated when a batch is begun, as there: one that is wrong ends as ``failed`` with the line and the reason.
Replies come in another order than the requests, and failed ones in a file of their own.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import Behaviour, Body, Raw, well_behaved

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings", "/v1/responses")
AZURE = "/chat/completions"


@dataclass
class Fate:
    """What becomes of one batch.

    Attributes:
        looks: how often it is looked at before it ends.
        ends: its last status.
        answered: how many of its requests are answered by then; None is all.
        refused: the code of a validation error, in place of any validation.
        late: how many looks after its end it still names no output file.
        silent: whether its files are empty though it is completed.
        words: statuses on the way, in place of OpenAI's.
        untold: whether it tells no counts of requests.
        careless: whether its files have statuses as texts, and numbers that are none.
    """

    looks: int = 1
    ends: str = "completed"
    answered: int | None = None
    refused: str = ""
    late: int = 0
    silent: bool = False
    words: Sequence[str] = ("validating", "in_progress", "finalizing")
    untold: bool = False
    careless: bool = False


@dataclass
class Stored:
    """A batch as the provider keeps it."""

    id: str
    input_file_id: str
    endpoint: str
    metadata: dict[str, str]
    fate: Fate
    created_at: int = field(default_factory=lambda: int(time.time()))
    looks: int = 0
    ended: str = ""
    output: str | None = None
    errors_file: str = ""  # OpenAI writes "" where there is none
    completed: int = 0
    failed: int = 0
    total: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)


class BatchProvider:
    """The server.

    Args:
        behaviour: answers a request as a chat server would; a ``Raw`` is a failed one.
        fates: of the batches, in order; the last one goes on for all that follow.
    """

    def __init__(self, behaviour: Behaviour = well_behaved, fates: Sequence[Fate] = (Fate(),)) -> None:
        self.behaviour = behaviour
        self.fates = list(fates)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Stored] = {}
        self.answered: list[Body] = []  # requests that were paid for by batch
        self.live: list[Body] = []  # requests that were asked live
        self.creating: list[int | str] = []  # what comes of the next calls that begin a batch: a status, "lost", "cut"
        self.failing: list[int] = []  # statuses of the next other calls
        self.most_requests = 50_000
        self.most_bytes = 200_000_000
        self.enqueued_limit: int | None = None  # requests
        self.retry_after = "0"
        self.paths: list[str] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> BatchProvider:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def env(self) -> dict[str, str]:
        """What makes ``openai/…`` reach it."""
        return {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": "sk-test-secret-0123"}

    def inputs(self) -> list[list[dict[str, Any]]]:
        """The lines of each batch that was begun."""
        return [_lines(self.files[batch.input_file_id]) for batch in self.batches.values()]

    # Requests --------------------------------------------------------------------------------------------------------

    def handle(self, method: str, path: str, headers: Any, content: bytes) -> tuple[int, Any]:
        with self._lock:
            return self._handle(method, path, headers, content)

    def _handle(self, method: str, path: str, headers: Any, content: bytes) -> tuple[int, Any]:
        parts = urlsplit(path)
        azure = parts.path.startswith("/openai/")
        if azure and parse_qs(parts.query).get("api-version") != ["2024-10-21"]:
            return 404, _error("no api-version")
        route = parts.path.removeprefix("/openai" if azure else "/v1")
        self.paths.append(f"{method} {route}")
        if route == "/chat/completions":
            body = json.loads(content)
            self.live.append(body)
            answer = self.behaviour(body, len(self.live) + len(self.answered))
            return (answer.status, json.loads(answer.text)) if isinstance(answer, Raw) else (200, answer)
        if (method, route) != ("POST", "/batches") and self.failing:
            return self.failing.pop(0), _error("the server is busy")
        if (method, route) == ("POST", "/files"):
            return self._upload(headers, content)
        if (method, route) == ("POST", "/batches"):
            return self._create(json.loads(content), (AZURE,) if azure else ENDPOINTS)
        if (method, route) == ("GET", "/batches"):
            return self._list({name: values[0] for name, values in parse_qs(parts.query).items()})
        if found := re.fullmatch(r"/batches/([\w-]+)(/cancel)?", route):
            batch = self.batches.get(found[1])
            if batch is None:
                return 404, _error("No such batch", code="not_found")
            if found[2] and not batch.ended:
                batch.fate.ends, batch.fate.looks = "cancelled", batch.looks + 1
                return 200, {**self._shown(batch), "status": "cancelling"}
            return 200, self._look(batch)
        if found := re.fullmatch(r"/files/([\w-]+)/content", route):
            return (200, self.files[found[1]]) if found[1] in self.files else (404, _error("No such file"))
        return 404, _error(f"no route {method} {route}")

    def _upload(self, headers: Any, content: bytes) -> tuple[int, Any]:
        kind = f"content-type: {headers['content-type']}\r\n\r\n".encode()
        form = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in BytesParser(policy=HTTP).parsebytes(kind + content).iter_parts()  # type: ignore[attr-defined]
        }
        if form.get("purpose") != b"batch":
            return 400, _error("purpose is not batch")
        if len(form["file"]) > self.most_bytes:
            return 413, _error("the file is too large")
        name = f"file-{len(self.files) + 1}"
        self.files[name] = form["file"]
        return 200, {"id": name, "object": "file", "bytes": len(form["file"]), "created_at": 1, "purpose": "batch"}

    def _create(self, body: Body, endpoints: Sequence[str]) -> tuple[int, Any]:
        comes = self.creating.pop(0) if self.creating else 200
        if isinstance(comes, int) and 400 <= comes < 500:
            return comes, _error("too many requests, try again later")
        for name, value in (("completion_window", "24h"), ("endpoint", None), ("input_file_id", None)):
            if name not in body or (value is not None and body[name] != value):
                return 400, _error(f"invalid {name}", param=name)
        metadata = body.get("metadata") or {}
        if len(metadata) > 16 or not all(isinstance(v, str) and len(v) <= 512 for v in metadata.values()):
            return 400, _error("invalid metadata", param="metadata")
        if body["endpoint"] not in endpoints or body["input_file_id"] not in self.files:
            return 400, _error("no such endpoint or file")
        fate = self.fates[min(len(self.batches), len(self.fates) - 1)]
        fate = Fate(**vars(fate))
        batch = Stored(f"batch_{len(self.batches) + 1}", body["input_file_id"], body["endpoint"], metadata, fate)
        self._validate(batch)
        self.batches[batch.id] = batch
        if comes == 200:
            return 200, self._shown(batch)
        return (0, None) if comes in ("lost", "cut") else (int(comes), _error("an internal error"))  # begun all the same

    def _validate(self, batch: Stored) -> None:
        def refuse(code: str, message: str, line: int | None = None) -> None:
            batch.errors.append({"code": code, "message": message, "line": line, "param": None})

        content = self.files[batch.input_file_id]
        keys, models = set(), set()
        rows: list[Any] = []
        for number, line in enumerate(content.splitlines(), 1):
            try:
                row = json.loads(line)
                rows.append(row)
                body = row["body"]
            except (ValueError, TypeError, KeyError):
                refuse("invalid_json_line", "This line is not parseable as valid JSON.", number)
                continue
            key = row.get("custom_id")
            if not isinstance(key, str) or not key or len(key) > 64:
                refuse("missing_required_parameter", "custom_id is missing", number)
            if key in keys:
                refuse("duplicate_custom_id", f"The custom_id {key} is not unique.", number)
            if row.get("method") != "POST":
                refuse("invalid_method", "The method is not POST.", number)
            if row.get("url") != batch.endpoint:
                refuse("invalid_url", f"The URL does not match {batch.endpoint}.", number)
            if body.get("stream") or "timeout" in body or not body.get("messages"):
                refuse("invalid_body", "The body is no request of this endpoint.", number)
            keys.add(key)
            models.add(body.get("model"))
        if len(models) > 1:
            refuse("mismatched_model", "A batch must not hold several models.")
        if not rows:
            refuse("empty_file", "The batch file is empty.")
        if len(rows) > self.most_requests:
            refuse("too_many_tasks", f"More than {self.most_requests} requests.")
        batch.total = len(rows)
        under_way = sum(other.total for other in self.batches.values() if not other.ended)
        if self.enqueued_limit is not None and under_way + len(rows) > self.enqueued_limit:
            refuse("token_limit_exceeded", "Enqueued token limit reached for this model.")
        if batch.fate.refused:
            refuse(batch.fate.refused, "refused")
        if batch.errors:
            batch.fate.ends = "failed"

    def _list(self, query: dict[str, str]) -> tuple[int, Any]:
        rows = [self._shown(batch) for batch in reversed(self.batches.values())]
        if "after" in query:
            place = [row["id"] for row in rows].index(query["after"])
            rows = rows[place + 1 :]
        limit = min(int(query.get("limit", 20)), 2)  # small pages, so that clients have to turn them
        return 200, {"object": "list", "data": rows[:limit], "has_more": len(rows) > limit}

    def _look(self, batch: Stored) -> Body:
        batch.looks += 1
        if not batch.ended and batch.looks > batch.fate.looks:
            self._end(batch)
        return self._shown(batch)

    def _end(self, batch: Stored) -> None:
        batch.ended = batch.fate.ends
        if batch.ended == "failed":
            return
        rows = _lines(self.files[batch.input_file_id])
        count = len(rows) if batch.fate.answered is None else batch.fate.answered
        output, errors = [], []
        for row in rows[:count]:
            self.answered.append(row["body"])
            answer = self.behaviour(row["body"], len(self.answered))
            good = not isinstance(answer, Raw) or answer.status < 300
            body = json.loads(answer.text) if isinstance(answer, Raw) else answer
            status = answer.status if isinstance(answer, Raw) else 200
            reply = {"status_code": status, "request_id": "r", "body": body}
            if batch.fate.careless:
                reply |= {"status_code": str(status), "body": {**body, "entropy": float("-inf")}}
            (output if good else errors).append({"id": "x", "custom_id": row["custom_id"], "response": reply, "error": None})
        batch.completed, batch.failed = len(output), len(errors)
        code = {"expired": "batch_expired", "cancelled": "batch_cancelled"}.get(batch.ended)
        if code is not None:
            error = {"code": code, "message": f"This request was not executed: {code}."}
            errors += [{"id": "x", "custom_id": row["custom_id"], "response": None, "error": error} for row in rows[count:]]
        if batch.fate.silent:
            output, batch.completed = [], 0
        batch.output = self._file(output[::-1]) if output or batch.fate.silent else None
        batch.errors_file = self._file(errors[::-1]) if errors else ""

    def _file(self, rows: list[Any]) -> str:
        name = f"file-{len(self.files) + 1}"
        self.files[name] = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return name

    def _shown(self, batch: Stored) -> Body:
        words = batch.fate.words
        counts = {"total": batch.total, "completed": batch.completed, "failed": batch.failed}
        late = bool(batch.ended) and batch.looks <= batch.fate.looks + batch.fate.late
        return {
            "id": batch.id, "object": "batch", "endpoint": batch.endpoint, "input_file_id": batch.input_file_id,
            "completion_window": "24h", "status": batch.ended or words[min(batch.looks, len(words) - 1)],
            "output_file_id": None if late else batch.output, "error_file_id": batch.errors_file,
            "created_at": batch.created_at, "metadata": batch.metadata or None,
            "errors": {"object": "list", "data": batch.errors} if batch.errors and batch.ended else None,
            "request_counts": None if batch.fate.untold else counts,
        }  # fmt: skip


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def _error(message: str, *, code: str | None = None, param: str | None = None) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code, "param": param}}


def _handler(provider: BatchProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            keys = self.headers.get("authorization"), self.headers.get("api-key")
            if "Bearer sk-test-secret-0123" not in keys and "sk-test-secret-0123" not in keys:
                status, answer = 401, _error("Incorrect API key provided", code="invalid_api_key")
            else:
                status, answer = provider.handle(self.command, self.path, self.headers, content)
            if status == 0:  # the connection is lost after the request was taken
                self.close_connection = True
                return
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if status == 429:
                self.send_header("retry-after", provider.retry_after)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
