"""A batch's state on disk, so that whoever comes next knows what was sent and what is still to be fetched."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, Self

from pydantic import TypeAdapter, ValidationError

from conscience._base.files import make_private, write_atomic
from conscience._base.validation import first_fault
from conscience.errors import InputError

State = Literal["written", "creating", "sent", "ended"]
"""Its file is on this disk; the provider was asked to begin it, and has not answered; it has begun; its replies are here."""


@dataclass
class Job:
    """One batch.

    Attributes:
        folder: holds its input and this state.
        model: LiteLLM's model string.
        requests: how many questions.
        tokens, dollars: what it was estimated to cost; None where the model has no price.
        token: its name in the provider's metadata, by which it is found again.
        input_digest: of its file.
        began: when the provider was asked to begin it, in seconds since 1970.
        file_id, batch_id: the provider's names.
        status: the provider's word for how it stands.
        completed, failed: requests so far, by the provider.
        late_since: when it was first seen to have ended without the file of its answers.
        over_limit: whether it was refused only because too much was enqueued.
        open_answers, open_tokens: answers without a limit of their own, and how long they were in all.
    """

    folder: Path
    model: str
    requests: int
    tokens: int
    dollars: float | None
    input_digest: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    state: State = "written"
    began: float = 0.0
    file_id: str = ""
    batch_id: str = ""
    status: str = ""
    completed: int = 0
    failed: int = 0
    late_since: float = 0.0
    over_limit: bool = False
    open_answers: int = 0
    open_tokens: int = 0

    @property
    def input(self) -> Path:
        return self.folder / "input.jsonl"

    @property
    def is_open(self) -> bool:
        """Whether it may still bring replies, or may have been begun."""
        return self.state in ("creating", "sent")

    def save(self) -> None:
        """Writes its state.

        Raises:
            InputError: the disk is full or gone.
        """
        data = {name: value for name, value in asdict(self).items() if name != "folder"}
        try:
            write_atomic(self.folder / "job.json", json.dumps(data, indent=2) + "\n", private=True)
        except OSError as error:
            hint = "make room; the same command goes on from here"
            raise InputError(f"{self.folder}: cannot be written: {error.strerror}", hint=hint) from None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The state that ``save`` wrote.

        Raises:
            InputError: it cannot be read.
        """
        path = folder / "job.json"
        try:
            data = json.loads(path.read_bytes())
            known = {f.name for f in fields(cls)} - {"folder"}
            if not isinstance(data, dict) or not data.keys() <= known:
                raise ValueError(f"unknown keys {sorted(data.keys() - known)}" if isinstance(data, dict) else "no object")
            return TypeAdapter(cls).validate_python({"folder": folder, **data})
        except (OSError, ValueError) as error:
            why = first_fault(error).render() if isinstance(error, ValidationError) else error
            raise InputError(f"{path}: is no batch's state: {why}", hint="choose another --out") from None


def jobs_in(folder: Path) -> Iterator[Job]:
    """The batches of a run, oldest first. A folder without a state holds a file that was never sent."""
    for path in sorted(folder.glob("[0-9]*")):
        if (path / "job.json").exists():
            yield Job.load(path)


def new_folder(folder: Path) -> Path:
    """A folder for one more batch."""
    last = max((int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()), default=0)
    made = folder / f"{last + 1:04d}"
    make_private(made)
    return made
