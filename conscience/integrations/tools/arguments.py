"""The arguments of a tool call: as text for a reviewer, and from a revision's text as values for the tool.

What a reviewer reads is all that the model wrote, whole. What the application fills in (the instance of a method, a session,
a framework's context) is neither shown nor changed.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from conscience.errors import ConfigurationError
from conscience.integrations.tools.frameworks import is_filled_in
from conscience.messages.completion import clean
from conscience.messages.values import plain_value

_INSTANCE = ("self", "cls")
_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameters:
    """What a tool takes.

    Args:
        called: the tool.
        injected: names of parameters that the application fills in.
        known: names that a revision may use where the tool takes any, with their types; None for all names.
    """

    def __init__(
        self, called: Callable[..., Any], injected: Collection[str] = (), known: Mapping[str, Any] | None = None
    ) -> None:
        self.called = called
        self.signature = signature_of(called)
        self.injected = frozenset(injected)
        self.known = known
        if unknown := sorted(self.injected - set(self.signature.parameters)):
            raise ConfigurationError(f"injected= names {unknown[0]!r}, which the tool does not take")

    @functools.cached_property
    def hints(self) -> Mapping[str, Any]:
        """Parameter name → its type; read when it is first needed, when all names of the tool's module are defined."""
        return {**hints_of(self.called), **(self.known or {})}

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """The call's arguments by name.

        Raises:
            TypeError: they do not fit, as when the tool is called itself.
        """
        return self.signature.bind(*args, **kwargs)

    def shown(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        """What the model wrote, as JSON types."""
        model_wrote: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if not self._is_injected(name, value):
                is_rest = self.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                model_wrote |= value if is_rest else {name: value}
        return {name: readable(value) for name, value in model_wrote.items()}

    def changed(self, bound: inspect.BoundArguments, revised: Mapping[str, Any]) -> inspect.BoundArguments:
        """The call with the arguments of a revision: the values themselves where they are the same, else in the types of
        the tool's parameters.

        Raises:
            ValueError: the tool does not take them.
        """
        before = self.shown(bound)
        parameters = self.signature.parameters
        named: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        given = dict(bound.arguments)
        rest_name = next((name for name, p in parameters.items() if p.kind is p.VAR_KEYWORD), None)
        originals = {**given, **(given.get(rest_name, {}) if rest_name else {})}
        for name, value in given.items():
            if name != rest_name and self._is_injected(name, value):
                named[name] = value
        for name, value in revised.items():
            same = name in before and before[name] == value
            known = name in parameters and name != rest_name
            takes = known or rest_name is not None
            if not takes or self._is_injected(name, None) or (self.known is not None and name not in self.known):
                raise ValueError(f"the tool takes no {name!r}")
            converted = originals[name] if same else self._converted(name, value)
            (named if known else rest)[name] = converted
        if rest_name and rest:
            named[rest_name] = rest
        for name, parameter in parameters.items():
            if name not in named and parameter.default is parameter.empty and parameter.kind not in _MANY:
                raise ValueError(f"the tool needs {name!r}")
        ordered = {name: named[name] for name in parameters if name in named}
        return inspect.BoundArguments(self.signature, ordered)

    def describe(self) -> str:
        """The names of what the model may write, with their types."""
        names = [
            f"{name}: {_type_name(parameter.annotation)}" if parameter.annotation is not parameter.empty else name
            for name, parameter in self.signature.parameters.items()
            if parameter.kind not in _MANY and not self._is_injected(name, None)
        ]
        return ", ".join(names or sorted(self.known or ()))

    def _converted(self, name: str, value: Any) -> Any:
        hint = self.hints.get(name, Any)
        if self.signature.parameters.get(name) is not None and self.signature.parameters[name].kind in _MANY:
            return tuple(value) if isinstance(value, list) else value
        try:
            return TypeAdapter(hint).validate_python(value)
        except PydanticUserError:  # a class that pydantic knows nothing of
            raise ValueError(f"{name!r} cannot be made from JSON") from None

    def _is_injected(self, name: str, value: Any) -> bool:
        first = next(iter(self.signature.parameters), None)
        if name in self.injected or (name == first and name in _INSTANCE):
            return True
        return is_filled_in(type(value)) or is_filled_in(self.hints.get(name))


def signature_of(called: Callable[..., Any]) -> inspect.Signature:
    """What it takes; anything where it does not say."""
    try:
        return inspect.signature(called)
    except (TypeError, ValueError):
        kinds = (inspect.Parameter("args", _MANY[0]), inspect.Parameter("kwargs", _MANY[1]))
        return inspect.Signature(kinds)


def hints_of(called: Callable[..., Any]) -> dict[str, Any]:
    """The types of its parameters and result; without those whose names are not defined."""
    target: Any = called
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target) and not isinstance(target, type):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError, AttributeError):
        annotations = getattr(target, "__annotations__", {})
        return {name: hint for name, hint in annotations.items() if not isinstance(hint, str)}


def readable(value: Any) -> Any:
    """A value in JSON types with every word of it: bytes as text, where ``plain_value`` would only name them."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(name): readable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [readable(inner) for inner in value]
    if hasattr(type(value), "model_fields"):
        names = [*type(value).model_fields, *(getattr(value, "model_extra", None) or {})]
        return {name: readable(getattr(value, name)) for name in names}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: readable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return plain_value(value)


def written(arguments: Mapping[str, Any]) -> str:
    """Arguments as one line of JSON."""
    return str(clean(json.dumps(arguments, ensure_ascii=False, default=str)))


def read(text: str) -> dict[str, Any]:
    """The JSON object in a model's text, alone or inside a code fence or prose.

    Raises:
        ValueError: there is none, or there are several.
    """
    decoder = json.JSONDecoder()
    found: list[dict[str, Any]] = []
    place = text.find("{")
    while place >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
        except RecursionError:
            raise ValueError("the arguments are nested too deeply") from None
        except ValueError:
            place += 1
        else:
            found.append(value)
        place = text.find("{", place)
    if len(found) != 1:
        raise ValueError("the text does not hold one JSON object of arguments")
    return found[0]


def _type_name(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
