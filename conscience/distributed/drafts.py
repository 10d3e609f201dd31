"""Drafts as data: what a gate reads of them. How the fields stand in the text stays behind, as with any copy of a draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import dspy

from conscience.distributed.data import is_json
from conscience.errors import ConfigurationError
from conscience.outcome import Draft

_JSON = frozenset({str, int, float, bool, NoneType, Any, list, dict})


def draft_data(draft: Draft) -> dict[str, Any]:
    """A draft as JSON types.

    Raises:
        ConfigurationError: a part of it is of another type.
    """
    data = {field.name: getattr(draft, field.name) for field in fields(draft)}
    data["messages"] = list(draft.messages)
    data["request"] = draft.request if isinstance(draft.request, str) else list(draft.request)
    for name, value in data.items():
        if not is_json(value):
            raise ConfigurationError(f"a draft's {name} hold what JSON cannot say, and no worker can be sent that")
    return data


def draft_from_data(data: Mapping[str, Any]) -> Draft:
    """The draft that ``draft_data`` wrote."""
    request = data["request"]
    return Draft(
        **{
            **data,
            "messages": tuple(data["messages"]),
            "request": request if isinstance(request, str) else tuple(request),
        }
    )


def check_outputs(signature: type[dspy.Signature] | None) -> None:
    """Refuses a signature whose drafts could not be sent, before there is one.

    Raises:
        ConfigurationError: names the field.
    """
    for name, field in signature.output_fields.items() if signature is not None else ():
        if not _sayable(field.annotation):
            raise ConfigurationError(
                f"drafts cannot be sent to workers: the field {name!r} is of a type that JSON cannot say",
                hint='use executor="local", or texts, numbers, lists and mappings of them',
            )


def _sayable(kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Literal:
        return True
    return (kind in _JSON or origin in {list, dict, Union, UnionType}) and all(map(_sayable, get_args(kind)))
