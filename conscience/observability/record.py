"""What the verdict log holds of a call: one frozen record, one JSON object a line.

A line has every key of ``VerdictRecord`` but those of texts, which are there only where texts were asked for. ``VERSION``
stands in each. A reader takes keys that it does not know for those of a later version, and leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from conscience._base.validation import first_fault
from conscience.errors import InputError
from conscience.messages.completion import Message

VERSION = 1
"""Of a line of the log; a higher one is refused."""

Mode = Literal["enforce", "observe"]
"""enforce: what the review says is done. observe: it is written down, and the draft is returned as it is."""

LoggedStatus = Literal["clean", "cleared", "revised", "refused", "unresolved", "unreviewed", "failed"]
"""The outcome's status; in the mode observe the one that it would have had. failed: nothing was generated. Where the policy
is to raise, what it raises instead of refused or unreviewed counts as that."""


def _time(value: str) -> str:
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("has no time zone")
    return value


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

TEXTS = ("request", "response", "draft")
"""The fields that hold texts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictRecord:
    """One call of a program.

    Attributes:
        at: when it began: ISO 8601 in UTC, to the millisecond. Records sort by it as texts.
        id: of the request: the caller's, or one that was made for it.
        tenant: for whom; empty where nobody said so.
        program: its name; empty where it has none.
        backend: the model that reviewed.
        mode: see ``Mode``.
        status: see ``LoggedStatus``.
        flagged: whether the draft was flagged, by gate and critique together; also where nothing reviewed it.
        probability: the gate's, of the draft; None where no question was scored.
        threshold: the probability from which the gate flags.
        gated: whether the gate flagged the draft; the critique may have cleared it since.
        method: how the verdict was reached, as ``Verdict.method``: "none" where there was none.
        signals: name → number, of the draft.
        principles: ids of the principles that the draft's findings name.
        revisions: how many were written.
        calls, tokens, seconds, dollars: what the call cost, its review included.
        error: why it failed or was not reviewed; empty otherwise.
        lost: how many records the same process could not write since the one that it wrote before this one.
        request: what was asked: a text or chat messages. None in a log without texts, as the next two.
        response: what was returned.
        draft: what was generated, as text.
        v: the version, see ``VERSION``.
    """

    at: Annotated[str, AfterValidator(_time)]
    id: str
    tenant: str = ""
    program: str = ""
    backend: str = ""
    mode: Mode = "enforce"
    status: LoggedStatus
    flagged: bool
    probability: Share | None = None
    threshold: Share = 0.5
    gated: bool = False
    method: str = "none"
    signals: Mapping[str, Annotated[float, Field(allow_inf_nan=False)]] = field(default_factory=dict)
    principles: tuple[str, ...] = ()
    revisions: Annotated[int, Field(ge=0)] = 0
    calls: Annotated[int, Field(ge=0)] = 0
    tokens: Annotated[int, Field(ge=0)] = 0
    seconds: Amount = 0.0
    dollars: Amount = 0.0
    error: str = ""
    lost: Annotated[int, Field(ge=0)] = 0
    request: str | tuple[Message, ...] | None = None
    response: str | None = None
    draft: str | None = None
    v: int = VERSION

    @property
    def time(self) -> datetime:
        """``at``, as a time with its zone."""
        return datetime.fromisoformat(self.at)

    @property
    def reviewed(self) -> bool:
        """Whether there is a verdict."""
        return self.method != "none"

    def without_texts(self) -> VerdictRecord:
        """The record for a log that holds none."""
        return replace(self, request=None, response=None, draft=None)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types; keys of texts only where there are texts. Numbers that JSON lacks are left out."""
        data = {name: value for name in _FIELDS if (value := getattr(self, name)) is not None or name not in TEXTS}
        data["signals"] = {name: value for name, value in self.signals.items() if math.isfinite(value)}
        data["principles"] = list(self.principles)
        return data

    @staticmethod
    def from_json(line: str | bytes | Mapping[str, Any]) -> VerdictRecord:
        """The record of a line of the log, or of the object in it.

        Raises:
            InputError: it is no record, or one of a later version.
        """
        adapter = _adapter()
        try:
            record = adapter.validate_python(line) if isinstance(line, Mapping) else adapter.validate_json(line)
        except ValidationError as error:
            raise InputError(f"not a record of a verdict: {first_fault(error).render()}") from None
        if record.v != VERSION:
            raise InputError(f"a record of version {record.v}", hint="a newer conscience wrote it: update this one")
        return record


_FIELDS = tuple(field.name for field in fields(VerdictRecord))


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[VerdictRecord]:
    return TypeAdapter(VerdictRecord)
