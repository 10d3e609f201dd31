"""A compiled program as one JSON file for people to read: known keys only, no keys, addresses or code.

The schema is the models below. Whatever they do not know is refused by name before anything is used, so a file from a
stranger can change what a program asks and says, and where it draws its line, but neither where it sends it nor what runs.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from conscience._base.files import parse_json, write_atomic
from conscience._base.text import text_fault
from conscience._base.validation import Place, first_fault, place_text
from conscience._types import OnError, OnUnresolved
from conscience.artifacts.scores import ScoreSummary
from conscience.constitution.schema import Constitution
from conscience.errors import ArtifactError, ConfigurationError
from conscience.gate.settings import GateSettings
from conscience.usage import Budget

FORMAT = "conscience-program/2"
MAX_BYTES = 8 << 20
"""A larger file is no program."""

MOST_DEPTH = 100
"""Levels of a program's data, demos included."""

Figures = Mapping[str, JsonValue]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Prompt(_Part):
    """What an optimizer may change about a predictor.

    Attributes:
        instructions: its signature's instructions.
        demos: examples that are shown before the real input: field → value.
    """

    instructions: str
    demos: tuple[dict[str, JsonValue], ...] = ()


class Policy(_Part):
    """How the program acts on its verdicts; see ``Conscience``. A program that loads it only ever gets stricter by it.

    Attributes:
        refusal: the text in place of an answer, where it is not the constitution's. A mapping would fill fields that
            programs read, so no file holds one.
    """

    max_revisions: Annotated[int, Field(ge=0, le=100)] = 1
    samples: Annotated[int, Field(ge=1, le=100)] = 1
    on_unresolved: OnUnresolved = "refuse"
    on_error: OnError = "closed"
    budget: Mapping[str, float] | None = None
    refusal: Annotated[str, Field(min_length=1, max_length=2000)] | None = None

    @field_validator("budget")
    @classmethod
    def _readable(cls, value: Mapping[str, float] | None) -> Mapping[str, float] | None:
        try:
            Budget.of(value)
        except ConfigurationError as error:
            raise ValueError(error.message) from None
        return value


