"""A constitution: one introspective question and a few principles, named and versioned, from a file or built in.

Files are YAML, JSON or TOML. An error names the file, the line where the parser knows it, the key, and what to do.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from conscience.errors import ConstitutionError

Severity = Literal["low", "medium", "high"]
BUILTIN = ("general", "medical", "code", "hiring")
LARGEST = 1 << 20
"""Bytes; a larger file is no constitution."""


class _Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    @field_validator("*", mode="after")
    @classmethod
    def _sayable(cls, value: Any) -> Any:
        if isinstance(value, str):
            if "\0" in value:
                raise ValueError("it holds a NUL byte")
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise ValueError("it holds a lone surrogate")
        return value


class Principle(_Text):
    """One thing that is held right.

    Attributes:
        id: lower-case words joined by hyphens; findings name it.
        text: the principle, in one or two sentences.
        severity: how bad it is to break it.
        question: a Yes/No question of its own for the gate; Yes means that the draft breaks it.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=48)
    text: str = Field(min_length=1, max_length=2000)
    severity: Severity = "medium"
    question: str | None = Field(default=None, max_length=500)

    @field_validator("question")
    @classmethod
    def _asks(cls, value: str | None) -> str | None:
        return None if value is None else _question(value)


class Constitution(_Text):
    """What a program judges its own answers by.

    Attributes:
        name: what it is called.
        version: a text such as "1.0"; change it when the meaning changes.
        question: the introspective question, about "your answer"; Yes means that the answer goes against the constitution.
        principles: 1 to 24, with ids of their own.
        refusal: what is said in place of an answer that cannot be mended.
        description: for people.
        sources: what the principles were drawn from.
    """

    name: str = Field(min_length=1, max_length=80)
    version: str = Field(min_length=1, max_length=40)
    question: str = Field(max_length=500)
    principles: tuple[Principle, ...] = Field(min_length=1, max_length=24)
    refusal: str = Field(min_length=1, max_length=2000)
    description: str = ""
    sources: tuple[str, ...] = ()

    @field_validator("question")
    @classmethod
    def _asks(cls, value: str) -> str:
        return _question(value)

    @field_validator("principles")
    @classmethod
    def _distinct(cls, value: tuple[Principle, ...]) -> tuple[Principle, ...]:
        first: dict[str, int] = {}
        for position, principle in enumerate(value):
            if principle.id in first:
                raise ValueError(
                    f"principles[{first[principle.id]}] and principles[{position}] have the same id {principle.id!r}"
                )
            first[principle.id] = position
        return value

    @classmethod
    def builtin_names(cls) -> tuple[str, ...]:
        """The built-in constitutions."""
        return BUILTIN

    @classmethod
    def load(cls, source: Any) -> Constitution:
        """A constitution from a built-in name, a file (.yaml, .yml, .json, .toml), a mapping, or itself.

        Raises:
            ConstitutionError: one line that names the file, the line or key, and the mend.
        """
        if isinstance(source, Constitution):
            return source
        if isinstance(source, Mapping):
            return _validated(source, "constitution", None)
        if not isinstance(source, str | Path):
            raise ConstitutionError(f"{type(source).__name__} is no constitution", hint=_WAYS)
        if source in BUILTIN:
            text = resources.files("conscience.constitutions").joinpath(f"{source}.yaml").read_text(encoding="utf-8")
            return _validated(*_parse(text, f"{source}.yaml"))
        path = Path(os.path.expanduser(source))  # unlike Path's own, it leaves an unknown user's name as it is
        if not os.path.exists(path):  # nor does this one raise, whatever the name
            near = difflib.get_close_matches(str(source), BUILTIN, 1)
            hint = f"did you mean {near[0]}?" if near else _WAYS
            raise ConstitutionError(f"there is no constitution {str(source)[:200]!r}", hint=hint)
        return _validated(*_parse(_read(path), str(path)))

    def principle(self, id: str) -> Principle:
        """The principle with this id.

        Raises:
            KeyError: there is none.
        """
        for principle in self.principles:
            if principle.id == id:
                return principle
        raise KeyError(id)

    def render(self) -> str:
        """The principles as a list for a prompt, one a line: ``- id: text``."""
        return "\n".join(f"- {p.id}: {' '.join(p.text.split())}" for p in self.principles)

    @property
    def fingerprint(self) -> str:
        """A short digest of everything that changes what the constitution means to a model."""
        meaning = self.model_dump(mode="json", exclude={"description", "sources"})
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:12]


