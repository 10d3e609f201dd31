"""Reads the file of a constitution: YAML, JSON or TOML, with the line of each key where the parser knows it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from conscience._base.files import parse_json
from conscience._base.validation import Place
from conscience.errors import ConstitutionError

MAX_BYTES = 1 << 20
"""A larger file is no constitution."""

MOST_DEPTH = 64
"""Levels of a file; one with more is read no further, since parsers take minutes over thousands of them."""

_DOTTED = re.compile(r"^[ \t\[]*+(?:[\w-]++[ \t]*+\.[ \t]*+){64}", re.MULTILINE)
"""A key of TOML with so many parts."""

Lines = Mapping[Place, int]
"""Place in the data → line of the file."""


@dataclass(frozen=True)
class Document:
    """What a file holds, before anyone knows whether it is a constitution.

    Attributes:
        data: plain values.
        name: what messages call it.
        lines: the line of each key; empty where the parser does not know it.
    """

    data: Any
    name: str
    lines: Lines = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """The name with the line of a place, or of the nearest one around it; the name alone where no line is known."""
        known = (self.lines[place[:depth]] for depth in range(len(place), 0, -1) if place[:depth] in self.lines)
        line = next(known, None)
        return self.name if line is None else f"{self.name}:{line}"


def read_document(path: Path) -> Document:
    """The document of a file.

    Raises:
        ConstitutionError: it cannot be read; names the line where there is one.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConstitutionError(f"{path}: larger than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise ConstitutionError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConstitutionError(f"{path}:{line}: not UTF-8 at byte {error.start}", hint="save it as UTF-8") from None
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> Document:
    """The document that a text holds; the end of its name says in which language.

    Raises:
        ConstitutionError: see ``read_document``.
    """
    suffix = Path(name).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _yaml(text, name)
    if suffix == ".json":
        return Document(_json(text, name), name)
    if suffix == ".toml":
        return Document(_toml(text, name), name)
    raise ConstitutionError(f"{name}: unknown kind of file {suffix!r}", hint="use .yaml, .json or .toml")


def _json(text: str, name: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise ConstitutionError(f"{name}:{error.lineno}: not JSON: {error.msg}") from None
    except ValueError as error:
        raise ConstitutionError(f"{name}: {error}") from None


def _toml(text: str, name: str) -> Any:
    if deep := _DOTTED.search(text):
        raise _too_deep(name, text.count("\n", 0, deep.start()) + 1)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConstitutionError(f"{name}: not TOML: {error}") from None


def _yaml(text: str, name: str) -> Document:
    lines: dict[Place, int] = {}
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise _too_deep(name, getattr(event.start_mark, "line", 0) + 1)
            if isinstance(event, yaml.AliasEvent):
                raise ConstitutionError(
                    f"{name}:{getattr(event.start_mark, 'line', 0) + 1}: YAML aliases are not read", hint="write it out"
                )
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _walk(node, (), lines, name)
        return Document(yaml.load(text, Loader=yaml.SafeLoader), name, lines)
    except ConstitutionError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}" if mark else ""
        raise ConstitutionError(f"{name}{at}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError) as error:  # of odd tags
        raise ConstitutionError(f"{name}: not YAML: {error}") from None


def _too_deep(name: str, line: int) -> ConstitutionError:
    return ConstitutionError(f"{name}:{line}: nested too deeply", hint="a constitution has three levels")


def _walk(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> None:
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            if inner in lines:
                raise ConstitutionError(f"{name}:{key.start_mark.line + 1}: key {key.value!r} comes twice")
            _walk(value, inner, lines, name)
            lines[inner] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _walk(value, (*place, position), lines, name)
