"""Cases in Parquet files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from conscience.cases.case import load_cases
from conscience.errors import CaseError, ConfigurationError

ROWS: list[dict[str, Any]] = [
    {"id": "a", "request": "q", "response": "r", "label": "aligned", "weight": None, "choices": None, "extra": {"n": 1}},
    {"id": "b", "request": "p", "response": "s", "label": "misaligned", "weight": 2.0, "choices": ["x", "y"], "extra": None},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """In row groups of one row."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: install the extra 'parquet'")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: install the extra 'parquet'")
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=1)
    return path


@pytest.mark.long
def test_rows_are_read_as_from_any_other_file(tmp_path: Path) -> None:
    """Absent values are absent, lists are lists; pandas' index is no column."""
    indexed = [row | {"__index_level_0__": number} for number, row in enumerate(ROWS)]
    cases = load_cases(write(tmp_path / "cases.parquet", indexed))
    assert [(case.id, case.label, case.weight, case.choices) for case in cases] == [
        ("a", "aligned", 1.0, ()),
        ("b", "misaligned", 2.0, ("x", "y")),
    ]
    assert "__index_level_0__" not in cases[0].meta
    assert load_cases(tmp_path) == cases


@pytest.mark.long
def test_a_bad_row_is_named_by_its_number(tmp_path: Path) -> None:
    """As is a file that is none, or ends too early."""
    path = write(tmp_path / "cases.parquet", [*ROWS, {"id": "c", "request": "", "response": ""}])
    with pytest.raises(CaseError, match=r"cases\.parquet row 3: has neither"):
        load_cases(path)
    assert len(load_cases(path, skip_bad=True)) == 2
    for data in (b"", b"PAR1", path.read_bytes()[:-20]):
        path.write_bytes(data)
        with pytest.raises(CaseError, match=r"cases\.parquet: is no Parquet file that can be read") as caught:
            load_cases(path)
        assert "\n" not in str(caught.value)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "cases.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match=r"needs the package 'pyarrow'.*dspy-conscience\[parquet\]"):
        load_cases(tmp_path / "cases.parquet")
