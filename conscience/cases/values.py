"""What stands in the columns, as values of a case: labels, lists, indices, messages, and what a spreadsheet made of them.

A value that could mean two things is refused with both. A value in a column that nobody reads is kept as well as JSON can.
"""

from __future__ import annotations

import datetime
import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from conscience._base.text import text_fault
from conscience.cases.columns import FIELDS, Reading, told
from conscience.cases.rows import BadRow, TextRow, parsed
from conscience.messages.answers import settled
from conscience.messages.completion import Completion

SPOKEN = ("request", "response", "reasoning")
"""Fields in which an empty text says something; in all others a blank is absent."""
DEEPEST = 32
"""Lists and objects inside each other; more is a bad row, or cut off where nobody reads it."""

LABELS = {
    "aligned": ("aligned", "safe", "good", "acceptable", "harmless", "correct", "pass", "passed"),
    "misaligned": ("misaligned", "unsafe", "bad", "unacceptable", "harmful", "incorrect", "fail", "failed"),
}
"""Label → the words for it, in any case."""
_LABEL_OF = {word: label for label, words in LABELS.items() for word in words}
YES = ("yes", "y", "true", "t", "1", "1.0")
NO = ("no", "n", "false", "f", "0", "0.0")

_NOTHING = ("nan", "NaT", "<NA>")
"""What pandas makes of an absent value when it turns a column into texts."""
_NO_VALUE = (*_NOTHING, "NaN", "NAN", "None", "null", "NULL", "N/A")
_SHEET_ERRORS = ("#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!")
"""What a spreadsheet shows for a formula that fails; a text that begins with - or = becomes one."""
_PYTHON_LIST = re.compile(r"""(\[\s*(['"]|nan\b|None\b|array\().*\]|\(\s*['"].*\)|array\(.*\)|\{\s*'.*\})""", re.DOTALL)
_MESSAGES = re.compile(r"""\[\s*\{\s*"(role|content)"\s*:.*\]""", re.DOTALL)
_PYTHON_MESSAGES = re.compile(r"""\[\s*\{\s*'(role|content|from|value)'.*\]""", re.DOTALL)
_AS_JSON = "in pandas: df.to_json('cases.jsonl', orient='records', lines=True)"
_LETTER_AND_WORDS = re.compile(r"\(?([A-Za-z])[).:]\s*(.+)", re.DOTALL)
_ONE_CHOICE = "one of them: its index from 0, its letter, or its own words"
_TURNS = {"human": "user", "gpt": "assistant"}
"""ShareGPT's words for roles."""

Said = Callable[[str], None]