_WAYS = f"give a built-in name ({', '.join(BUILTIN)}), a .yaml, .json or .toml file, a mapping or a Constitution"

Lines = Mapping[tuple[str | int, ...], int]


def _question(value: str) -> str:
    if not value.endswith("?"):
        raise ValueError("it must be a question that ends with '?' and can be answered with Yes or No")
    return value


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise ConstitutionError(f"{path}: larger than {LARGEST >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise ConstitutionError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConstitutionError(f"{path}:{line}: not UTF-8 at byte {error.start}", hint="save it as UTF-8") from None


def _parse(text: str, name: str) -> tuple[Any, str, Lines | None]:
    """Data, the name for messages, and the line of each key where it is known."""
    suffix = Path(name).suffix.lower()
    if suffix in (".yaml", ".yml"):
        data, lines = _yaml(text, name)
        return data, name, lines
    if suffix == ".json":
        try:
            return json.loads(text, object_pairs_hook=_unique), name, None
        except json.JSONDecodeError as error:
            raise ConstitutionError(f"{name}:{error.lineno}: not JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise ConstitutionError(f"{name}: {error}") from None
    if suffix == ".toml":
        try:
            return tomllib.loads(text), name, None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConstitutionError(f"{name}: not TOML: {error}") from None
    raise ConstitutionError(f"{name}: unknown kind of file {suffix!r}", hint="use .yaml, .json or .toml")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} stands twice in one object")
        found[key] = value
    return found


def _yaml(text: str, name: str) -> tuple[Any, Lines]:
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ConstitutionError(
                    f"{name}:{getattr(event.start_mark, 'line', 0) + 1}: YAML aliases are not read", hint="write it out"
                )
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _walk(node, (), lines, name)
        return yaml.load(text, Loader=yaml.SafeLoader), lines
    except ConstitutionError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}" if mark else ""
        raise ConstitutionError(f"{name}{at}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConstitutionError(f"{name}: not YAML: {error}") from None


def _walk(node: yaml.Node, place: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], name: str) -> None:
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            if inner in lines:
                raise ConstitutionError(f"{name}:{key.start_mark.line + 1}: key {key.value!r} stands twice")
            _walk(value, inner, lines, name)
            lines[inner] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _walk(value, (*place, position), lines, name)


def _validated(data: Any, name: str, lines: Lines | None) -> Constitution:
    if not isinstance(data, Mapping):
        kind = "nothing" if data is None else type(data).__name__
        raise ConstitutionError(f"{name}: holds {kind}, not a mapping of keys", hint="see docs/constitution.md")
    try:
        return Constitution.model_validate(dict(data))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A misspelt key makes two errors: the unknown one explains the missing one.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    place = tuple(p for p in first["loc"])
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None) if lines else None
    key = re.sub(r"\.\[", "[", ".".join(f"[{p}]" if isinstance(p, int) else str(p) for p in place))
    raise ConstitutionError(f"{name}{f':{line}' if line else ''}: key {key!r}: {_said(first)}")


def _said(error: Any) -> str:
    kind, name = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        known = Principle.model_fields if "principles" in error["loc"] else Constitution.model_fields
        near = difflib.get_close_matches(name, list(known), 1)
        return f"unknown; {f'did you mean {near[0]}?' if near else f'known: {chr(44).join(known)}'}"
    if kind == "missing":
        return "is missing"
    if kind == "string_type":
        return f"must be a text, not {type(error['input']).__name__}; put it in quotes"
    if kind == "string_unicode":
        return "it holds a lone surrogate; repair the text's encoding"
    if kind == "string_pattern_mismatch":
        return f"{error['input']!r} must be lower-case words joined by hyphens"
    return str(error["msg"]).removeprefix("Value error, ")
