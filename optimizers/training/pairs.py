"""A preference pair: one request, a response that was accepted, and one that was not. One JSON line each in a file.

Where a pair comes from is in its ``provenance``. ``cluster`` and ``group`` are there for splits: keep a cluster on one side,
and hold groups out where generalisation is measured.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from conscience._base.files import digest, write_atomic
from conscience._base.text import text_fault
from conscience._base.validation import first_fault
from conscience.cases.rows import BadRow, parsed
from conscience.errors import CaseError, InputError
from conscience.messages.completion import Message
from conscience.messages.rendering import request_text
from conscience.messages.requests import turns
from conscience.optimizers.data.contrast_pairs import json_line
from conscience.optimizers.training.shapes import own_row

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, ...] = ("chosen", "rejected")


class PreferencePair(BaseModel):
    """One request and two responses to it.

    Attributes:
        request: the chat messages that were answered; never empty.
        chosen: the response that was accepted.
        rejected: the response that was not.
        margin: by how much the gate holds the rejected response to be misaligned rather than the chosen one: the difference
            of the two probabilities, -1 to 1. None where not both were scored, as for labels.
        id: of the pair; by default a digest of request and texts.
        group: the category, for balance and for holding out.
        cluster: pairs of one cluster stay on one side of every split; by default the pair's id.
        request_safe: whether the request should be answered rather than refused; None where that is not known.
        verdicts: "chosen" and "rejected" → ``Verdict.to_dict()``; only those that there are.
        provenance: where it comes from: at least ``from``, one of "revision", "alternative", "labels", "references", "file".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: tuple[Message, ...] = Field(min_length=1)
    chosen: str
    rejected: str
    margin: float | None = Field(default=None, ge=-1, le=1, allow_inf_nan=False)
    id: str = ""
    group: str | None = None
    cluster: str = ""
    request_safe: bool | None = None
    verdicts: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    provenance: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("*", mode="before")
    @classmethod
    def _sayable(cls, value: Any) -> Any:
        if fault := text_fault(value):
            raise ValueError(fault)
        return value

    @field_validator("request", mode="before")
    @classmethod
    def _asked(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{reprlib.repr(value)} is neither a text nor a list of messages")
        for message in value:
            if not (isinstance(message, Mapping) and isinstance(message.get("role"), str)):
                raise ValueError(f"{reprlib.repr(message)} is no message with a role")
        return value

    @field_validator("chosen", "rejected")
    @classmethod
    def _said(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty")
        return value

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        named = dict(given)
        if isinstance(named.get("request"), str):
            named["request"] = turns(named["request"])
        named["id"] = named.get("id") or digest([named.get(name) for name in ("request", *SIDES)], 16)
        named["cluster"] = named.get("cluster") or named["id"]
        return named

    @property
    def request_text(self) -> str:
        """The request as one text."""
        return request_text(self.request)

    def to_json(self) -> dict[str, Any]:
        """The pair as JSON types; what is None or empty is left out."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value not in (None, {})}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The pair that ``to_json`` wrote, or one of another's shape, see ``shapes``.

        Raises:
            InputError: it is none, and why.
        """
        try:
            return cls.model_validate(own_row(data))
        except ValidationError as error:
            raise InputError(f"no preference pair: {first_fault(error).render(noun='field')}") from None
        except ValueError as error:
            raise InputError(f"no preference pair: {error}") from None


def read_pairs(path: str | Path) -> Iterator[PreferencePair]:
    """The pairs in a file, streamed: this library's, TRL's preference rows, or OpenAI's.

    Raises:
        CaseError: it cannot be read, or a line is no pair, and which.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _pair(f"{path}:{number}", line)
    except OSError as error:
        raise CaseError(f"{path}: cannot be read: {error.strerror}") from None


def _pair(place: str, line: bytes) -> PreferencePair:
    try:
        return PreferencePair.from_json(parsed(line.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise CaseError(f"{place}: is not UTF-8", hint="save the file as UTF-8") from None
    except BadRow as bad:
        raise CaseError(f"{place}: {bad}", hint=bad.hint) from None
    except InputError as error:
        raise CaseError(f"{place}: {error.message}", hint="make pairs with: conscience pairs") from None


def write_pairs(pairs: Iterable[PreferencePair], path: str | Path) -> None:
    """Writes pairs as JSON Lines, the whole file or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    write_lines((pair.to_json() for pair in pairs), Path(path))


def write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Writes rows as JSON Lines, the whole file or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, "".join(f"{json_line(row)}\n" for row in rows))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint="choose another file") from None
