"""The ``conscience`` attribute of a reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Report(dict[str, Any]):
    """What the review came to: ``reply.conscience.status`` and ``reply.conscience["status"]`` are the same.

    Its keys are those that the server sends: ``status``, ``ok``, ``flagged``, ``probability``, ``threshold``,
    ``principles``, ``revisions``, ``error``, ``usage``. See ``conscience.chat.report``.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the report has no {name!r}; it has {', '.join(self)}") from None


def report_of(reply: object) -> Report:
    """``reply.conscience`` with a type, for type checkers: the package's classes do not declare it.

    Raises:
        AttributeError: the reply came from a client without a conscience.
    """
    found: Report = reply.conscience  # type: ignore[attr-defined]
    return found


def reported(parsed: Any) -> Any:
    """A reply in which the ``conscience`` objects are Reports: what parses a reply anew makes dicts of them."""
    for holder in (parsed, *(getattr(parsed, "choices", None) or ())):
        found = getattr(holder, "conscience", None)
        if isinstance(found, dict) and not isinstance(found, Report):
            holder.conscience = Report(found)
    return parsed


def with_reports(data: Any) -> Any:
    """The JSON of a reply, a chunk or an event, in which the ``conscience`` objects are Reports."""
    if not isinstance(data, Mapping):
        return data
    changed: dict[str, Any] = {}
    if isinstance(data.get("conscience"), Mapping):
        changed["conscience"] = Report(data["conscience"])
    elif data.get("object") == "chat.completion.chunk":
        changed["conscience"] = None  # so that every chunk can be asked
    if isinstance(data.get("response"), Mapping):
        changed["response"] = with_reports(data["response"])
    if isinstance(data.get("choices"), list):
        changed["choices"] = [with_reports(choice) for choice in data["choices"]]
    return {**data, **changed} if changed else data
