"""Batches watched to their end, and their replies taken: what was answered by then counts, however a batch ended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from conscience._redaction import redact
from conscience.backends.batches.endpoint import Batch, Endpoint
from conscience.backends.batches.inputs import read_questions
from conscience.backends.batches.jobs import Job
from conscience.backends.batches.outbox import Outbox
from conscience.backends.batches.patience import Waiting
from conscience.backends.batches.sending import describe
from conscience.backends.wire.replies import parsed
from conscience.backends.wire.transport import OpenAIWireTransport
from conscience.errors import BackendError

ENDS = frozenset({"completed", "expired", "cancelled", "failed"})
"""Words after which nothing more comes; any other word is one for being under way."""

ENQUEUED_LIMIT = "token_limit_exceeded"
"""The account has as many tokens enqueued as it may: a later or a smaller batch is taken."""

_STATUSES = {"batch_expired": 504}
_FAILED = 500
_CANCELLED = "batch_cancelled"
_NO_REPLY = {"message": "the batch ended without a reply to this request", "code": "no_reply"}


async def look(job: Job, transport: OpenAIWireTransport, endpoint: Endpoint, waiting: Waiting, outbox: Outbox) -> bool:
    """Asks how a batch stands, and takes its replies once it has ended; whether it has.

    Raises:
        BackendError: the provider cannot be reached for long, refuses the file, or keeps back what it has answered.
        InputError: the disk is full or gone.
        Interrupted: while waiting.
    """
    batch = await waiting.patiently(transport, partial(endpoint.retrieve, job.batch_id))
    describe(job, batch)
    if job.status not in ENDS or _is_late(job, batch, waiting):
        return False
    paths = []
    for name in ("output_file_id", "error_file_id"):
        if isinstance(file_id := batch.get(name), str) and file_id:  # some write "" where there is none
            paths.append(job.folder / f"{name.removesuffix('_file_id')}.jsonl")
            await waiting.patiently(transport, partial(endpoint.download, file_id, paths[-1]))
    take(job, paths, outbox)
    if job.status == "failed":
        errors = list(_refusals(batch))
        job.over_limit = any(code == ENQUEUED_LIMIT for code, _ in errors)
        if not job.over_limit:
            said = "; ".join(message for _, message in errors[:3]) or "without a reason"
            raise BackendError(f"{job.model}: the provider refused the batch file: {redact(said)[:500]}", gone=True)
    return True


def _is_late(job: Job, batch: Batch, waiting: Waiting) -> bool:
    """Whether an ended batch names no output yet, although it has answers: they were paid for, and are waited for.

    Raises:
        BackendError: it has been so for long.
    """
    is_counted = isinstance(batch.get("request_counts"), dict)
    untold = job.status == "completed" and not is_counted and not batch.get("error_file_id")
    if batch.get("output_file_id") or not (job.completed or untold):
        return False
    job.late_since = job.late_since or time.time()
    job.save()
    if time.time() - job.late_since > waiting.pace.patience:
        hint = "the same command looks again; the provider's support may know where the file is"
        has = f"has {job.completed} answers" if job.completed else "has ended"
        message = f"{job.model}: {job.batch_id} {has} and names no file with them"
        raise BackendError(message, hint=hint, gone=True)
    return True


def take(job: Job, paths: Iterable[Path], outbox: Outbox) -> None:
    """Keeps the replies of a batch that has ended, in whatever order they came.

    Raises:
        InputError: the disk is full or gone.
    """
    limits = {question.key: question.output for question in read_questions(job.input)}
    answered = set()
    for path in paths:
        for key, status, body in _replies(path):
            if key not in limits or key in answered:
                continue
            answered.add(key)
            outbox.keep(key, status, body)
            if status == 200 and limits[key] is None:
                job.open_answers += 1
                job.open_tokens += _tokens(body)
    if job.status in ("completed", "expired"):  # the rest was tried; of a cancelled or refused one it was not
        code = "batch_expired" if job.status == "expired" else "no_reply"
        for key in limits.keys() - answered:
            outbox.keep(key, _STATUSES.get(code, _FAILED), {"error": {**_NO_REPLY, "code": code}})
    outbox.replies.sync()  # what is here will not be fetched again
    job.state = "ended"
    job.save()
    outbox.ended(limits)
    for path in paths:
        path.unlink()


def _replies(path: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """The lines of an output or error file as keys, statuses and bodies; they are read as live answers are, and one that
    cannot be read is none."""
    with path.open("rb") as file:
        for line in file:
            row = parsed(line)
            key = row.get("custom_id") if isinstance(row, dict) else None
            if not isinstance(key, str):
                continue
            response, error = row.get("response"), row.get("error")
            body = response.get("body") if isinstance(response, dict) else None
            status = str(response.get("status_code")) if isinstance(response, dict) else ""
            if re.fullmatch(r"[1-5]\d\d", status):
                yield key, int(status), body if isinstance(body, dict) else {"error": {"message": str(body)}}
            elif isinstance(error, dict) and error.get("code") != _CANCELLED:
                yield key, _STATUSES.get(str(error.get("code")), _FAILED), {"error": error}


def _refusals(batch: Batch) -> Iterator[tuple[str, str]]:
    """Why a file was refused: codes, and what is said of them."""
    errors = batch.get("errors")
    for error in (errors.get("data") if isinstance(errors, dict) else None) or ():
        if isinstance(error, dict):
            where = f" (line {error['line']})" if error.get("line") else ""
            yield str(error.get("code")), f"{error.get('code')}: {error.get('message')}{where}"


def _tokens(body: Mapping[str, Any]) -> int:
    usage = body.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else 0