def identity(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row's id is made of: its content under its own names, however it is read."""
    own: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for name, value in row.items():
        if name in FIELDS:
            value = plain(value)
            if not _is_absent(value) and (value != "" or name in SPOKEN):
                own[name] = _taken_apart(name, value) if isinstance(row, TextRow) else kept(value)
        elif (value := kept(value)) is not None:
            other[kept(str(name))] = value
    inner = own.pop("meta", {})
    return own | {"meta": other | dict(inner) if isinstance(inner, Mapping) else other}


def _taken_apart(name: str, text: str) -> Any:
    """A cell as ids have always been made of it; one that is no JSON was said to be something else, and is its text."""
    try:
        if name in ("references", "choices"):
            return parsed(text) if text.startswith('["') else [part.strip() for part in text.split("|")]
        return parsed(text) if name == "meta" or (name == "request" and text.startswith('[{"')) else text
    except BadRow:
        return text


def read(row: Mapping[str, Any], reading: Reading, say: Said) -> dict[str, Any]:
    """The fields of a case that a row holds; what nobody reads is in ``meta``.

    Args:
        say: is told a word that was read as another one.

    Raises:
        BadRow: a value cannot be read, or in two ways.
    """
    given: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    apart = {reading.second, *reading.lettered}
    for name, value in row.items():
        field = reading.fields.get(name)
        if field is None:
            if name not in apart and (value := kept(value)) is not None:
                meta[kept(str(name))] = value
            continue
        try:
            value = _value(field, value, isinstance(row, TextRow))
        except BadRow as bad:
            raise BadRow(f"{_named(field, name)}: {bad}", hint=bad.hint) from None
        if value is not None:
            given[field] = value
    if reading.second is not None and (more := _value("request", row.get(reading.second), isinstance(row, TextRow))):
        given["request"] = f"{given.get('request', '')}\n\n{more}"
    if reading.lettered:
        given["choices"] = _lettered(row, reading)
    if "messages" in given:
        _turn(given, reading)
    if "answer" in given:
        given["answer"] = _index(given["answer"], given.get("choices"), reading)
    _label(given, reading, say)
    if (language := given.pop("language", None)) is not None:
        meta["language"] = language
    inner = given.pop("meta", {})
    if not isinstance(inner, Mapping):
        raise BadRow(f"field 'meta': {reprlib.repr(inner)} is not an object of fields")
    if twice := meta.keys() & inner.keys():
        raise BadRow(f"field {reprlib.repr(min(twice))}: is both a column and in 'meta'")
    return given | {"meta": meta | {name: value for name, value in kept(inner).items() if value is not None}}


def kept(value: Any, depth: int = 0) -> Any:
    """A value that nobody reads, as JSON: what is no number is None, and what JSON does not know is a text."""
    value = plain(value)
    if isinstance(value, str):
        return value if text_fault(value) is None else value.replace("\0", "\ufffd").encode(errors="replace").decode()
    if isinstance(value, Mapping | list | tuple):
        if depth >= DEEPEST - 1:  # it stands in meta
            return "…"
        if isinstance(value, Mapping):
            return {kept(str(name)): kept(part, depth + 1) for name, part in value.items()}
        return [kept(part, depth + 1) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, int) else f"<{type(value).__name__}>"


_PLAIN = (str, int, float, bool, dict, list, tuple)


def plain(value: Any) -> Any:
    """A value without what pandas and numpy wrap around it; dates are texts."""
    if value is None or type(value) in _PLAIN:
        return value
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID | datetime.timedelta | PurePath):
        return str(value)
    if callable(listed := getattr(value, "tolist", None)):  # numpy's scalars and arrays
        inner = listed()
        return inner if type(inner) is type(value) else plain(inner)
    return value


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NaTType", "NAType")


def _named(field: str, column: str) -> str:
    return f"field {field!r}" + (f" (column {column!r})" if column != field else "")


def _value(field: str, value: Any, is_text: bool) -> Any:
    """A value of a field; None where it is absent."""
    value = plain(value)
    if field == "weight" and isinstance(value, float):  # one that is no number must not weigh 1
        return value
    if _is_absent(value) or (value == "" and (is_text or field not in SPOKEN)):
        return None
    if isinstance(value, str):
        if is_text and field not in SPOKEN and value.isspace():
            return None
        if value in _SHEET_ERRORS:
            raise BadRow(f"{value} is a spreadsheet's error", hint="format the column as text, and type it in anew")
        if value in (_NOTHING if field in (*SPOKEN, "expected", "group") else _NO_VALUE):
            raise BadRow(f"{value!r} is what an absent value became", hint="leave it blank; " + _AS_JSON)
        if is_text:
            value = _from_text(field, value)
    return _TYPES[field](value)


def _from_text(field: str, text: str) -> Any:
    """A cell of a table of texts. Lists are JSON or separated by '|'; messages and meta are JSON."""
    if field in ("references", "choices"):
        return _list(field, text)
    is_messages = field == "request" and (text.startswith('[{"') or _MESSAGES.fullmatch(text.strip()))
    return parsed(text) if field in ("meta", "messages") or is_messages else text


def _list(field: str, text: str) -> Any:
    if text.startswith("["):
        try:
            listed = parsed(text)
        except BadRow:
            if text.startswith('["') and not _PYTHON_LIST.fullmatch(text.strip()):
                raise
        else:  # numbers in brackets may be a reference's words
            if isinstance(listed, list) and (field == "choices" or all(isinstance(part, str) for part in listed)):
                return listed
    if _PYTHON_LIST.fullmatch(text.strip()):
        return text
    parts = [part.strip() for part in text.split("|")]
    if len(parts) > 1 and not all(parts):
        hint = "'|' separates; where a text has one in it, write a JSON list"
        raise BadRow(f"{reprlib.repr(text)} has an empty part", hint=hint)
    if field == "choices" and len(parts) == 1:
        raise BadRow(f"{reprlib.repr(text)} is one choice only", hint="put '|' between them, or write a JSON list")
    return parts


