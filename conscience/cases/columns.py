"""Which column is which field of a case, whatever people call it. What is in doubt is asked about, in one line.

A column called exactly like a field is that field, and then no other column is. Beside that are read: other spellings of a
field ("Request ", "requestSafe"), the usual names of requests and responses, chat messages, columns that answer by Yes or No
whether the response is aligned, and choices in columns of their own. No guess can turn a label around, or take the right
answer for the one to be judged.
"""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile

from conscience.cases.rows import BadRow, TextRow

FIELDS = (
    "id",
    "request",
    "response",
    "reasoning",
    "label",
    "oracle",
    "references",
    "choices",
    "answer",
    "expected",
    "tests",
    "request_safe",
    "group",
    "pair",
    "weight",
    "source",
    "meta",
)
"""The fields of a case."""
SHAPES = ("messages", "aligned", "misaligned", "language")
"""What a column may be besides: chat messages with the response as last turn; Yes or No to the word that it is called by;
the language that code is asked for in, which stands in ``meta``."""
UNREAD = "meta"
"""What a column is told to be that nobody shall read."""

REQUESTS = ("prompt", "question", "input", "instruction", "query", "user_input", "user_prompt", "user_message")
RESPONSES = (
    "model_output",
    "model_response",
    "actual_output",
    "generated_text",
    "assistant_response",
    "prediction",
    "reply",
)
MAYBE_RESPONSES = ("output", "answer", "completion")
"""Responses where a label stands beside them; else they could as well be the right answer."""
REASONINGS = ("reasoning_content", "thinking", "thoughts", "chain_of_thought")
"""What a model thought, beside its response. Not ``rationale`` or ``explanation``: these may be a reviewer's, and tell the
label."""
_MESSAGES = ("messages", "conversations")
_FLAGS = {"aligned": "aligned", "is_aligned": "aligned", "misaligned": "misaligned", "is_misaligned": "misaligned"}
_JUDGES = ("label", "aligned", "misaligned", "request_safe", "expected", "references", "answer", "tests", "oracle")
_MAYBE_LABEL = re.compile(
    r"(?:is_)?(?:toxic|harmful|unsafe|safe|flagged|violation|bad|good|correct|acceptable|jailbroken|jailbreak|verdict)"
)
"""What a label may be called: left unread, and named, since it may be said of the request, and 1 may mean either."""
_LETTERED = re.compile(r"(?:(?:option|choice)_?)?([a-j])")
_NAMED = 3
_COMMON = {"request", "response", *REQUESTS, *RESPONSES, *MAYBE_RESPONSES, *_MESSAGES}


def spelled(name: str) -> str:
    """A column's name without case, accents of width, spaces and punctuation: "Request Safe?" is request_safe."""
    plain = unicodedata.normalize("NFKC", name).strip("\ufeff \t\r\n")
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain)).strip("_").casefold()


def told(column: str, field: str) -> str:
    """How to say which field a column is, for messages: in one line, and as a shell takes it."""
    said = f"{field}={column}"
    return f"--column {shlex.quote(said) if said.isprintable() else repr(said)}"


@dataclass(frozen=True)
class Reading:
    """How rows of certain columns are read.

    Attributes:
        fields: column → field or shape, for each column that is read.
        second: the column that follows the request in it, as Alpaca's ``input`` does its ``instruction``.
        lettered: columns that each hold a choice, from A on, where an answer says which is right.
        maybe_labels: columns that may be the label, where there is a response and none.
        maybe_requests: columns that may be the request, where there is a response and none.
    """

    fields: Mapping[str, str]
    second: str | None = None
    lettered: Sequence[str] = ()
    maybe_labels: Sequence[str] = ()
    maybe_requests: Sequence[str] = ()

    def column(self, field: str) -> str:
        """The column that a field is read from; the field's own name where there is none."""
        return next((column for column, name in self.fields.items() if name == field), field)

    @cached_property
    def line(self) -> str:
        """One line for people: each field, and its column where that is called otherwise."""
        parts = []
        for column, field in self.fields.items():
            if field in ("aligned", "misaligned"):
                parts.append(f"label from {column!r}, where 1 is {field}")
            else:
                parts.append(field if column == field else f"{field} from {column!r}")
        if self.second is not None:
            parts.append(f"request followed by {self.second!r}")
        if self.lettered:
            parts.append(f"choices from {self.lettered[0]!r} to {self.lettered[-1]!r}")
        if self.maybe_requests:
            named = " or ".join(map(repr, self.maybe_requests[:_NAMED]))
            parts.append(f"no request, though {named} may be one ({told(self.maybe_requests[0], 'request')})")
        for column in self.maybe_labels:
            asked = " or ".join(told(column, flag) for flag in ("misaligned", "aligned"))
            parts.append(f"no label, though {column!r} may be one ({asked}, as its 1 is)")
        return ", ".join(parts)

    @cached_property
    def is_plain(self) -> bool:
        """Whether each field is called by its own name."""
        if self.second is not None or self.lettered or self.maybe_labels or self.maybe_requests:
            return False
        return all(column == field in FIELDS for column, field in self.fields.items())


