"""A stand-in for OpenAI's fine-tuning API on loopback, which refuses what OpenAI documents that it refuses.

Files are parsed from the multipart body as they come. A file's lines are looked at when a job validates them, as at OpenAI:
the job fails then. Each look at a job takes it one status further.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Body = dict[str, Any]
COURSE = ("validating_files", "queued", "running", "running", "succeeded")
MODELS = re.compile(r"(ft:)?gpt-(4\.1(-mini|-nano)?-2025-04-14|4o(-mini)?-20\d\d-\d\d-\d\d)(:.*)?")
FEWEST = 10


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def check_line(row: Any, method: str) -> None:
    """Raises ValueError where a line is not what the method trains on."""
    if method == "supervised":
        _exactly(row, {"messages"})
        _chat(row["messages"])
        if row["messages"][-1]["role"] != "assistant":
            raise ValueError("the last message must be from the assistant")
        return
    _exactly(row, {"input", "preferred_output", "non_preferred_output"})
    if not set(row["input"]) <= {"messages", "tools", "parallel_tool_calls"}:
        raise ValueError("input: unknown keys")
    _chat(row["input"]["messages"])
    for side in ("preferred_output", "non_preferred_output"):
        if len(row[side]) != 1 or row[side][0]["role"] != "assistant":
            raise ValueError(f"{side}: must be one assistant message")
        _chat(row[side])


def _exactly(row: Any, keys: set[str]) -> None:
    if not isinstance(row, dict) or set(row) != keys:
        raise ValueError(f"expected the keys {sorted(keys)}, got {sorted(row)}")


def _chat(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: must be a list that is not empty")
    for message in messages:
        if not set(message) <= {"role", "content", "name", "weight", "tool_calls", "tool_call_id"}:
            raise ValueError(f"unrecognized keys in {sorted(message)}")
        if message["role"] not in ("system", "user", "assistant", "tool", "developer"):
            raise ValueError(f"role {message['role']!r}")
        if not isinstance(message.get("content"), str) or not message["content"]:
            raise ValueError("content: must be a text")
        if "weight" in message and (message["role"] != "assistant" or message["weight"] not in (0, 1)):
            raise ValueError("weight: 0 or 1, on an assistant message")


class FineTuningServer:
    """The server.

    Attributes:
        files, jobs: what there is, by id, in the order in which it was made.
        asked: (method, path) of each request.
        course: the statuses that a job goes through.
        lose: paths of POSTs whose next answer is lost: it is done, and nobody hears of it.
        fail: paths → answers (status, message, code) that come instead, each once.
    """

    def __init__(self) -> None:
        self.files: dict[str, Body] = {}
        self.jobs: dict[str, Body] = {}
        self.events: dict[str, list[Body]] = {}
        self.asked: list[tuple[str, str]] = []
        self.course: tuple[str, ...] = COURSE
        self.error: Body | None = None
        self.lose: list[str] = []
        self.fail: dict[str, list[tuple[int, str, str | None]]] = {}
        self.keys: set[str] = set()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self.answer("GET", b"")

            def do_POST(self) -> None:
                self.answer("POST", self.rfile.read(int(self.headers.get("content-length", 0))))

            def answer(self, verb: str, body: bytes) -> None:
                url = urlsplit(self.path)
                with outer._lock:
                    outer.asked.append((verb, url.path))
                    outer.keys.add(self.headers.get("authorization", ""))
                    status, said = outer._answer(
                        verb, url.path, parse_qs(url.query), body, self.headers.get("content-type", "")
                    )
                    lost = verb == "POST" and url.path in outer.lose
                    if lost:
                        outer.lose.remove(url.path)
                if lost:
                    self.close_connection = True
                    return
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FineTuningServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def posts(self, path: str) -> int:
        return self.asked.count(("POST", f"/v1/{path}"))

    def _answer(self, verb: str, path: str, query: dict[str, list[str]], body: bytes, kind: str) -> tuple[int, Body]:
        if failures := self.fail.get(path):
            status, message, code = failures.pop(0)
            return status, {"error": {"message": message, "code": code, "type": "x", "param": None}}
        try:
            return 200, self._done(verb, path, query, body, kind)
        except Refused as error:
            return error.status, {"error": {"message": str(error), "code": error.code, "type": "x", "param": None}}

    def _done(self, verb: str, path: str, query: dict[str, list[str]], body: bytes, kind: str) -> Body:
        parts = path.removeprefix("/v1/").split("/")
        if parts == ["files"]:
            return self._upload(body, kind) if verb == "POST" else _listed(self.files, query)
        if parts == ["fine_tuning", "jobs"]:
            return self._create(json.loads(body)) if verb == "POST" else _listed(self.jobs, query)
        if parts[:2] == ["fine_tuning", "jobs"] and parts[2] in self.jobs:
            job = self.jobs[parts[2]]
            return _listed({e["id"]: e for e in self.events[job["id"]]}, query) if len(parts) == 4 else self._looked_at(job)
        raise Refused(404, f"no such path {path}")

    def _upload(self, body: bytes, kind: str) -> Body:
        message = BytesParser(policy=HTTP).parsebytes(f"content-type: {kind}\r\n\r\n".encode() + body)
        fields = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}  # type: ignore[attr-defined]
        purpose = fields["purpose"].get_payload(decode=True).decode()
        if purpose != "fine-tune":
            raise Refused(400, f"'{purpose}' is not one of ['fine-tune']")
        name, data = fields["file"].get_filename(), fields["file"].get_payload(decode=True)
        if not name.endswith(".jsonl"):
            raise Refused(400, "Invalid file format for Fine-Tuning API. Must be .jsonl")
        made = {"id": f"file-{len(self.files) + 1}", "object": "file", "bytes": len(data), "created_at": int(time.time()),
                "filename": name, "purpose": purpose, "status": "processed"}  # fmt: skip
        self.files[made["id"]] = made | {"_text": data.decode()}
        return made

    def _create(self, asked: Body) -> Body:
        if unknown := set(asked) - {"model", "training_file", "method", "seed", "suffix", "metadata", "validation_file"}:
            raise Refused(400, f"Unrecognized request arguments: {sorted(unknown)}")
        if not MODELS.fullmatch(asked["model"]):
            raise Refused(
                400, f"Model {asked['model']} is not available for fine-tuning or does not exist.", "model_not_available"
            )
        if asked["training_file"] not in self.files:
            raise Refused(400, f"No such File object: {asked['training_file']}")
        method = asked["method"]
        if set(method) != {"type", method["type"]} or method["type"] not in ("supervised", "dpo"):
            raise Refused(400, f"Invalid method {method}")
        given = method[method["type"]]["hyperparameters"]
        if not set(given) <= {"n_epochs", "batch_size", "learning_rate_multiplier", *(["beta"] * (method["type"] == "dpo"))}:
            raise Refused(400, f"Invalid hyperparameters {given}")
        if not (given["n_epochs"] == "auto" or 1 <= given["n_epochs"] <= 50) or not 0 <= given.get("beta", 0.1) <= 2:
            raise Refused(400, f"Invalid hyperparameters {given}")
        if len(asked.get("suffix") or "") > 64 or len(asked.get("metadata") or {}) > 16:
            raise Refused(400, "Invalid suffix or metadata")
        if asked["model"].startswith("ft:") and asked["model"] not in {
            job["fine_tuned_model"] for job in self.jobs.values()
        }:
            raise Refused(400, f"The model {asked['model']} does not exist")
        job = {
            "id": f"ftjob-{len(self.jobs) + 1}", "object": "fine_tuning.job", "created_at": int(time.time()), "error": None,
            "fine_tuned_model": None, "finished_at": None, "hyperparameters": {}, "model": asked["model"],
            "organization_id": "org-1", "result_files": [], "seed": asked.get("seed", 1), "status": "validating_files",
            "trained_tokens": None, "training_file": asked["training_file"], "validation_file": None, "method": method,
            "metadata": asked.get("metadata"), "_suffix": asked.get("suffix"), "_looks": 0,
        }  # fmt: skip
        self.jobs[job["id"]] = job
        self.events[job["id"]] = []
        self._event(job, f"Created fine-tuning job: {job['id']}")
        return job

    def _looked_at(self, job: Body) -> Body:
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
        if (fault := self._fault(job)) is not None:
            job |= {"status": "failed", "error": fault}
            return job
        step = min(job["_looks"], len(self.course) - 1)
        job["_looks"] += 1
        job["status"] = self.course[step]
        if job["status"] == "running":
            self._event(job, f"Step {job['_looks']}: training loss=0.{job['_looks']}", "metrics")
        if job["status"] == "succeeded":
            base = job["model"].split(":")[1] if job["model"].startswith("ft:") else job["model"]
            job |= {"fine_tuned_model": f"ft:{base}:org:{job['_suffix'] or ''}:{job['id'][6:]}", "trained_tokens": 1234}
            self._event(job, "The job has successfully completed")
        if job["status"] in ("failed", "cancelled"):
            job["error"] = self.error
        return job

    def _fault(self, job: Body) -> Body | None:
        lines = self.files[job["training_file"]]["_text"].splitlines()
        said = (
            "" if len(lines) >= FEWEST else f"Training file has {len(lines)} example(s), but must have at least 10 examples"
        )
        for number, line in enumerate(lines, 1):
            try:
                check_line(json.loads(line), job["method"]["type"])
            except (ValueError, KeyError, TypeError) as error:
                said = said or f"Invalid file format. Line {number}: {error}"
        return {"code": "invalid_training_file", "param": "training_file", "message": said} if said else None

    def _event(self, job: Body, message: str, kind: str = "message") -> None:
        number = len(self.events[job["id"]]) + 1
        self.events[job["id"]].append(
            {"id": f"ftevent-{job['id']}-{number}", "object": "fine_tuning.job.event", "created_at": int(time.time()),
             "level": "info", "message": message, "type": kind, "data": {}}
        )  # fmt: skip


def _listed(things: dict[str, Body], query: dict[str, list[str]]) -> Body:
    """A page, the newest first."""
    newest = list(reversed(things.values()))
    if "after" in query:
        ids = [thing["id"] for thing in newest]
        newest = newest[ids.index(query["after"][0]) + 1 :]
    limit = int(query.get("limit", ["20"])[0])
    page = [{key: value for key, value in thing.items() if not key.startswith("_")} for thing in newest[:limit]]
    return {"object": "list", "data": page, "has_more": len(newest) > limit, "first_id": None, "last_id": None}


def texts(server: FineTuningServer) -> Iterator[list[Body]]:
    """The rows of each file that was uploaded."""
    for file in server.files.values():
        yield [json.loads(line) for line in file["_text"].splitlines()]