class Provenance(_Part):
    """Where a program comes from.

    Attributes:
        made: when, in UTC.
        seconds: how long it took.
        backend: the model that reviewed while it was compiled.
        seed: of everything that was drawn.
        cases: how many it learned from, by kind; and a digest of them.
        figures: what was measured, with intervals, and on how many cases.
        scores: backend → what the gate's scores were like there when it was fitted.
        spent: calls, tokens and dollars of the compilation.
        versions: package → version.
        notes: what the reader should know: what was kept, dropped, or not certified.
    """

    made: str = ""
    seconds: float = 0.0
    backend: str = ""
    seed: int = 0
    cases: Figures = Field(default_factory=dict)
    figures: Figures = Field(default_factory=dict)
    scores: Mapping[str, ScoreSummary] = Field(default_factory=dict)
    spent: Figures = Field(default_factory=dict)
    versions: Mapping[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _finite(settings: GateSettings) -> GateSettings:
    def finite(value: Any) -> bool:
        if isinstance(value, Mapping):
            return all(map(finite, value.values()))
        if isinstance(value, list | tuple):
            return all(map(finite, value))
        return not isinstance(value, float) or math.isfinite(value)

    if not finite(settings.model_dump()):
        raise ValueError("holds a number that is not finite")
    return settings


class Artifact(_Part):
    """A program on disk.

    Attributes:
        format: ``FORMAT``.
        constitution: whole.
        signature: inputs and outputs of the generating signature, such as "question -> answer", where all are texts; None
            where a typed signature, a module or a callable generates, which is then passed to ``Conscience.load``.
        fields: what generates where ``signature`` is None, with its fields and types, for people to read; or None.
        calibrations: a gate for each backend; the first is the one that the program was compiled for.
        predictors: name → prompt, all of the program's predictors.
        policy: what the program does with verdicts and errors.
        provenance: None for a program that nobody compiled.
    """

    format: Literal["conscience-program/2"]
    constitution: Constitution
    signature: str | None = None
    fields: str | None = None
    calibrations: tuple[Annotated[GateSettings, AfterValidator(_finite)], ...] = Field(min_length=1)
    predictors: Mapping[str, Prompt]
    policy: Policy = Policy()
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _one_a_backend(self) -> Artifact:
        names = [settings.backend for settings in self.calibrations]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two calibrations for the backend {min(twice)!r}")
        return self

    def settings_for(self, backend: str | None) -> GateSettings | None:
        """The calibration for a backend; None where there is none."""
        return next((settings for settings in self.calibrations if settings.backend == backend), None)

    def dumps(self) -> str:
        """The file's text: indented, in the order of the schema, so that two versions can be compared line by line."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        return _PAIR.sub(r"[\1, \2]", text) + "\n"

    def write(self, path: str | Path) -> None:
        """Writes the file; a crash leaves the old one or the new one.

        Raises:
            ArtifactError: it cannot be written, or could not be read again.
        """
        target = Path(path)
        try:
            _check_texts(self.model_dump(mode="json"), str(target))
            data = self.dumps().encode()
        except ArtifactError:
            raise
        except (ValueError, RecursionError):  # pydantic's own words are of bytes
            raise ArtifactError(
                f"{target}: not written: a text in it holds a lone surrogate, or is nested too deeply"
            ) from None
        if len(data) > MAX_BYTES:
            raise ArtifactError(
                f"{target}: not written: {len(data) / (1 << 20):.1f} MB, and a program has at most {MAX_BYTES >> 20} MB",
                hint="long words without spaces in cases make it large: leave those out",
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, data)
        except OSError as error:
            raise ArtifactError(f"{target}: cannot be written: {error.strerror}") from None

    @classmethod
    def read(cls, path: str | Path) -> Artifact:
        """Reads and checks a file; nothing in it is used before all of it is known to be good.

        Raises:
            ArtifactError: one line that names the file, the key, and what is wrong.
        """
        name = str(path)
        data = _json_object(name)
        if (written := data.get("format")) != FORMAT:
            shown = repr(written)[:60] if "format" in data else "none"
            raise ArtifactError(f"{name}: key 'format' is {shown}, not {FORMAT!r}", hint=_what_to_do(written))
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ArtifactError(f"{name}: {fault_text(error)}") from None
        except RecursionError:
            raise ArtifactError(f"{name}: nested too deeply") from None


def _json_object(name: str) -> dict[str, Any]:
    try:
        if os.path.getsize(name) > MAX_BYTES:
            raise ArtifactError(f"{name}: larger than {MAX_BYTES >> 20} MB, no program is")
        text = Path(name).read_text(encoding="utf-8")
    except ArtifactError:
        raise
    except OSError as error:
        raise ArtifactError(f"{name}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # bytes that are not UTF-8, or a NUL byte in the path
        raise ArtifactError(f"{name}: not JSON: {error}") from None
    try:
        data = parse_json(text)
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{name}: not JSON: {error}") from None
    except ValueError as error:
        raise ArtifactError(f"{name}: {error}") from None
    if not isinstance(data, dict):
        raise ArtifactError(f"{name}: holds no object of keys")
    _check_texts(data, name)
    return data


def _check_texts(data: Any, name: str) -> None:
    """Refuses texts that no model can be sent and no file can hold, and what is nested too deeply to be worked with."""
    parts: list[tuple[Place, Any]] = [((), data)]
    while parts:
        place, value = parts.pop()
        if len(place) > MOST_DEPTH:
            raise ArtifactError(f"{name}: key {str(place[0])!r}: nested too deeply")
        if isinstance(value, str) and (fault := text_fault(value)):
            raise ArtifactError(f"{name}: key {place_text(place)!r} {fault}", hint="repair the text's encoding first")
        if isinstance(value, dict):
            if fault := next(filter(None, map(text_fault, value)), None):
                raise ArtifactError(f"{name}: a key {fault}", hint="repair the text's encoding first")
            parts += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            parts += [((*place, number), inner) for number, inner in enumerate(value)]


def _what_to_do(written: Any) -> str:
    """About a file of another format."""
    number = str(written).removeprefix("conscience-program/")
    if number.isdigit() and int(number) > int(FORMAT.rpartition("/")[2]):
        return "a newer conscience wrote it: update this one"
    return "compile it again with this version: conscience compile"


_PAIR = re.compile(r"\[\n *(-?[\d.e+-]+),\n *(-?[\d.e+-]+)\n *\]")
"""Two numbers in a list: they stay on one line. No text in JSON holds a line break, so none is touched."""


_SIGNAL_KINDS = frozenset({"question", "rules", "distribution", "lexical", "embedding"})


def fault_text(error: ValidationError) -> str:
    """The first fault as one line, with the key where it is."""
    return first_fault(error, tags=_SIGNAL_KINDS).render(known=_KNOWN)


_KNOWN = sorted({name for part in (Artifact, Prompt, Policy, Provenance, GateSettings) for name in part.model_fields})
