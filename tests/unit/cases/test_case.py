"""Cases: what a row may say, and bad rows named by place and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conscience.cases.case import iter_cases, load_cases
from conscience.errors import CaseError

ROW = {"id": "1", "request": "q", "response": "r", "label": "aligned", "group": "g", "extra": 7}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n", encoding="utf-8")
    return path


BAD = [
    ({**ROW, "label": "odd"}, "field 'label'"),
    ({"id": "2", "request": ""}, "neither a request nor a response"),
    ({**ROW, "weight": 0}, "field 'weight'"),
    ({**ROW, "weight": "NaN"}, "field 'weight'"),
    ({**ROW, "choices": ["a"], "answer": 1}, "no index into 1 choices"),
    ({**ROW, "request": [{"role": "king", "content": "x"}]}, "role 'king' is not one of"),
    ({**ROW, "request": "a\0b"}, "field 'request': holds a NUL byte"),
    ({**ROW, "response": "\ud800"}, "field 'response': holds a lone surrogate"),
    ("[1, 2]", "not an object"),
    ('{"id": "1", ', "not JSON"),
    ('{"id": ' + "[" * 100_000, "not JSON"),
]


@pytest.mark.parametrize(("row", "expected"), BAD, ids=range(len(BAD)))
def test_bad_row_is_named_and_may_be_skipped(tmp_path: Path, row: Any, expected: str) -> None:
    """File, line and field in one line; with skip_bad the others are read."""
    path = write(tmp_path / "x.jsonl", {**ROW, "id": "0"}, row, {**ROW, "id": "9"})
    with pytest.raises(CaseError) as caught:
        load_cases(path)
    assert f"{path}:2" in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    skipped: list[CaseError] = []
    assert [c.id for c in iter_cases(path, skip_bad=True, on_bad=skipped.append)] == ["0", "9"]
    assert len(skipped) == 1


def test_an_id_that_comes_twice_names_both_places(tmp_path: Path) -> None:
    """Across files too."""
    a, b = write(tmp_path / "a.jsonl", ROW), write(tmp_path / "b.jsonl", ROW)
    with pytest.raises(CaseError, match=r"b\.jsonl:1: field 'id': '1' was already used at .*a\.jsonl:1"):
        load_cases([a, b])


def test_a_row_without_an_id_gets_one_from_its_content(tmp_path: Path) -> None:
    """The same content, the same id."""
    path = write(tmp_path / "a.jsonl", {"request": "q"}, {"request": "p"})
    first, second = load_cases(path)
    assert first.id != second.id
    assert load_cases(path) == [first, second]
