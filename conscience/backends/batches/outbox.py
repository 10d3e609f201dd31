"""What the cases of a run wait for, and the replies that came: a folder in the run's own.

    batches/0001/input.jsonl    the questions of one batch, as they were sent
    batches/0001/job.json       how it stands
    batches/replies.jsonl       every reply that came, sealed like an answer in a journal

A reply stands here from the moment that it is fetched until the case that asked has taken it into the run's journal, and
longer; nothing in this folder is asked again.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from conscience._base.files import make_private
from conscience.backends.batches.inputs import Draft, read_questions
from conscience.backends.batches.jobs import Job, jobs_in
from conscience.backends.storage.journal import Journal
from conscience.backends.wire.connection import Reply
from conscience.backends.wire.transport import Account, OpenAIWireTransport
from conscience.errors import ConfigurationError

FOLDER = "batches"


class Outbox:
    """The batches of one run.

    Args:
        folder: the run's.
        is_open: whether further questions are taken; otherwise they are their callers' to ask.
    """

    def __init__(self, folder: Path, *, is_open: bool = True) -> None:
        self.folder = folder / FOLDER
        self.is_open = is_open
        make_private(self.folder)
        self.replies = Journal(self.folder / "replies.jsonl")
        for job in jobs_in(self.folder):
            if job.state == "written":  # by a process that ended before it was begun
                shutil.rmtree(job.folder)
        self.jobs = jobs_of(folder)
        self.drafts: dict[str, Draft] = {}
        self.accounts: dict[str, tuple[OpenAIWireTransport, Account]] = {}
        self.untaken: set[str] = set()  # replies that came to this process, and nobody has asked for since
        self._lock = threading.Lock()
        self._under_way = {one.key for job in self.jobs if job.is_open for one in read_questions(job.input)}

    def reply(self, key: str) -> Reply | None:
        """What came for a question."""
        if (value := self.replies.get(key)) is None:
            return None
        self.untaken.discard(key)
        return Reply(value["status"], {}, orjson.dumps(value["body"]))

    def add(self, transport: OpenAIWireTransport, account: Account, key: str, content: bytes) -> None:
        """Takes a question that has no reply, unless it is on its way.

        Raises:
            ConfigurationError: the same model is asked at another address, or by another account.
        """
        with self._lock:
            known = self.accounts.setdefault(transport.name, (transport, account))
            if known[1] != account:
                hint = "name the model once, or leave the batch out"
                raise ConfigurationError(f"{transport.name} is asked by two accounts: one batch cannot hold both", hint=hint)
            if key in self._under_way:
                return
            if transport.name not in self.drafts:
                self.drafts[transport.name] = Draft(self.folder, transport)
            self.drafts[transport.name].add(key, content)

    def keep(self, key: str, status: int, body: Mapping[str, Any]) -> None:
        """A reply that came; the first one counts.

        Raises:
            InputError: the disk is full or gone.
        """
        if self.replies.get(key) is None:
            self.replies.put(key, {"status": status, "body": body})
            self.untaken.add(key)

    def forget(self, keys: list[str]) -> None:
        """Replies that made a case fail: the next run asks these questions anew, as it does those of any failed case."""
        for key in keys:
            self.replies.drop(key)

    @property
    def open_jobs(self) -> list[Job]:
        """The batches that the provider has, or may have."""
        return [job for job in self.jobs if job.is_open]

    def sent(self, job: Job, keys: Iterable[str]) -> None:
        """A batch that is on its way, or about to be."""
        self.jobs.append(job)
        self._under_way.update(keys)

    def ended(self, keys: Iterable[str]) -> None:
        """Questions that are on no way any more."""
        self._under_way.difference_update(keys)

    def give_up(self, job: Job) -> None:
        """A batch that was never begun."""
        job.state = "ended"
        job.save()
        self.ended(question.key for question in read_questions(job.input))

    def take_drafts(self) -> list[Draft]:
        """What waits, for its files to be written; nothing waits then."""
        with self._lock:
            drafts = list(self.drafts.values())
            self.drafts = {}
        return drafts


def jobs_of(folder: Path) -> list[Job]:
    """Every batch of a run that was ever sent.

    Raises:
        InputError: the state of one cannot be read.
    """
    return [job for job in jobs_in(folder / FOLDER) if job.state != "written"]


def batches_of(folder: Path) -> list[Job]:
    """The batches of a run that the provider has, or may have.

    Raises:
        InputError: the state of one cannot be read.
    """
    return [job for job in jobs_of(folder) if job.is_open]


def has_batches(folder: Path) -> bool:
    """Whether a run was ever answered by batch."""
    return (folder / FOLDER).is_dir()
