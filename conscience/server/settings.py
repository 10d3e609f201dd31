"""The file of ``conscience serve --config``: programs by the name that clients ask for, policies by key, limits.

    programs:
      careful: {program: careful.json, lm: openai/gpt-4o-mini}
      plain: {lm: local, constitution: medical}
    keys:
      acme: {env: ACME_KEY, programs: {gpt-4o: careful}, threshold: 0.3}
      trial: {env: TRIAL_KEY, programs: [plain], mode: observe}
      canary: {env: CANARY_KEY, mode: {share: 0.9}}
    limits: {concurrency: 32}
    log: {path: verdicts.jsonl}

Keys stand in the environment, never in the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from conscience._base.validation import first_fault
from conscience._types import OnError, OnUnresolved, ReleaseMode
from conscience.constitution.loader import read_document
from conscience.errors import ConfigurationError, InputError
from conscience.observability.log import VerdictLog
from conscience.observability.mode import ModeSpec, Observe, check_mode
from conscience.server.limits import Limits
from conscience.server.policies import Policy

KEY_VARIABLE = "CONSCIENCE_API_KEY"
"""Holds the key where no file names others; several are separated by commas, so that one can be replaced."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _mode(value: Any) -> ModeSpec:
    """A mode from its name, or from the arguments of an Observe."""
    try:
        return Observe(**value) if isinstance(value, Mapping) else check_mode(value)
    except (ConfigurationError, TypeError) as error:
        raise ValueError(str(error).removeprefix("Observe.__init__() got an ")) from None


ModeSetting = Annotated[Any, AfterValidator(_mode)]


class LogSettings(_Part):
    """The verdict log of every program; see ``VerdictLog``."""

    path: str = Field(min_length=1)
    texts: bool = False
    max_bytes: int = Field(default=64 << 20, ge=1)
    keep: int = Field(default=5, ge=1)

    def opened(self) -> VerdictLog:
        """The log.

        Raises:
            ConfigurationError: it cannot be written.
        """
        return VerdictLog(self.path, texts=self.texts, max_bytes=self.max_bytes, keep=self.keep)


class ProgramSettings(_Part):
    """One program; see the options of ``conscience serve``."""

    program: str | None = None
    lm: str | None = None
    review_lm: str | None = None
    constitution: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    no_cache: bool = False
    threshold: float | None = Field(default=None, ge=0, le=1)
    max_revisions: int | None = Field(default=None, ge=0, le=10)
    on_error: OnError | None = None
    on_unresolved: OnUnresolved | None = None
    mode: ModeSetting | None = None


class KeySettings(_Part):
    """One key's policy; ``env`` is the variable that holds the key."""

    env: str = Field(min_length=1)
    programs: str | tuple[str, ...] | Mapping[str, str] | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    mode: ModeSetting | None = None
    release: ReleaseMode | None = None
    operator: bool = False

    def policies(self, name: str) -> list[Policy]:
        """A policy for each key in the variable.

        Raises:
            ConfigurationError: the variable is not set, or holds no key.
        """
        programs = self.programs
        if isinstance(programs, str):
            programs = (programs,)
        if isinstance(programs, tuple):
            programs = {asked: asked for asked in programs}
        rest: dict[str, Any] = {name: getattr(self, name) for name in ("threshold", "mode", "release", "operator")}
        return [Policy(name, key, programs, **rest) for key in _keys(self.env, name)]


class FileSettings(_Part):
    """The whole file."""

    programs: Mapping[str, ProgramSettings] = Field(min_length=1)
    keys: Mapping[str, KeySettings] = Field(default_factory=dict)
    limits: Mapping[str, Any] = Field(default_factory=dict)
    release: ReleaseMode = "hold"
    log: LogSettings | None = None

    def policies(self) -> list[Policy]:
        """Those of the file; where it names none, that of the one variable."""
        if not self.keys:
            return policies_of_environment()
        return [policy for name, key in self.keys.items() for policy in key.policies(name)]


def read_settings(path: Path) -> FileSettings:
    """The settings in a YAML, JSON or TOML file.

    Raises:
        InputError: it cannot be read, or a key in it is wrong: names file and line.
    """
    document = read_document(path)
    if not isinstance(document.data, Mapping):
        raise InputError(f"{path}: not a mapping", hint="it has programs, keys, limits and log")
    try:
        return FileSettings.model_validate(document.data)
    except ValidationError as error:
        fault = first_fault(error, tags=("str", "tuple[str,...]", "mapping"))
        raise InputError(f"{document.where(fault.place)}: {fault.render(known=_known(fault.place))}") from None


def _known(place: tuple[Any, ...]) -> list[str]:
    """The keys that are allowed where an unknown one stands."""
    below: dict[Any, type[_Part]] = {"programs": ProgramSettings, "keys": KeySettings}
    parts: dict[int, type[_Part] | None] = {1: FileSettings, 2: LogSettings, 3: below.get(place[0])}
    part = parts.get(len(place))
    return list(part.model_fields) if part is not None else []


def limits_of(given: Mapping[str, Any]) -> Limits:
    """The limits that somebody names; the others as they are.

    Raises:
        ConfigurationError: there is none of that name, or its value is none.
    """
    for name in given:
        if name not in Limits.__dataclass_fields__:
            raise ConfigurationError(
                f"there is no limit {name!r}", hint=f"there are: {', '.join(Limits.__dataclass_fields__)}"
            )
    return Limits(**given)


def policies_of_environment() -> list[Policy]:
    """An operator's policy for each key in the one variable; none where it is not set.

    Raises:
        ConfigurationError: it is set and holds no key: who set it did not mean to let everybody in.
    """
    if KEY_VARIABLE not in os.environ:
        return []
    return [Policy("default", key, operator=True) for key in _keys(KEY_VARIABLE, "default")]


def _keys(variable: str, name: str) -> list[str]:
    keys = [key for part in os.environ.get(variable, "").split(",") if (key := part.strip())]
    if not keys:
        raise ConfigurationError(
            f"the key of {name}: the variable {variable} is not set or empty", hint=f"export {variable}=…"
        )
    return keys