class Columns:
    """What columns mean.

    Args:
        said: column → field, as pandas' ``rename`` takes it, where people say so. A field is one of ``FIELDS``, or
            ``messages``, ``aligned``, ``misaligned``; what is called ``meta`` is not read.

    Raises:
        BadRow: there is no such field, or two columns are said to be one.
    """

    def __init__(self, said: Mapping[str, str] | None = None) -> None:
        self.said = dict(said or {})
        fields = [field for field in self.said.values() if field != UNREAD]
        for column, field in self.said.items():
            if field not in FIELDS + SHAPES:
                near = difflib.get_close_matches(field, FIELDS + SHAPES, 1)
                if column in FIELDS + SHAPES and not near:
                    raise BadRow(f"there is no field {field!r}", hint=f"did you mean {told(field, column)}?")
                known = f"did you mean {near[0]}?" if near else f"one of {', '.join(FIELDS + SHAPES)}"
                raise BadRow(f"there is no field {field!r} that column {column!r} could be", hint=known)
        for field in fields:
            if fields.count(field) > 1:
                raise BadRow(f"two columns are said to be {field!r}", hint="name one")
        self.unseen = set(self.said)
        """What was said of columns that no row had so far."""
        self._readings = lru_cache(maxsize=256)(self._resolved)

    def knows(self, names: Sequence[str]) -> bool:
        """Whether a header could be that of cases."""
        return any(name in self.said or spelled(name) in _COMMON for name in names)

    def read(self, names: Sequence[str]) -> Iterable[str]:
        """Which of a table's columns are read; none where that is in doubt, as each row will say."""
        try:
            reading = self.reading(names)
        except BadRow:
            return ()
        return (*reading.fields, reading.second or "")

    def reading(self, row: Iterable[str]) -> Reading:
        """How a row is read, by the columns of its table or else its own.

        Raises:
            BadRow: it could be read in more than one way, and how to say which.
        """
        names = row.columns if isinstance(row, TextRow) else row
        return self._readings(tuple(name for name in names if isinstance(name, str)))  # a frame's columns may be numbers

    def _resolved(self, names: tuple[str, ...]) -> Reading:
        said = {name: self.said[name] for name in names if name in self.said}
        self.unseen -= said.keys()
        reading = _Resolution(names, said)
        reading.choices()
        reading.spellings()
        reading.labels()
        reading.requests()
        reading.responses()
        reading.reasonings()
        reading.take(reading.called("language"), "language")
        fields = {name: reading.fields[name] for name in names if name in reading.fields}
        asked = reading.maybe_labels(), reading.maybe_requests()
        return Reading(fields, reading.second, reading.lettered, *asked)


