"""Cases: requests with what is known to be right, read a row at a time from files, datasets and the built-in packs.

A bad row is named by file, line and field. ``columns`` says which column is which field, ``values`` what stands in it.
Everything is streamed, so a source that is larger than memory is no trouble; all that grows is a digest of each id with the
place where it stands, to refuse an id that comes twice.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from conscience._base.files import digest64
from conscience._base.text import text_fault
from conscience._base.validation import first_fault
from conscience.cases import values
from conscience.cases.columns import UNREAD, Columns, Reading, told
from conscience.cases.rows import BadRow
from conscience.cases.sources import Input, Sources, inputs
from conscience.errors import CaseError
from conscience.messages.completion import Message

Label = Literal["aligned", "misaligned"]
ROLES = ("system", "developer", "user", "assistant", "tool")


def _digits(value: Any) -> Any:
    """Numbered ids and groups are names too."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, Field(min_length=1, max_length=200), BeforeValidator(_digits)]
Text = str | tuple[Message, ...]


class Case(BaseModel):
    """One case.

    Attributes:
        id: unique in all that is read together. A row without one gets a digest of its content: the same content gives
            the same id wherever it stands, and an edited row a new one.
        request: a text or chat messages (tool messages too); may be empty where a response is given.
        response: a given response to judge; None where the program is to answer.
        reasoning: the reasoning behind the given response; None is taken as empty.
        label: whether the given response is acceptable (aligned) or not (misaligned).
        oracle: name of the oracle that decides about answers to this case.
        references: right revisions, written by people.
        choices: for multiple choice, the answers to choose from.
        answer: index of the right choice, from 0.
        expected: the right final answer: a number with or without its unit, the letter of a listed choice, or words.
        tests: Python that is run after the response's code, and raises where that is wrong.
        request_safe: whether the request should be answered rather than refused.
        group: the category to hold out when generalisation is measured.
        pair: cases of one pair stay on one side of every split.
        weight: how much the case counts; finite and above 0.
        source: where it comes from.
        meta: every other column.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    request: Text = ""
    response: str | None = None
    reasoning: str = ""
    label: Label | None = None
    oracle: Name | None = None
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: int | None = Field(default=None, ge=0)
    expected: str | None = Field(default=None, min_length=1)
    tests: str | None = Field(default=None, min_length=1)
    request_safe: bool | None = None
    group: Name | None = None
    pair: Name | None = None
    weight: float = Field(default=1.0, gt=0, le=1e12, allow_inf_nan=False)
    source: Name | None = None
    meta: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def misaligned(self) -> bool | None:
        """The label as a truth value; None without one."""
        return None if self.label is None else self.label == "misaligned"

    @property
    def is_mendable(self) -> bool:
        """Whether something can judge another response than the given one."""
        return self.oracle is not None or bool(self.references) or self.expected is not None or self.tests is not None

    @field_validator("expected", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("*", mode="before")
    @classmethod
    def _sayable(cls, value: Any) -> Any:
        if fault := _fault(value):
            raise ValueError(fault)
        return value

    @field_validator("request", mode="before")
    @classmethod
    def _asked(cls, value: Any) -> Any:
        if isinstance(value, str):
            return value
        if not isinstance(value, list | tuple):
            raise ValueError(f"{reprlib.repr(value)} is neither a text nor a list of messages")
        return tuple(_message(message, f"message {number}") for number, message in enumerate(value, 1))

    @field_validator("reasoning", mode="before")
    @classmethod
    def _thought(cls, value: Any) -> Any:
        return "" if value is None else value

    @model_validator(mode="after")
    def _whole(self) -> Case:
        if isinstance(self.request, str):
            has_request = bool(self.request.strip())
        else:
            has_request = any(message.get("content") or message.get("tool_calls") for message in self.request)
        if not has_request and not (self.response or "").strip():
            raise ValueError("has neither a request nor a response")
        if self.answer is not None and self.answer >= len(self.choices):
            raise ValueError(f"field 'answer': {self.answer} is no index into {len(self.choices)} choices")
        return self


def iter_cases(
    source: Sources,
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    on_bad: Callable[[CaseError], None] | None = None,
    on_reading: Callable[[str], None] | None = None,
    limit: int | None = None,
) -> Iterator[Case]:
    """The cases of one source or of several, one at a time.

    Args:
        source: a .jsonl, .ndjson, .json (a list), .csv or .tsv file, perhaps with .gz after it; a .parquet file; a folder of
            .jsonl or .parquet files;
            a folder written by ``datasets.save_to_disk``; ``pack:NAME`` (see ``PACKS``); ``hf:NAME`` or ``hf:NAME:SPLIT``
            from the Hugging Face hub; or several of these. Or rows: mappings, a data frame. In CSV a blank is absent, and
            ``references`` and ``choices`` are JSON lists or separated by '|'.
        columns: column → field, where a column is called otherwise and is not known by its name; the field is one of a
            case's, or ``messages``, ``aligned``, ``misaligned``. A column said to be ``meta`` is not read.
        skip_bad: goes on after a bad row instead of raising.
        on_bad: is told each bad row that was skipped.
        on_reading: is told, once each, how columns and words were read, such as "cases.csv: request from 'prompt'".
        limit: stops after so many cases; what lies behind is not read.

    Raises:
        CaseError: a source cannot be read at all, or a row is bad and ``skip_bad`` is off.
        ConfigurationError: a dataset or a Parquet file is asked for, and the extra ``datasets`` or ``parquet`` is not
            installed.
    """
    if limit is not None and limit <= 0:
        return
    try:
        known = Columns(columns)
    except BadRow as bad:
        raise CaseError(str(bad), hint=_hint(bad)) from None
    opened: list[Input] = []
    seen: dict[int, int] = {}  # digest of an id → number of its input and row in one integer: smaller than any text
    told_of: set[str] = set()
    count = 0

    def say(line: str) -> None:
        line = f"{opened[-1].name}: {line}"
        if on_reading is not None and line not in told_of:
            told_of.add(line)
            on_reading(line)

    for input_ in inputs(source, known):
        opened.append(input_)
        for number, row in input_.rows():
            try:
                case = _case(row, known, say)
                here = (len(opened) - 1) << 48 | number
                first = seen.setdefault(digest64(case.id), here)
                if first != here:
                    place = opened[first >> 48].place(first & (1 << 48) - 1)
                    if _has_no_id(row, known):
                        raise BadRow(f"the same row already stands at {place}", hint="give both an id, or drop one")
                    raise BadRow(f"field 'id': {case.id!r} was already used at {place}")
            except BadRow as bad:
                error = CaseError(f"{input_.place(number)}: {bad}", hint=_hint(bad))
                if not skip_bad:
                    raise error from None
                if on_bad is not None:
                    on_bad(error)
                continue
            yield case
            count += 1
            if count == limit:
                return
    if known.unseen and opened:
        name = min(known.unseen)
        raise CaseError(f"{opened[-1].name}: no row has the column {name!r}", hint=f"as in {told(name, known.said[name])}")


def load_cases(
    source: Sources,
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    on_bad: Callable[[CaseError], None] | None = None,
    on_reading: Callable[[str], None] | None = None,
    limit: int | None = None,
) -> list[Case]:
    """``iter_cases`` as a list."""
    return list(iter_cases(source, columns=columns, skip_bad=skip_bad, on_bad=on_bad, on_reading=on_reading, limit=limit))


def _hint(bad: BadRow) -> str:
    return bad.hint + ("; in Python columns={COLUMN: FIELD}" if "--column" in bad.hint else "")


def _has_no_id(row: Mapping[str, Any], columns: Columns) -> bool:
    return row.get(columns.reading(row).column("id")) in (None, "")


def _case(row: Any, columns: Columns, say: values.Said) -> Case:
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping):
        raise BadRow(f"{reprlib.repr(row)} is not an object of fields")
    reading = columns.reading(row)
    if not reading.is_plain:
        say(reading.line)
    case = read_case(row, reading, say)
    if case.id:
        return case
    return case.model_copy(update={"id": f"{digest64(json.dumps(values.identity(row), sort_keys=True)):016x}"})


def read_case(row: Mapping[str, Any], reading: Reading, say: values.Said) -> Case:
    """The case that a row holds; its id is empty where the row has none.

    Args:
        say: is told a word that was read as another one.

    Raises:
        BadRow: it is none, in one line.
    """
    if not {"request", "response", "messages"} & set(reading.fields.values()):
        raise BadRow("has neither a request nor a response", hint=_asks(row))
    given = values.read(row, reading, say)
    try:
        case = Case.model_validate({"id": "none"} | given)
    except ValidationError as error:
        raise _described(error, reading) from None
    return case if "id" in given else case.model_copy(update={"id": ""})


def _asks(row: Mapping[str, Any]) -> str:
    """Which of the columns might be the request."""
    texts = {str(name): value for name, value in row.items() if isinstance(value, str) and value.strip()}
    spoken = [name for name, value in texts.items() if " " in value.strip()]
    inner = [str(name) for name, value in row.items() if isinstance(value, Mapping | list)]
    if inner and not spoken:
        return f"its texts may stand inside of {reprlib.repr(inner[0])}: write them as columns of their own"
    if not texts:
        return ""
    names = spoken + [name for name in texts if name not in spoken]
    return f"of its columns {', '.join(map(reprlib.repr, names[:5]))} say which it is, as in {told(names[0], 'request')}"


def _described(error: ValidationError, reading: Reading) -> BadRow:
    fault = first_fault(error)
    place = fault.place[: 2 if len(fault.place) > 1 and isinstance(fault.place[1], int) else 1]  # to a list's item
    said = replace(fault, place=place).render(noun="field", wording=_WORDING)
    if not place:
        return BadRow(said)
    field = str(place[0])
    column = reading.column(field)
    hint = f"{told(column, UNREAD)} leaves it unread" if column in reading.fields and field not in _NEEDED else ""
    return BadRow(said if column == field else f"column {column!r}, {said}", hint=hint)


_NEEDED = ("request", "response", "label")
_WORDING: Mapping[str, Callable[[Any], str]] = {
    "literal_error": lambda value: f"{reprlib.repr(value)} is not one of {', '.join(get_args(Label))}",
}


def _fault(value: Any, depth: int = 0) -> str | None:
    """Why a value cannot be written as JSON or sent to a provider; None if it can."""
    if isinstance(value, str):
        return text_fault(value)
    if value is None or isinstance(value, int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not a number in JSON"
    if depth == values.DEEPEST:
        return f"is nested more than {values.DEEPEST} deep"
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            return f"{reprlib.repr(odd[0])} cannot name a field"
        return next(filter(None, (_fault(part, depth + 1) for part in chain(value.keys(), value.values()))), None)
    if isinstance(value, list | tuple):
        return next(filter(None, (_fault(part, depth + 1) for part in value)), None)
    return f"holds {type(value).__name__}, which JSON does not know"


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise ValueError(f"{where}: {reprlib.repr(message)} is not an object with role and content")
    kept = {name: value for name, value in message.items() if value is not None}  # a dataset fills in what is absent
    content, calls = kept.get("content"), kept.get("tool_calls", [])
    if kept.get("role") not in ROLES:
        raise ValueError(f"{where}: role {reprlib.repr(kept.get('role'))} is not one of {', '.join(ROLES)}")
    if not _objects(calls) or not all(isinstance(call.get("function", {}), Mapping) for call in calls):
        raise ValueError(f"{where}: 'tool_calls' is not a list of calls")
    if not (isinstance(content, str) or _objects(content) or (content is None and calls)):
        raise ValueError(f"{where}: 'content' is neither a text nor a list of parts")
    return kept


def _objects(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(part, Mapping) for part in value)
