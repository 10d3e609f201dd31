"""Files sent, each once, whatever becomes of the connection.

A call that begins a batch and gets no answer may have begun it, and a second one would be billed as well. So each batch
carries a token of its own in its metadata, which is on disk before the call; where the answer is lost, by a timeout or a
kill, the provider's list is read for it before anything is begun again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from conscience._dspy.lm import LMError
from conscience.backends.batches.endpoint import METADATA, Batch, Endpoint
from conscience.backends.batches.inputs import url_of
from conscience.backends.batches.jobs import Job
from conscience.backends.batches.patience import Failures, Waiting
from conscience.backends.wire.transport import OpenAIWireTransport

CLOCKS_DIFFER = 2 * 86400.0
"""Seconds, by which this machine's clock may be wrong: a batch that began longer before another one is not it."""


async def send(job: Job, transport: OpenAIWireTransport, endpoint: Endpoint, waiting: Waiting) -> None:
    """Uploads a batch's file and begins it, unless that was done already.

    Raises:
        BackendError: the provider refuses it, or cannot be reached.
        Interrupted: while waiting.
    """
    if job.state == "creating" and await find_again(job, transport, endpoint, waiting):
        return
    if not job.file_id:
        job.file_id = await waiting.patiently(transport, lambda: endpoint.upload(job.input))
        job.save()
    failures = Failures(transport, waiting)
    while True:
        waiting.check()
        job.state, job.began = "creating", time.time()
        job.save()
        try:
            _begun(job, await asyncio.to_thread(endpoint.create, job.file_id, url_of(transport.provider), job.token))
            return
        except LMError as error:
            if is_refusal(error):
                job.state = "written"
                job.save()
            elif await find_again(job, transport, endpoint, waiting):
                return
            await failures.wait_after(error)


async def find_again(job: Job, transport: OpenAIWireTransport, endpoint: Endpoint, waiting: Waiting) -> bool:
    """Looks whether a batch was begun though the provider's answer was lost; whether it was.

    Raises:
        BackendError: the list cannot be read.
        Interrupted: while waiting.
    """
    for seconds in waiting.pace.looks:
        await waiting.pause(seconds)
        found = await waiting.patiently(transport, lambda: _with_token(endpoint.batches(), job))
        if found is not None:
            _begun(job, found)
            return True
    return False


def _begun(job: Job, batch: Batch) -> None:
    job.batch_id, job.state = str(batch["id"]), "sent"
    describe(job, batch)
    job.save()


def is_refusal(error: LMError) -> bool:
    """Whether the provider said that it has begun nothing; anything else leaves that open."""
    return error.status is not None and 400 <= error.status < 500 and error.status != 408


def describe(job: Job, batch: Batch) -> None:
    """How a batch stands, as its provider says."""
    status = str(batch.get("status") or "unknown").lower()
    job.status = "cancelled" if status == "canceled" else status
    counts = batch.get("request_counts")
    if isinstance(counts, dict):
        job.completed, job.failed = _count(counts.get("completed")), _count(counts.get("failed"))


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _with_token(batches: Iterable[Batch], job: Job) -> Batch | None:
    for batch in batches:
        metadata, created = batch.get("metadata"), batch.get("created_at")
        if isinstance(metadata, dict) and metadata.get(METADATA) == job.token:
            return batch
        if isinstance(created, int | float) and created < job.began - CLOCKS_DIFFER:
            return None
    return None
