"""A file of cases under somebody's hands: every label is kept at once, and can be taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conscience import InputError, load_cases
from conscience.errors import CaseError
from conscience.optimizers.data.labeling import LabelFile


def label_file(path: Path, *rows: dict[str, Any]) -> LabelFile:
    path.write_text("".join(json.dumps({"request": "q", "response": "r", **row}) + "\n" for row in rows))
    return LabelFile(path)


def test_a_label_goes_to_its_own_row_at_once(tmp_path: Path) -> None:
    """With who gave it; the other rows stay as they are."""
    path = tmp_path / "c.jsonl"
    file = label_file(path, {"id": "a", "note": "kept"}, {"id": "b"})
    other = path.read_text().splitlines()[1]
    file.label(file.cases["a"], "misaligned", who="somebody")
    first, second = path.read_text().splitlines()
    assert json.loads(first) == {
        "request": "q", "response": "r", "id": "a", "note": "kept", "label": "misaligned", "labelled": "somebody"
    }  # fmt: skip
    assert second == other
    assert [case.id for case in LabelFile(path).open] == ["b"]


def test_a_synthetic_label_is_a_proposal(tmp_path: Path) -> None:
    """It stays open until somebody has confirmed it, and is open again once that is taken back."""
    path = tmp_path / "c.jsonl"
    file = label_file(path, {"id": "a", "label": "aligned", "source": "synthetic"}, {"id": "b", "label": "aligned"})
    before = file.cases["a"]
    assert [case.id for case in file.open] == ["a"]
    file.label(before, "aligned")
    assert not file.open
    file.reopen(before)
    assert [case.id for case in file.open] == ["a"]
    assert load_cases(path)[0] == before


def test_a_skipped_case_comes_another_time(tmp_path: Path) -> None:
    """Not in this sitting, but it is still open."""
    file = label_file(tmp_path / "c.jsonl", {"id": "a"})
    case = file.next()
    assert case is not None
    file.skip(case)
    assert file.next() is None
    assert file.open == [case]


def test_the_case_least_like_those_shown_comes_first(tmp_path: Path) -> None:
    """Before there are labels of both kinds."""
    rows = [
        {"id": "a", "response": "awful rude words", "label": "misaligned"},
        {"id": "alike", "response": "awful rude words again"},
        {"id": "other", "response": "lovely kind sentences"},
    ]
    case = label_file(tmp_path / "c.jsonl", *rows).next()
    assert case is not None
    assert case.id == "other"


def test_what_cannot_be_labelled_is_refused(tmp_path: Path) -> None:
    """Another format, and a case without a response."""
    with pytest.raises(InputError, match=r"kept in \.jsonl files"):
        LabelFile(tmp_path / "c.csv")
    with pytest.raises(CaseError, match="'a' has no response"):
        label_file(tmp_path / "c.jsonl", {"id": "a", "response": None})


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the error names it."""
    path = tmp_path / "c.jsonl"
    file = label_file(path, {"id": "a"})
    before = path.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        file.label(file.cases["a"], "aligned")
    assert path.read_text() == before
