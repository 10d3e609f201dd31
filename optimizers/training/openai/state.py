"""How far a fine-tuning is: a file in its folder, written before each step that costs and after it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conscience._base.files import write_atomic
from conscience.errors import InputError
from conscience.optimizers.training.openai.costs import default_epochs, price_of
from conscience.optimizers.training.openai.files import Method, TrainingFile

NAME = "finetune.json"


class Stage(BaseModel):
    """One job.

    Attributes:
        method: supervised, or dpo.
        sha256, examples, tokens: of its file.
        epochs: passes over it.
        beta: of dpo.
        upload_begun: since when the file may be at OpenAI; seconds since 1970.
        file_id: the file's name there; empty before it has one.
        job_begun: since when there may be a job.
        job_id: the job's name; empty before it has one.
        status: of the job, as OpenAI calls it.
        base: what it trains.
        model: what came of it.
        trained_tokens: as billed.
        last_event: the last of its events that was shown.
    """

    model_config = ConfigDict(extra="forbid")

    method: Method
    sha256: str
    examples: int
    tokens: int
    epochs: int
    beta: float | None = None
    upload_begun: float | None = None
    file_id: str = ""
    job_begun: float | None = None
    job_id: str = ""
    status: str = ""
    base: str = ""
    model: str = ""
    trained_tokens: int | None = None
    last_event: str = ""

    @property
    def dollars_a_price(self) -> float:
        """Its dollars where a million trained tokens cost one."""
        return self.tokens * self.epochs / 1e6


class FineTune(BaseModel):
    """A fine-tuning, from its files to its model.

    Attributes:
        format: of the file.
        run: names its files and jobs at OpenAI.
        model: what is trained.
        suffix: in the result's name.
        seed: of the jobs.
        price: dollars for a million trained tokens.
        stages: in order; each trains what the one before it made.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["conscience-finetune/1"] = "conscience-finetune/1"
    run: str = Field(default_factory=lambda: secrets.token_hex(8))
    model: str
    suffix: str
    seed: int
    price: float
    stages: list[Stage]

    @classmethod
    def of(
        cls,
        files: Sequence[TrainingFile],
        *,
        model: str,
        beta: float,
        epochs: int | None = None,
        suffix: str = "",
        seed: int = 0,
        price: float | None = None,
    ) -> Self:
        """A fine-tuning of which nothing is done yet.

        Raises:
            ConfigurationError: it is not known what it costs.
        """
        stages = [
            Stage(
                method=file.method,
                sha256=file.sha256,
                examples=file.examples,
                tokens=file.tokens,
                epochs=epochs or default_epochs(file.examples),
                beta=beta if file.method == "dpo" else None,
            )
            for file in files
        ]
        return cls(model=model, suffix=suffix, seed=seed, price=price_of(model, price), stages=stages)

    @property
    def dollars(self) -> float:
        """What the jobs cost, about; those that are done included."""
        return self.price * sum(stage.dollars_a_price for stage in self.stages)

    @property
    def begun(self) -> bool:
        """Whether anything may have been sent."""
        return any(stage.upload_begun is not None for stage in self.stages)

    @property
    def result(self) -> str:
        """The model that came of it; empty before the last job is done."""
        return self.stages[-1].model

    def same_as(self, other: Self) -> str:
        """What differs in what the two train, and how; empty where nothing does."""
        for name in ("model", "suffix", "seed"):
            if getattr(self, name) != getattr(other, name):
                return name
        if [stage.method for stage in self.stages] != [stage.method for stage in other.stages]:
            return "method"
        for mine, theirs in zip(self.stages, other.stages, strict=True):
            for name in ("epochs", "beta"):
                if getattr(mine, name) != getattr(theirs, name):
                    return name
            if mine.sha256 != theirs.sha256:
                return "set of pairs"
        return ""


def resumed(folder: Path, wanted: FineTune) -> FineTune:
    """The fine-tuning that a folder holds, or the wanted one where it holds none.

    Raises:
        InputError: it holds another one, or something else.
    """
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return wanted
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}", hint="choose another --out") from None
    try:
        there = FineTune.model_validate_json(text)
    except ValidationError:
        raise InputError(f"{path}: is no state of a fine-tuning of this version", hint="choose another --out") from None
    if there.begun and (differs := there.same_as(wanted)):
        raise InputError(f"{folder} holds a fine-tuning with another {differs}", hint="choose another --out")
    return there if there.begun else wanted


def save(folder: Path, state: FineTune) -> None:
    """Writes how far it is.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_atomic(folder / NAME, state.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{folder / NAME}: cannot be written: {error.strerror}") from None


def now() -> float:
    return time.time()