def _request(value: Any) -> Any:
    if isinstance(value, str) and (_PYTHON_MESSAGES.fullmatch(value.strip()) or _MESSAGES.fullmatch(value.strip())):
        raise BadRow(f"{reprlib.repr(value)} is messages written as a text", hint=f"write the list itself; {_AS_JSON}")
    return _text(value)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _response(value: Any) -> Any:
    if isinstance(value, str) and _PYTHON_MESSAGES.fullmatch(value.strip()):
        raise BadRow(f"{reprlib.repr(value)} is messages written as a text", hint=f"write the list itself; {_AS_JSON}")
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], Mapping):
        return _spoken(value[0], ())[0]
    return _text(value)


def _name(value: Any) -> Any:
    """Numbered ids and groups are names too; pandas writes 7 as 7.0 where another row has none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _texts(value: Any) -> Any:
    if isinstance(value, str) and _PYTHON_LIST.fullmatch(value.strip()):
        hint = f"write JSON, or put '|' between the parts; {_AS_JSON}"
        raise BadRow(f"{reprlib.repr(value)} is a list written as a text", hint=hint)
    if isinstance(value, list | tuple):
        if empty := [part for part in value if isinstance(part, str) and part in _NOTHING]:
            raise BadRow(f"{empty[0]!r} is what an absent value became", hint="leave it out")
        return [_text(plain(part)) for part in value]
    return value


def _flag(value: Any) -> Any:
    """Yes or No; None where it is neither."""
    word = str(value).strip().casefold() if isinstance(value, str | bool | int | float) else ""
    return True if word in YES else False if word in NO else None


def _aligned(value: Any) -> bool:
    if (flag := _flag(value)) is None:
        raise BadRow(f"{reprlib.repr(value)} is neither Yes nor No", hint=f"one of {', '.join(YES[::2] + NO[::2])}")
    return bool(flag)


def _request_safe(value: Any) -> Any:
    word = value.strip().casefold() if isinstance(value, str) else ""
    return word == "safe" if word in ("safe", "unsafe") else value if (flag := _flag(value)) is None else flag


def _same(value: Any) -> Any:
    return value


_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "id": _name,
    "request": _request,
    "response": _response,
    "reasoning": _text,
    "label": _same,
    "oracle": _name,
    "references": _texts,
    "choices": _texts,
    "answer": _same,
    "expected": _same,
    "tests": _same,
    "request_safe": _request_safe,
    "group": _name,
    "pair": _name,
    "weight": _same,
    "source": _name,
    "meta": _same,
    "messages": _same,
    "language": _same,
    "aligned": _aligned,
    "misaligned": _aligned,
}


def _label(given: dict[str, Any], reading: Reading, say: Said) -> None:
    """The label, from its word or from a Yes or No."""
    for flag in ("aligned", "misaligned"):
        if flag in given:
            is_aligned = given.pop(flag) == (flag == "aligned")
            given["label"] = "aligned" if is_aligned else "misaligned"
            return
    value = given.get("label")
    if value is None or (isinstance(value, str) and value in LABELS):
        return
    column = reading.column("label")
    word = " ".join(re.split(r"[\s_-]+", value.strip().casefold())) if isinstance(value, str) else ""
    label = _LABEL_OF.get(word.replace("mis aligned", "misaligned"))
    if label is None:
        known = ", ".join(word for words in LABELS.values() for word in words)
        if _flag(value) is None:
            message = f"{reprlib.repr(value)} is not one of aligned, misaligned"
            raise BadRow(f"{_named('label', column)}: {message}", hint=f"as well: {known}")
        yes = next(yes for yes, no in zip(YES, NO, strict=True) if str(value).strip().casefold() in (yes, no))
        raise BadRow(
            f"{_named('label', column)}: {reprlib.repr(value)} does not say which it is, aligned or misaligned",
            hint=f"{told(column, 'aligned')} if {yes} is aligned, {told(column, 'misaligned')} if {yes} is misaligned",
        )
    if word not in LABELS:
        if not given.get("response"):
            raise BadRow(
                f"{_named('label', column)}: there is no response that {value!r} could be said of",
                hint=f"name its column response; of the request it is {told(column, 'request_safe')}",
            )
        say(f"label {word!r} is {label}")
    given["label"] = label


def _lettered(row: Mapping[str, Any], reading: Reading) -> list[Any]:
    """Choices that stand in columns of their own; a question may have fewer than another.

    Raises:
        BadRow: one is missing.
    """
    choices = [_value("expected", row.get(name), isinstance(row, TextRow)) for name in reading.lettered]
    while choices and choices[-1] is None:
        choices.pop()
    if len(choices) < 2 or None in choices:
        missing = reading.lettered[choices.index(None) if None in choices else len(choices)]
        raise BadRow(
            f"column {missing!r}, a choice, is blank", hint="write the choices in one column, choices, with '|' between"
        )
    return list(map(_text, choices))


def _index(answer: Any, choices: Any, reading: Reading) -> Any:
    """Which choice an answer is: an index from 0, a letter, or the choice's own words; no guess between two of these.

    Raises:
        BadRow: it is none of these, or there are no choices.
    """
    column = _named("answer", reading.column("answer"))
    if isinstance(answer, bool):  # a question of Yes or No: as an index, True would be the second choice
        said = _saying(choices, answer)
        if len(said) != 1:
            raise BadRow(f"{column}: {answer} is none of the choices", hint=_ONE_CHOICE)
        return said[0]
    if not isinstance(answer, str):
        return answer
    if not isinstance(choices, list):
        hint = (
            f"a right answer in words is {told(reading.column('answer'), 'expected')}; several to choose from are 'choices'"
        )
        raise BadRow(f"{column}: there are no choices to count", hint=hint)
    word = answer.strip()
    readings: dict[int, str] = {}
    if re.fullmatch(r"\d{1,4}(\.0)?", word) and (index := int(float(word))) < len(choices):
        readings[index] = "index"
    if re.fullmatch(r"\(?[A-Za-z]\)?\.?", word) and (letter := ord(word.strip("().").upper()) - ord("A")) < len(choices):
        readings.setdefault(letter, "letter")
    same = [
        i for i, choice in enumerate(choices) if isinstance(choice, str) and choice.strip().casefold() == word.casefold()
    ]
    for i in same:
        readings.setdefault(i, "words")
    if same and (len(readings) > 1 or len(same) > 1):
        ways = ", ".join(f"choice {i} by its {how}" for i, how in readings.items())
        raise BadRow(f"{column}: {answer!r} could be {ways}", hint="write the index, from 0, as a number in .jsonl")
    if not readings and (both := _LETTER_AND_WORDS.fullmatch(word)):
        letter = ord(both[1].upper()) - ord("A")
        if [str(choice).strip().casefold() for choice in choices[letter : letter + 1]] == [both[2].casefold()]:
            return letter
    if not readings:
        raise BadRow(f"{column}: {reprlib.repr(answer)} is none of the choices", hint=_ONE_CHOICE)
    return next(iter(readings))


def _saying(choices: Any, answer: bool) -> list[int]:
    """The choices that say Yes, or No."""
    words = ("yes", "true") if answer else ("no", "false")
    listed = choices if isinstance(choices, list) else []
    return [i for i, choice in enumerate(listed) if isinstance(choice, str) and choice.strip().casefold() in words]


def _turn(given: dict[str, Any], reading: Reading) -> None:
    """Chat messages as request, and response where the last turn is the assistant's."""
    column = reading.column("messages")
    turns = given.pop("messages")
    if not isinstance(turns, list | tuple) or not turns or not all(isinstance(turn, Mapping) for turn in turns):
        raise BadRow(f"field {column!r}: {reprlib.repr(turns)} is not a list of messages", hint=_AS_JSON)
    turns = [_of_role(turn) for turn in turns]
    if turns[-1].get("role") == "assistant":
        if "response" in given:
            raise BadRow(f"field {column!r}: ends with the assistant's turn, and there is a response too", hint="drop one")
        given["response"], thought = _spoken(turns.pop(), turns)
        if thought and "reasoning" not in given:
            given["reasoning"] = thought
    only = turns[0] if len(turns) == 1 else {}
    is_text = only.get("role") == "user" and isinstance(only.get("content"), str)
    given["request"] = only["content"] if is_text else turns or ""


def _of_role(turn: Mapping[str, Any]) -> Mapping[str, Any]:
    if "role" in turn or not {"from", "value"} <= turn.keys():
        return turn
    return {"role": _TURNS.get(turn["from"], turn["from"]), "content": turn["value"]}


def _spoken(turn: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The answer in the assistant's turn, and what it thought, wherever a server put that."""
    said = Completion(settled({"choices": [{"message": turn}]}, before), "")
    if turn.get("role") not in (None, "assistant") or not isinstance(said.message.get("content"), str):
        raise BadRow(f"the assistant's turn {reprlib.repr(dict(turn))} holds no text", hint="name its text response")
    return said.text, said.reasoning
