"""Rows on disk, in parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.errors import InputError
from conscience.evals import runner
from conscience.evals.rows import LineFile, dumped, finished, lines, parse, parts
from tests.unit.evals.runs import SAFE, UNSAFE, go, records

TEXTS = st.text(st.characters(codec=None, categories=["L", "Nd", "Cs"]))
"""Halves of surrogate pairs among them."""


def write(path: Path, rows: list[dict[str, object]], part: int | None = 40) -> None:
    with LineFile(path, "ab", part) as file:
        for row in rows:
            file.add(dumped(row))


def test_rows_go_on_in_further_files(tmp_path: Path) -> None:
    """A part is closed once it is full, and whoever comes later goes on with the last one."""
    out = tmp_path / "rows.jsonl"
    write(out, [{"key": f"{n:016x}"} for n in range(3)])
    write(out, [{"key": f"{n:016x}"} for n in range(3, 6)])
    assert [part.name for part in parts(out)] == ["rows.jsonl", "rows-2.jsonl", "rows-3.jsonl"]
    assert [parse(line)["key"] for _, line in lines(out)] == [f"{n:016x}" for n in range(6)]
    assert len(finished(out, in_parts=True).keys) == 6
    assert [place.rpartition("/")[2] for place, _ in lines(out)][:3] == ["rows.jsonl:1", "rows.jsonl:2", "rows-2.jsonl:1"]


def test_a_file_of_its_own_has_no_parts(tmp_path: Path) -> None:
    """One beside it, with a number in its name, is another one: it is neither read nor changed."""
    write(tmp_path / "v.jsonl", [{"key": "a"}], None)
    (tmp_path / "v-2.jsonl").write_text('{"hello": 1}\n{"torn')
    assert len(finished(tmp_path / "v.jsonl").keys) == 1
    assert (tmp_path / "v-2.jsonl").read_text() == '{"hello": 1}\n{"torn'


def test_failed_cases_and_torn_lines_are_taken_out_of_every_part(tmp_path: Path) -> None:
    """The others stay as they are, byte for byte; what a record cost is added up."""
    out = tmp_path / "rows.jsonl"
    good = [{"key": f"{n:016x}", "usage": {"dollars": 0.5}} for n in range(4)]
    write(out, [good[0], {"key": "f", "error": "e"}, good[1], good[2], {"key": "g", "error": "e"}, good[3]], 100)
    with parts(out)[-1].open("a") as file:
        file.write('{"key": "torn')
    assert len(parts(out)) > 1
    done = finished(out, in_parts=True)
    assert (len(done.keys), done.dollars) == (4, 2.0)
    assert [json.loads(line) for _, line in lines(out)] == good


def test_what_is_no_row_is_named_with_its_part(tmp_path: Path) -> None:
    """And nothing is changed."""
    out = tmp_path / "rows.jsonl"
    write(out, [{"key": "0" * 40}, {"hello": 1}])
    with pytest.raises(InputError, match=r"rows-2\.jsonl:1: not a row"):
        finished(out, in_parts=True)


def test_a_run_goes_on_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its report is on all of them, and a run over more cases asks for none anew."""
    monkeypatch.setattr(runner, "PART", 3000)
    go(tmp_path, SAFE)
    assert len(parts(tmp_path / "rows.jsonl")) > 1
    assert go(tmp_path, [*SAFE, *UNSAFE]).resumed == 8
    assert {record.id for record in records(tmp_path)} == {case.id for case in (*SAFE, *UNSAFE)}


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS, max_size=4))
def test_a_row_is_read_as_it_was_written(row: dict[str, object]) -> None:
    """Numbers beyond 64 bits too, and what no provider could be sent."""
    assert parse(dumped(row).encode()) == row


@pytest.mark.parametrize("theirs", [b'{"my": "data"}', b'{"id": 3}', b"\x00\x01 picture", b'{"key', b"# notes"])
def test_another_file_of_one_line_is_left_alone(theirs: bytes, tmp_path: Path) -> None:
    """A line without its end is what a kill left only where it could be a record."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(theirs)
    with pytest.raises(InputError, match=r"out\.jsonl:1: not a row of a run"):
        finished(path)
    assert path.read_bytes() == theirs


@pytest.mark.parametrize("torn", [b'{"id"', b'{"id": "a", "ke', b"{"])
def test_a_first_record_that_was_torn_is_taken_out(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(torn)
    assert not len(finished(path).keys)
    assert path.read_bytes() == b""