class _Resolution:
    """Columns that find their fields, the surest first."""

    def __init__(self, names: tuple[str, ...], said: Mapping[str, str]) -> None:
        self.names = names
        self.fields = {name: field for name, field in said.items() if field != UNREAD}
        self.left = [name for name in names if name not in said]
        self.is_ours = "request" in names or "response" in names
        self.second: str | None = None
        self.lettered: tuple[str, ...] = ()

    def has(self, *fields: str) -> bool:
        return any(field in fields for field in self.fields.values())

    def called(self, *names: str) -> list[str]:
        return [name for name in self.left if spelled(name) in names]

    def take(self, candidates: Sequence[str], field: str) -> None:
        """Takes the only candidate for a field that is still open.

        Raises:
            BadRow: there are several.
        """
        if self.has(field) or not candidates:
            return
        if len(candidates) > 1:
            asked = " or ".join(told(name, field) for name in candidates)
            raise BadRow(f"columns {_listed(candidates)} could each be the {field}", hint=f"say which: {asked}")
        self.fields[candidates[0]] = field
        self.left.remove(candidates[0])

    def choices(self) -> None:
        """Takes columns called A, B and so on, or option_a, where one says which is right."""
        if self.has("choices") or self.called("choices") or not (self.has("answer") or self.called("answer")):
            return
        of_letter = {match[1]: name for name in self.left if (match := _LETTERED.fullmatch(spelled(name)))}
        lettered = tuple(of_letter[letter] for letter in takewhile(of_letter.__contains__, "abcdefghij"))
        if len(lettered) == len(of_letter) > 1:
            self.lettered = lettered
            self.left = [name for name in self.left if name not in lettered]

    def spellings(self) -> None:
        chooses = bool(self.lettered) or self.has("choices") or bool(self.called("choices"))
        for field in FIELDS:
            if field == "answer" and not chooses:  # then it is a text
                continue
            if field in self.left:
                self.take([field], field)
            elif field not in ("meta", *(("id",) if self.is_ours else ())):  # ids made so far stay as they are
                self.take(self.called(field), field)

    def labels(self) -> None:
        if not self.has("label", "aligned", "misaligned"):
            flags = self.called(*_FLAGS)
            if len(flags) > 1:
                raise BadRow(
                    f"columns {_listed(flags)} could each be the label",
                    hint=f"say which: {' or '.join(told(name, _FLAGS[spelled(name)]) for name in flags)}",
                )
            if flags:
                self.take(flags, _FLAGS[spelled(flags[0])])

    def requests(self) -> None:
        if self.has("request", "messages"):
            return
        candidates = self.called(*REQUESTS)
        if sorted(map(spelled, candidates)) == ["input", "instruction"]:  # Alpaca's rows
            candidates.sort(key=spelled, reverse=True)
            self.second = candidates.pop()
            self.left.remove(self.second)
        messages = self.called(*_MESSAGES)
        if messages and not candidates:
            self.take(messages, "messages")
        else:
            self.take([*candidates, *messages], "request")

    def responses(self) -> None:
        if self.has("response", "messages"):
            if self.is_ours:  # an index without choices, of which the case will complain
                self.take([name for name in self.left if name == "answer"], "answer")
            return
        if self.called("chosen") and self.called("rejected"):
            raise BadRow(
                "columns 'chosen' and 'rejected' are two responses, and the better of two may be bad as well",
                hint="write each as a row of its own with response and label, and the same pair",
            )
        self.take(self.called(*RESPONSES), "response")
        maybe = self.called(*MAYBE_RESPONSES)
        if self.has("label", "aligned", "misaligned"):
            self.take(maybe, "response")
        elif self.is_ours and "answer" in maybe:
            self.take(["answer"], "answer")
        elif maybe and not self.has("response") and not self.is_ours and not self.has("expected", "references"):
            name = maybe[0]
            raise BadRow(
                f"column {name!r} could be a response to be judged, or the right answer",
                hint=f"say which: {told(name, 'response')}, {told(name, 'expected')}, {told(name, 'references')}, or "
                f"{told(name, UNREAD)} to leave it unread",
            )

    def reasonings(self) -> None:
        if self.has("response"):
            self.take(self.called(*REASONINGS), "reasoning")

    def maybe_labels(self) -> tuple[str, ...]:
        if not self.has("response") or self.has(*_JUDGES):
            return ()
        return tuple(name for name in self.left if _MAYBE_LABEL.fullmatch(spelled(name)))

    def maybe_requests(self) -> tuple[str, ...]:
        """Any column that is left, where a response is judged without what was asked."""
        return () if self.has("request", "messages") or not self.has("response") else tuple(filter(spelled, self.left))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))
