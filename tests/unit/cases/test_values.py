"""What stands in a cell: no label is turned around, no list taken for a text, nothing refused that nobody reads."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Case, load_cases
from conscience.cases.values import LABELS
from conscience.errors import CaseError

ROW = {"request": "q", "response": "r"}


def rows(*values: dict[str, Any]) -> list[Case]:
    """Cases of rows in memory, as a data frame's records."""
    return load_cases([ROW | value for value in values])


@given(st.sampled_from([(label, word) for label, words in LABELS.items() for word in words]), st.data())
def test_a_label_is_its_word_in_any_case(pair: tuple[str, str], data: st.DataObject) -> None:
    """And with spaces around."""
    label, word = pair
    said = "".join(data.draw(st.sampled_from([letter, letter.upper()])) for letter in word)
    assert rows({"label": data.draw(st.sampled_from([said, f" {said}\n"]))})[0].label == label


@pytest.mark.parametrize("value", [0, 1, True, False, 1.0, "0", "1", "TRUE", "false", "Yes", "no", np.int64(1), np.True_])
def test_a_label_that_could_be_either_is_refused(value: Any) -> None:
    """1 is aligned to some and misaligned to others; the line says how to tell."""
    with pytest.raises(CaseError, match=r"--column aligned=label if .* --column misaligned=label if .* is misaligned"):
        rows({"label": value})
    yes = str(value).casefold() in ("1", "1.0", "true", "yes")
    for flag, other in (("aligned", "misaligned"), ("misaligned", "aligned")):
        (case,) = load_cases([ROW | {"label": value}], columns={"label": flag})
        assert case.label == (flag if yes else other)


def test_safe_and_unsafe_speak_of_the_response_or_are_asked_about() -> None:
    """Without a response, they may speak of the request."""
    with pytest.raises(CaseError, match=r"--column request_safe=label"):
        load_cases([{"request": "q", "label": "unsafe"}])
    assert load_cases([{"request": "q", "label": "unsafe"}], columns={"label": "request_safe"})[0].request_safe is False


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"label": "positive"}, "is not one of aligned, misaligned"),
    ({"label": ["aligned"]}, "is not one of aligned, misaligned"),
    ({"references": "['a', 'b']"}, "field 'references': \"['a', 'b']\" is a list written as a text"),
    ({"references": "['a' 'b']"}, "is a list written as a text"),
    ({"choices": "('a', 'b')"}, "is a list written as a text"),
    ({"choices": "array(['a', 'b'], dtype=object)"}, "is a list written as a text"),
    ({"references": "nan"}, "field 'references': 'nan' is what an absent value became"),
    ({"references": ["a", "nan"]}, "'nan' is what an absent value became"),
    ({"response": "nan"}, "field 'response': 'nan' is what an absent value became"),
    ({"pair": "None"}, "'None' is what an absent value became"),
    ({"group": "<NA>"}, "what an absent value became"),
    ({"weight": float("nan")}, "field 'weight'"),
    ({"weight": np.float32("nan")}, "field 'weight'"),
    ({"response": "#NAME?"}, "a spreadsheet's error"),
    ({"request": "[{'role': 'user', 'content': 'q'}]"}, "messages written as a text"),
    ({"request": '[ {"role": "user", "content": "q"} ]'}, "messages written as a text"),
    ({"request_safe": "maybe"}, "field 'request_safe'"),
    ({"choices": ["1", "2"], "answer": "1"}, "field 'answer': '1' could be choice 1 by its index, choice 0"),
    ({"choices": ["B", "A"], "answer": "A"}, "could be choice 0 by its letter, choice 1 by its words"),
    ({"choices": ["a", "b"], "answer": "C"}, "field 'answer'"),
    ({"choices": ["a", "b"], "answer": 2}, "no index into 2 choices"),
    ({"response": 1.5}, "field 'response'"),
    ({"misaligned": "maybe"}, "is neither Yes nor No"),
]


@pytest.mark.parametrize(("value", "expected"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_be_misread_is_refused_by_name(value: dict[str, Any], expected: str) -> None:
    """In one line: row, field, what stands there."""
    with pytest.raises(CaseError) as caught:
        rows(value)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("rows row 1: ")
    assert "\n" not in str(caught.value)


READ: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"request": 42, "response": 7}, {"request": "42", "response": "7"}),
    ({"id": 7.0, "group": np.int64(3), "pair": 2.0}, {"id": "7", "group": "3", "pair": "2"}),
    ({"weight": "2", "request_safe": "YES"}, {"weight": 2.0, "request_safe": True}),
    ({"request_safe": np.False_, "label": float("nan")}, {"request_safe": False, "label": None}),
    ({"references": np.array(["a", "b"])}, {"references": ("a", "b")}),
    ({"choices": ["x", "y"], "answer": "B"}, {"answer": 1}),
    ({"choices": ["x", "y"], "answer": "(b)"}, {"answer": 1}),
    ({"choices": ["x", "Yes "], "answer": "yes"}, {"answer": 1}),
    ({"choices": ["x", "y"], "answer": "1.0"}, {"answer": 1}),
    ({"choices": [1, 2], "answer": 0}, {"choices": ("1", "2"), "answer": 0}),
    ({"response": "None", "expected": "None"}, {"response": "None", "expected": "None"}),
    ({"references": ["['a']"]}, {"references": ("['a']",)}),
]


@pytest.mark.parametrize(("value", "expected"), READ, ids=range(len(READ)))
def test_what_is_sure_is_read(value: dict[str, Any], expected: dict[str, Any]) -> None:
    """Numbers as text, numpy's scalars and arrays, letters and words of choices."""
    (case,) = rows(value)
    assert {name: getattr(case, name) for name in expected} == expected


class NaTType:
    """As pandas calls its absent time."""


def test_what_nobody_reads_refuses_nothing() -> None:
    """It is kept as well as JSON can, and gives the same case each time."""
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    odd = {
        "at": datetime.datetime(2026, 1, 2, 3, 4),
        "day": datetime.date(2026, 1, 2),
        "took": datetime.timedelta(seconds=1),
        "none": float("nan"),
        "gone": NaTType(),
        "much": float("inf"),
        "number": np.float64(1.5),
        "array": np.array([[1, 2], [3, 4]]),
        "dollars": Decimal("1.10"),
        "bytes": b"\0",
        "nul": "a\0b\ud800",
        "deep": deep,
        "nested": {1: {"x": float("nan"), "y": {2}}},
    }
    first, second = rows(odd)[0], rows(odd)[0]
    assert first == second
    kept = {name: value for name, value in first.meta.items() if name not in ("deep", "nested")}
    assert kept == {
        "at": "2026-01-02T03:04:00",
        "day": "2026-01-02",
        "took": "0:00:01",
        "much": "inf",
        "number": 1.5,
        "array": [[1, 2], [3, 4]],
        "dollars": "1.10",
        "bytes": "<bytes>",
        "nul": "a\ufffdb?",
    }
    json.loads(first.model_dump_json())


def test_nan_in_jsonl_that_nobody_reads_refuses_nothing(tmp_path: Path) -> None:
    """As json.dumps writes it."""
    (tmp_path / "x.jsonl").write_text(json.dumps(ROW | {"score": float("nan"), "group": float("nan")}))
    assert load_cases(tmp_path / "x.jsonl")[0].meta == {}
