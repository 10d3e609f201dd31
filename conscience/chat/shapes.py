"""What a reply of somebody else's has to look like to be read: what cannot be read cannot be reviewed, and is no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from conscience.errors import BackendError

_Objects = list[dict[str, Any]] | None


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Message(_Shape):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: _Objects = None
    annotations: _Objects = None


class _Choice(_Shape):
    message: _Message
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Completion(_Shape):
    choices: list[_Choice]
    id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None


class _Part(_Shape):
    type: str
    text: str | None = None
    refusal: str | None = None
    annotations: _Objects = None
    logprobs: _Objects = None


class _Item(_Shape):
    type: str
    id: str | None = None
    status: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Response(_Shape):
    output: list[_Item]
    id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None


def check_completion(body: Any) -> None:
    """Refuses what is no ``chat.completion``.

    Raises:
        BackendError: names the part that is wrong, and holds not a word of it.
    """
    _check(_Completion, body, "chat completion")


def check_response(body: Any) -> None:
    """Refuses what is no ``response``; see ``check_completion``."""
    _check(_Response, body, "response")


def _check(shape: type[_Shape], body: Any, what: str) -> None:
    try:
        shape.model_validate(dict(body) if isinstance(body, Mapping) else body)
    except ValidationError as error:
        way = ".".join(str(step) for step in error.errors(include_url=False, include_input=False)[0]["loc"])
        raise BackendError(f"the reply is no {what}: {way or 'it'} cannot be read") from None
