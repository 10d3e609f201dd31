"""Columns as people call them: taken where that is sure, asked about in one line where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience import Case, load_cases
from conscience.cases.columns import FIELDS, Columns
from conscience.errors import CaseError

CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]


def one(tmp_path: Path, row: dict[str, Any], columns: dict[str, str] | None = None) -> Case:
    """The case of a row, by way of a file."""
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    (case,) = load_cases(tmp_path / "x.jsonl", columns=columns)
    return case


def test_every_field_is_known() -> None:
    """The fields of a case and those that columns can be are the same."""
    assert set(FIELDS) == set(Case.model_fields)


READ: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"Request ": "q", "RESPONSE": "r", "Label": "aligned"}, {"request": "q", "response": "r", "label": "aligned"}),
    ({"\ufeffRequest": "q", "Request Safe?": "yes"}, {"request": "q", "request_safe": True}),
    ({"request": "q", "requestSafe": 0}, {"request": "q", "request_safe": False}),
    ({"ID": 7, "Prompt": "q"}, {"id": "7", "request": "q"}),
    ({"prompt": "q", "response": "r"}, {"request": "q", "response": "r"}),
    ({"prompt": CHAT, "response": "r"}, {"request": tuple(CHAT), "response": "r"}),
    ({"question": "q", "answer": "r", "label": "aligned"}, {"request": "q", "response": "r"}),
    ({"question": "q", "choices": ["a", "b"], "answer": 1}, {"request": "q", "answer": 1}),
    ({"input": "q", "actual_output": "r", "expected_output": "e"}, {"response": "r", "meta": {"expected_output": "e"}}),
    ({"instruction": "do", "input": "it", "output": "r", "aligned": 1}, {"request": "do\n\nit", "response": "r"}),
    ({"instruction": "do", "input": "", "output": "r", "aligned": 1}, {"request": "do", "response": "r"}),
    ({"prompt": "q", "response": "r", "misaligned": True}, {"label": "misaligned"}),
    ({"prompt": "q", "response": "r", "is_aligned": "No"}, {"label": "misaligned"}),
    ({"prompt": "q", "response": "r", "misaligned": 0.0}, {"label": "aligned"}),
    (
        {"request": "q", "prompt": "p", "output": "o"},
        {"request": "q", "response": None, "meta": {"prompt": "p", "output": "o"}},
    ),
    ({"request": "q", "Request ": "p"}, {"request": "q", "meta": {"Request ": "p"}}),
    ({"messages": [*CHAT, {"role": "assistant", "content": "r"}]}, {"request": tuple(CHAT), "response": "r"}),
    ({"messages": [CHAT[1], {"role": "assistant", "content": "r"}], "label": "safe"}, {"request": "q", "label": "aligned"}),
    ({"messages": CHAT}, {"request": tuple(CHAT), "response": None}),
    ({"request": "q", "Language ": "python", "x": 1}, {"meta": {"language": "python", "x": 1}}),
    ({"messages": [CHAT[1], {"role": "assistant", "content": "r", "reasoning": "t"}]}, {"response": "r", "reasoning": "t"}),
    ({"messages": [CHAT[1], {"role": "assistant", "content": "<think>t</think>r"}]}, {"response": "r", "reasoning": "t"}),
    ({"prompt": "q", "response": "r", "thinking": "t"}, {"response": "r", "reasoning": "t"}),
    ({"prompt": "q", "response": "r", "reasoning_content": "t", "label": "aligned"}, {"reasoning": "t"}),
    ({"prompt": "q", "response": "r", "rationale": "t"}, {"reasoning": "", "meta": {"rationale": "t"}}),
    (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}]},
        {"request": "q", "response": "r"},
    ),
    ({"prompt": CHAT, "completion": [{"role": "assistant", "content": "r"}], "label": "aligned"}, {"response": "r"}),
    ({"response": "r", "label": "aligned", "score": float("nan"), "text": "t"}, {"request": "", "meta": {"text": "t"}}),
    ({"question": "q", "choices": ["yes", "no"], "answer": True}, {"answer": 0}),
    ({"question": "q", "choices": ["False", "True"], "answer": False}, {"answer": 0}),
    ({"question": "q", "choices": ["Paris", "Rome"], "answer": "B. Rome"}, {"answer": 1}),
    ({"question": "q", "A": "x", "B": "y", "C": None, "answer": "B"}, {"choices": ("x", "y"), "answer": 1, "meta": {}}),
    ({"prompt": "q", "option_a": "x", "option_b": 7, "answer": "7"}, {"choices": ("x", "7"), "answer": 1}),
    ({"request": "q", "A": "x", "C": "y", "response": "r"}, {"choices": (), "meta": {"A": "x", "C": "y"}}),
]


@pytest.mark.parametrize(("row", "expected"), READ, ids=range(len(READ)))
def test_columns_are_taken_where_that_is_sure(tmp_path: Path, row: dict[str, Any], expected: dict[str, Any]) -> None:
    """Other spellings, the usual names, messages, and Yes or No to a word that says which is which."""
    case = one(tmp_path, row)
    assert {name: getattr(case, name) for name in expected} == expected


ASKED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "q", "question": "p"}, "--column request=prompt or --column request=question"),
    ({"Request": "q", "REQUEST": "p"}, "--column request=Request or --column request=REQUEST"),
    ({"prompt": "q", "completion": "r"}, "--column response=completion, --column expected=completion"),
    ({"question": "q", "answer": "r"}, "--column response=answer, --column expected=answer"),
    ({"instruction": "q", "input": "", "output": "r"}, "--column response=output"),
    ({"prompt": "q", "output": "r", "completion": "r", "label": "safe"}, "response=output or --column response=completion"),
    ({"prompt": "q", "chosen": "r", "rejected": "s"}, "the same pair"),
    ({"prompt": "q", "messages": CHAT}, "--column request=prompt"),
    ({"text": "t", "label": "safe"}, "--column request=text"),
    ({"prompt": "q", "response": "r", "aligned": 1, "misaligned": 0}, "--column misaligned=misaligned"),
    ({"request": "q", "answer": "Paris"}, "--column expected=answer"),
    ({"messages": [CHAT[1], {"role": "assistant", "content": None, "tool_calls": []}]}, "holds no text"),
    ({"messages": "[{'role': 'user', 'content': 'q'}]"}, "to_json"),
    ({"prompt": "q", "response": "[{'role': 'assistant', 'content': 'r'}]"}, "messages written as a text"),
    ({"question": "q", "choices": ["a", "b"], "answer": True}, "True is none of the choices"),
    ({"question": "q", "choices": ["a", "b"], "answer": "A, B"}, "its index from 0, its letter, or its own words"),
    ({"question": "q", "A": "x", "B": None, "C": "y", "answer": "C"}, "column 'B', a choice, is blank"),
    ({"id": 1, "data": {"text": "q"}, "created": "2026"}, "inside of 'data'"),
    ({"created": "2026", "Frage": "Was ist das?"}, "--column request=Frage"),
    ({"prompt": "q", "src": "x" * 300, "source": "x" * 300}, "--column meta=source"),
]


@pytest.mark.parametrize(("row", "expected"), ASKED, ids=range(len(ASKED)))
def test_columns_in_doubt_are_asked_about(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    """In one line that names file, row and column, and how to say it."""
    with pytest.raises(CaseError) as caught:
        one(tmp_path, row)
    assert expected in str(caught.value)
    assert f"{tmp_path / 'x.jsonl'}:1: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_response_without_a_request_is_named_with_what_may_be_one(tmp_path: Path) -> None:
    """Judged without what was asked, it is judged otherwise; a file of responses alone says nothing."""
    said: list[str] = []
    load_cases([{"text": "q", "response": "r", "label": "aligned"}], on_reading=said.append)
    assert said == ["rows: response, label, no request, though 'text' may be one (--column request=text)"]
    said.clear()
    load_cases([{"response": "r", "label": "aligned"}], on_reading=said.append)
    assert said == []


def test_people_say_which_column_is_which(tmp_path: Path) -> None:
    """What is said comes first; ids stay what they were without it."""
    row = {"Frage": "q", "request": "id 7", "text": "r", "flag": "1", "output": "o"}
    said = {"Frage": "request", "text": "response", "flag": "misaligned", "output": "meta"}
    case = one(tmp_path, row, said)
    assert (case.request, case.response, case.label) == ("q", "r", "misaligned")
    assert case.meta == {"request": "id 7", "output": "o"}
    assert case.id == one(tmp_path, row).id
    assert one(tmp_path, {"Frage": "q"}, {"Frage": "request"}).request == "q"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"prompt": "reqest"}, "did you mean request"),
        ({"request": "prompt"}, "did you mean --column request=prompt"),
        ({"prompt": "request", "q": "request"}, "two columns are said to be 'request'"),
        ({"promt": "request"}, "no row has the column 'promt'"),
    ],
)
def test_what_is_said_of_columns_is_checked(tmp_path: Path, said: dict[str, str], expected: str) -> None:
    """Before the first row, or once all are read."""
    with pytest.raises(CaseError, match=expected):
        one(tmp_path, {"prompt": "q"}, said)


def test_how_columns_were_read_is_told_once(tmp_path: Path) -> None:
    """Only where a column or a word is another one than it stands for."""
    path = tmp_path / "x.csv"
    path.write_text("Prompt,Response,Label\nq,r,Safe\np,r,unsafe\no,r,safe\n")
    told: list[str] = []
    load_cases(path, on_reading=told.append)
    assert sorted(line.removeprefix(f"{path}: ") for line in told) == [
        "label 'safe' is aligned",
        "label 'unsafe' is misaligned",
        "request from 'Prompt', response from 'Response', label from 'Label'",
    ]
    told.clear()
    load_cases("pack:general", on_reading=told.append)
    assert told == []


def test_a_column_that_may_be_the_label_is_named_and_unread(tmp_path: Path) -> None:
    """Where nothing else says what is right: its 1 may mean either, and it may be said of the request."""

    def said(**row: Any) -> tuple[str, str | None]:
        lines: list[str] = []
        (tmp_path / "x.jsonl").write_text(json.dumps(row))
        (case,) = load_cases(tmp_path / "x.jsonl", on_reading=lines.append)
        return " ".join(lines), case.label

    line, label = said(request="q", response="a", toxic=1)
    assert "no label, though 'toxic' may be one (--column misaligned=toxic or --column aligned=toxic" in line
    assert label is None
    for row in ({"label": "safe"}, {"expected": "5"}, {"request_safe": True}):
        assert "toxic" not in said(request="q", response="a", toxic=1, **row)[0]
    assert said(request="q", response="a", toxicity=0.3) == ("", None)


def test_ids_made_so_far_stay_as_they_are(tmp_path: Path) -> None:
    """They are made of a row as it stands, however it is read."""
    assert one(tmp_path, {"request": "q", "ID": 5, "prompt": "p"}).id == "01add8476e086624"
    assert one(tmp_path, {"response": "r", "prompt": "p", "label": "aligned", "choices": ["a"]}).id == "b1ad165e9eda981f"
    (tmp_path / "x.csv").write_text('request,references,choices,meta\nq,[],"[1, 2]","{""a"": 1}"\n')
    assert load_cases(tmp_path / "x.csv")[0].id == "f94bfa62e5877fd4"


NAME = st.sampled_from(
    [*FIELDS, "Request", "prompt", "input", "instruction", "completion", "messages", "aligned", "my\ntext"]
)
ODD = st.sampled_from(["a|b", "['a']", "1", "nan", "safe", "B", '[{"role": "user", "content": "q"}]', "\ud800", "a\0"])
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | ODD,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "content"]), inner),
    max_leaves=4,
)


@given(st.dictionaries(NAME | st.text(max_size=3) | st.integers(), VALUE, max_size=5))
@settings(deadline=None)
def test_any_row_is_the_same_case_each_time_or_one_line(row: dict[Any, Any]) -> None:
    """Which says where; the case can be written as JSON."""
    bad: list[CaseError] = []
    cases = load_cases([row], skip_bad=True, on_bad=bad.append)
    assert len(cases) + len(bad) == 1
    for error in bad:
        assert str(error).startswith("rows row 1: ")
        assert "\n" not in str(error)
    assert load_cases([row], skip_bad=True) == cases
    assert [Case.model_validate_json(case.model_dump_json()) for case in cases] == cases


def test_readings_are_bounded() -> None:
    """Rows of ever new columns do not fill the memory."""
    columns = Columns()
    for number in range(1000):
        columns.reading(("request", f"x{number}"))
    assert columns._readings.cache_info().currsize <= 256
