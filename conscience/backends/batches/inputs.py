"""The questions of one model as files within a provider's limits, written as the cases ask them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from conscience._base.files import make_private, private_file
from conscience.backends.batches.jobs import Job, new_folder
from conscience.backends.wire.transport import OpenAIWireTransport
from conscience.errors import InputError

MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000
"""Of one file: OpenAI's limits, with some room (200 MB there)."""

BYTES_A_TOKEN = 3
"""Of a request's text, for the estimate: most texts have more, so it is rather high."""

ASSUMED_ANSWER = 500
"""Tokens of an answer without a limit, for the estimate, until the run's own answers tell."""

_URLS = {"azure": "/chat/completions"}
_URL = "/v1/chat/completions"


class Question(NamedTuple):
    """One line of a batch file, with the most that it may cost in tokens.

    Attributes:
        output: the limit of the answer; None where it has none.
    """

    key: str
    line: bytes
    input: int
    output: int | None


def url_of(provider: str) -> str:
    """The endpoint that a batch's requests go to, as the provider calls it."""
    return _URLS.get(provider, _URL)


def line_of(key: str, provider: str, content: bytes) -> bytes:
    """A request as a line of a batch file; its body is the bytes that a live call would send."""
    head = {"custom_id": key, "method": "POST", "url": url_of(provider)}
    return b"".join((orjson.dumps(head)[:-1], b',"body":', content, b"}\n"))


def read_questions(path: Path) -> Iterator[Question]:
    """The questions of a batch file.

    Raises:
        InputError: it is not there any more, or is another one.
    """
    try:
        with path.open("rb") as file:
            for line in file:
                row = orjson.loads(line)
                yield Question(row["custom_id"], line, *_tokens(row["body"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = f"put it back, or delete {path.parent}: the answers of its batch are then given up"
        raise InputError(f"{path}: the questions of a batch cannot be read: {error}", hint=hint) from None


def _tokens(body: dict[str, Any]) -> tuple[int, int | None]:
    limits = [body.get("max_tokens"), body.get("max_completion_tokens")]
    limit = next((value for value in limits if isinstance(value, int)), None)
    return len(orjson.dumps(body["messages"])) // BYTES_A_TOKEN + 1, limit


class Draft:
    """The questions to one model that no file holds yet.

    Args:
        folder: where files of batches go.
        transport: asks the model, and knows its prices.
    """

    def __init__(self, folder: Path, transport: OpenAIWireTransport) -> None:
        self.transport = transport
        self.keys: set[str] = set()
        self._folder = folder
        self._path = folder / f"{hashlib.sha256(transport.name.encode()).hexdigest()[:12]}.waiting"
        make_private(folder)
        self._file = open(self._path, "wb", opener=private_file)  # noqa: SIM115 - until close

    def add(self, key: str, content: bytes) -> None:
        """One more question, once.

        Raises:
            InputError: the disk is full or gone.
        """
        if key in self.keys:
            return
        try:
            self._file.write(line_of(key, self.transport.provider, content))
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from None
        self.keys.add(key)

    def questions(self) -> Iterator[Question]:
        """What waits, in the order of asking."""
        self._file.flush()
        return read_questions(self._path)

    def close(self) -> None:
        """Forgets what waits; files have been made of it."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def split(questions: Iterable[Question], most: int = MOST_REQUESTS) -> Iterator[list[Question]]:
    """The questions in parts that a file may hold."""
    part: list[Question] = []
    size = 0
    for one in questions:
        if part and (len(part) >= min(most, MOST_REQUESTS) or size + len(one.line) > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one.line)
    if part:
        yield part


def write_job(folder: Path, model: str, part: list[Question], tokens: int, dollars: float | None) -> Job:
    """A part as a batch's file, and its state beside it, with the estimate of what it costs.

    Raises:
        InputError: the disk is full or gone.
    """
    made = new_folder(folder)
    try:
        with open(made / "input.jsonl", "wb", opener=private_file) as file:
            file.writelines(one.line for one in part)
    except OSError as error:
        raise InputError(f"{made}: cannot be written: {error.strerror}") from None
    lines = hashlib.sha256()
    for one in part:
        lines.update(one.line)
    job = Job(made, model, len(part), tokens, dollars, input_digest=lines.hexdigest())
    job.save()
    return job
