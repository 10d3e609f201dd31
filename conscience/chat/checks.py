"""What a value in a request has to be, and the error that names the one that is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from conscience._base.text import text_fault
from conscience.errors import InputError


class ParameterError(InputError):
    """A parameter of a request cannot be used.

    Args:
        param: its name, with the way to it: ``messages[2].content``.
        problem: what is wrong with it.
        hint: what to do about it.
    """

    def __init__(self, param: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{param}: {problem}", hint=hint)
        self.param = param

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.param, self.message, self.hint)


def _again(param: str, message: str, hint: str) -> ParameterError:
    return ParameterError(param, message.removeprefix(f"{param}: "), hint=hint)


@dataclass(frozen=True)
class Expected:
    """What a value has to be.

    Attributes:
        words: in words, after "is not".
        holds: whether a value is that.
        schema: the same as JSON Schema, for the description of an API.
    """

    words: str
    holds: Callable[[Any], bool]
    schema: Mapping[str, Any] = field(default_factory=dict)

    def check(self, param: str, value: Any) -> None:
        """Refuses any other value.

        Raises:
            ParameterError: names the parameter and the kind of its value, never the value.
        """
        if not self.holds(value):
            raise ParameterError(param, f"{kind(value)} is not {self.words}")


def kind(value: Any) -> str:
    """A value in an error: numbers, flags and null as they are, anything else by its kind."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)[:30]
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if is_list(value) else type(value).__name__


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)))


def _is_whole(value: Any) -> bool:
    """In JSON 3.0 is one too."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def number(least: float, most: float = math.inf) -> Expected:
    """A number within bounds, both included."""
    words = f"a number from {least:g} to {most:g}" if most < math.inf else f"a number of {least:g} or more"
    schema = {"type": "number", "minimum": least, **({"maximum": most} if most < math.inf else {})}
    return Expected(words, lambda value: _is_number(value) and least <= value <= most, schema)


def whole(least: int, most: int | None = None) -> Expected:
    """A whole number within bounds, both included."""
    words = f"a whole number from {least} to {most}" if most is not None else f"a whole number of {least} or more"
    schema = {"type": "integer", "minimum": least, "maximum": INT64 if most is None else most}
    return Expected(words, lambda value: _is_whole(value) and least <= value <= schema["maximum"], schema)


def one_of(*choices: str) -> Expected:
    """One of some texts."""
    schema = {"type": "string", "enum": list(choices)}
    return Expected(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices, schema)


INT64 = (1 << 63) - 1
"""The largest whole number that every JSON parser reads."""

ANY_WHOLE = Expected(
    "a whole number",
    lambda value: _is_whole(value) and -INT64 <= value <= INT64,
    {"type": "integer", "minimum": -INT64, "maximum": INT64},
)
FLAG = Expected("true or false", lambda value: isinstance(value, bool), {"type": "boolean"})
TEXT = Expected("a text", lambda value: isinstance(value, str), {"type": "string"})
NAME = Expected(
    "a text that is not empty",
    lambda value: isinstance(value, str) and bool(value.strip()),
    {"type": "string", "pattern": r"\S"},
)
OBJECT = Expected("an object", lambda value: isinstance(value, Mapping), {"type": "object"})
TEXTS = Expected(
    "an object of texts",
    lambda v: isinstance(v, Mapping) and all(isinstance(t, str) for t in v.values()),
    {"type": "object", "additionalProperties": TEXT.schema},
)
NUMBERS = Expected(
    "an object of numbers",
    lambda v: isinstance(v, Mapping) and all(map(_is_number, v.values())),
    {"type": "object", "additionalProperties": {"type": "number"}},
)
STOP = Expected(
    "a text or a list of up to 16 texts",
    lambda v: isinstance(v, str) or (is_list(v) and 0 < len(v) <= 16 and all(isinstance(t, str) for t in v)),
    {"anyOf": [TEXT.schema, {"type": "array", "items": TEXT.schema, "minItems": 1, "maxItems": 16}]},
)
ANYTHING = Expected("anything", lambda value: True)


DEEPEST = 100
"""Levels of lists and objects in a request; servers and JSON writers give up on a few hundred."""


def check_depth(body: Mapping[str, Any]) -> None:
    """Refuses a request that is nested too deeply to be written as JSON again, and texts that no provider can receive.

    Raises:
        ParameterError: names the parameter.
    """
    for name, value in body.items():
        level, depth = [value], 0
        while level:
            if (depth := depth + 1) > DEEPEST:
                raise ParameterError(str(name)[:80], f"is nested more than {DEEPEST} levels deep")
            level = [one for outer in level for one in _inside(outer)]
        if (fault := text_fault(value)) is not None:
            raise ParameterError(str(name)[:80], f"a text {fault}")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if is_list(value) else ()


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a JSON array."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
