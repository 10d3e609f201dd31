"""What is returned in place of an answer: which field may say so, and what the others hold.

A refusal text is prose. It goes into the one field that is prose by type and by name (``prose_field``) and nowhere else:
what reads ``sql_query``, ``code``, a Literal or a list is a program, which would take the sentence for data. Every other
field is None. ``outcome.response`` holds the text in any case.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

import dspy
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from conscience._base.language import likely_language
from conscience._base.text import text_fault
from conscience._types import RefusalSpec
from conscience.constitution.schema import Constitution
from conscience.errors import ConfigurationError
from conscience.messages.rendering import Request, content_text


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FIRST = _set("answer response reply")
"""What a field is called that holds the whole answer: it takes the text before any other that is prose."""

PROSE = FIRST | _set(
    """text message explanation summary translation advice comment comments feedback description note notes story essay poem
    article report review body paragraph completion output rationale justification analysis conclusion recommendation
    suggestion guidance instructions opinion argument dialogue speech statement biography bio caption joke haiku recipe post
    tweet announcement greeting assessment overview introduction abstract synopsis recap tip tips lesson narrative prose
    apology english french german spanish italian portuguese dutch polish swedish turkish russian ukrainian greek arabic
    hebrew hindi chinese japanese korean thai vietnamese indonesian"""
)
"""The last word of a field's name that makes it prose; a name that ends otherwise is taken for data."""

DATA = _set(
    """sql query cypher sparql graphql code json xml yaml yml toml csv tsv html css markdown latex tex regex regexp pattern
    glob url uri link href path file filename id ids key token tokens type format label class category score number num count
    date time command cmd shell bash script python javascript typescript java rust cpp go program function expression formula
    equation math numeric exact patch diff schema choice option index bool boolean yes no tool action api http request header
    config template name tag tags hash digest raw encoded"""
)
"""A word anywhere in a field's name that makes it data, whatever the last one is."""

_DATA_SAID = re.compile(
    r"\b(sql|json|xml|ya?ml|csv|html|regex|regular expression|source code|yes or no|true or false|one of|only a number)\b",
    re.IGNORECASE,
)
"""The same, said in a field's description."""


def prose_field(signature: type[dspy.Signature] | None, outputs: Mapping[str, Any]) -> str | None:
    """The field that a refusal text goes into; None where no field is prose.

    Args:
        signature: that of the answer, where there is one.
        outputs: what was drafted; its values stand in for types where there is no signature.
    """
    if signature is None:
        names = [name for name, value in outputs.items() if isinstance(value, str) and is_prose(name)]
    else:
        fields = signature.output_fields
        names = [name for name, field in fields.items() if is_prose(name) and _plain_text(field)]
    first = [name for name in names if _words(name)[-1] in FIRST]
    return next(reversed(first or names), None)


def is_prose(name: str) -> bool:
    """Whether a field of this name is read by people."""
    words = _words(name)
    return bool(words) and words[-1] in PROSE and not DATA.intersection(words)


def _words(name: str) -> list[str]:
    """``finalAnswer_2`` → final, answer."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).casefold()
    return re.findall(r"[^\W\d_]+", apart)


def _plain_text(field: Any) -> bool:
    """Whether a field takes any text: ``str`` or ``str | None``, without constraints, and not described as data."""
    kind = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(iter(set(get_args(kind)) - {type(None)})) if len(set(get_args(kind)) - {type(None)}) == 1 else None
    said = str((field.json_schema_extra or {}).get("desc") or "")
    return kind is str and not field.metadata and not _DATA_SAID.search(said)


def refusal_text(constitution: Constitution, request: Request) -> str:
    """The constitution's refusal, in the request's language where that can be told and it has one in it."""
    if not constitution.refusals:
        return constitution.refusal
    language = likely_language(_asked(request), constitution.refusals)
    return constitution.refusals[language] if language else constitution.refusal


def _asked(request: Request) -> str:
    """What the user wrote last."""
    if isinstance(request, str):
        return request
    said = [content_text(message.get("content")) for message in request if message.get("role") == "user"]
    return said[-1] if said else ""


def refusal_outputs(names: list[str], prose: str | None, said: Any, text: str) -> tuple[dict[str, Any], str]:
    """The output fields of a refusal, and its text.

    Args:
        names: the output fields.
        prose: which of them is prose, if any.
        said: what the caller has it say: None, a text, or a mapping by field.
        text: the constitution's.

    Raises:
        ConfigurationError: ``said`` is something else, or names another field.
    """
    if isinstance(said, Mapping):
        if unknown := [name for name in said if name not in names]:
            raise ConfigurationError(f"refusal= names {unknown[0]!r}, which is no output field", hint=", ".join(names))
        spoken = said.get(prose) if prose else None
        return {name: said.get(name) for name in names}, spoken if isinstance(spoken, str) and spoken else text
    if said is not None and not isinstance(said, str):
        kind = type(said).__name__
        raise ConfigurationError(f"the function given as refusal= returned {kind}", hint="return a text, a mapping or None")
    text = said or text
    return {name: text if name == prose else None for name in names}, text


def check_refusal(refusal: RefusalSpec | None, signature: type[dspy.Signature] | None) -> None:
    """Refuses what cannot be said in place of an answer, when the program is built.

    Raises:
        ConfigurationError: it is empty or of another kind, names no output field, or a value is not of its field's type.
    """
    if refusal is None or (callable(refusal) and not inspect.iscoroutinefunction(refusal)):
        return
    if callable(refusal):
        raise ConfigurationError("refusal= is a coroutine function", hint="give one that is called as it is")
    if not isinstance(refusal, str | Mapping):
        raise ConfigurationError(
            f"refusal={refusal!r} is no refusal", hint="give a text, a mapping by output field, or a function of the outcome"
        )
    if isinstance(refusal, str):
        if not refusal.strip() or (fault := text_fault(refusal)):
            raise ConfigurationError("refusal= is empty" if not refusal.strip() else f"refusal= {fault}")
        return
    if signature is None:
        return
    refusal_outputs(list(signature.output_fields), None, refusal, "")
    for name, value in refusal.items():
        if value is not None and not _fits(value, signature.output_fields[name]):
            raise ConfigurationError(f"refusal= gives the field {name!r} a value that is not of its type")


def _fits(value: Any, field: Any) -> bool:
    try:
        TypeAdapter(field.annotation).validate_python(value)
    except ValidationError:
        return False
    except (PydanticSchemaGenerationError, PydanticUserError):  # a type that pydantic does not know
        return isinstance(field.annotation, type) and isinstance(value, field.annotation)
    return True
