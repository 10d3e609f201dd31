"""Reads the file of a constitution: YAML, JSON or TOML, with the line of each key where the parser knows it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from conscience._base.files import parse_json
from conscience.errors import ConstitutionError

MAX_BYTES = 1 << 20
"""A larger file is no constitution."""


Lines = Mapping[tuple[str | int, ...], int]


def read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConstitutionError(f"{path}: larger than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise ConstitutionError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConstitutionError(f"{path}:{line}: not UTF-8 at byte {error.start}", hint="save it as UTF-8") from None


def parse(text: str, name: str) -> tuple[Any, str, Lines | None]:
    """Data, the name for messages, and the line of each key where it is known."""
    suffix = Path(name).suffix.lower()
    if suffix in (".yaml", ".yml"):
        data, lines = _yaml(text, name)
        return data, name, lines
    if suffix == ".json":
        try:
            return parse_json(text), name, None
        except json.JSONDecodeError as error:
            raise ConstitutionError(f"{name}:{error.lineno}: not JSON: {error.msg}") from None
        except ValueError as error:
            raise ConstitutionError(f"{name}: {error}") from None
    if suffix == ".toml":
        try:
            return tomllib.loads(text), name, None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConstitutionError(f"{name}: not TOML: {error}") from None
    raise ConstitutionError(f"{name}: unknown kind of file {suffix!r}", hint="use .yaml, .json or .toml")


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
                raise ConstitutionError(f"{name}:{key.start_mark.line + 1}: key {key.value!r} comes twice")
            _walk(value, inner, lines, name)
            lines[inner] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _walk(value, (*place, position), lines, name)
