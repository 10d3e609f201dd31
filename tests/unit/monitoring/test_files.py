"""Verdict logs are read whole: rotated, packed, torn, of later versions, and while they grow."""

from __future__ import annotations

import gzip
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience.errors import InputError
from conscience.monitoring.files import LogReader, read_log, readers
from tests.unit.monitoring.traffic import BEGAN, record


def lines(*numbers: int) -> bytes:
    return b"".join(json.dumps(record(number, 0.1).to_json()).encode() + b"\n" for number in numbers)


def ids(path: Path | list[Path]) -> list[str]:
    return [one.id for one in read_log(path)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "verdicts.jsonl"


def test_rotated_files_come_first_oldest_first(log: Path) -> None:
    """Packed or not; what is beside the log is none of it."""
    log.write_bytes(lines(4, 5))
    log.with_name("verdicts.jsonl.1").write_bytes(lines(3))
    log.with_name("verdicts.jsonl.2.gz").write_bytes(gzip.compress(lines(1, 2)))
    log.with_name("verdicts.jsonl.bak").write_bytes(lines(9))
    assert ids(log) == ["r1", "r2", "r3", "r4", "r5"]
    assert ids(sorted(log.parent.glob("verdicts.jsonl*"))[:3]) == ["r1", "r2", "r3", "r4", "r5"], "a shell's star"
    assert ids(log.with_name("verdicts.jsonl.2.gz")) == ["r1", "r2"], "one alone, where it is named"


BROKEN = {
    "torn in the middle": b'{"v": 1, "at": "2026-11-2' + lines(2),
    "no object": b"[1, 2]\n",
    "no record": b'{"level": "info"}\n',
    "no JSON": b"Traceback (most recent call last):\n",
    "no text": b"\xff\xfe\x00{}\n",
    "zeros after a power cut": b"\0" * 4096 + b"\n",
    "no time": json.dumps({**record(1, 0.1).to_json(), "at": "yesterday"}).encode() + b"\n",
    "a later version": json.dumps({**record(1, 0.1).to_json(), "v": 99}).encode() + b"\n",
    "nested without end": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_line_that_is_no_record_is_passed_over_and_counted(log: Path, name: str) -> None:
    """With its place."""
    log.write_bytes(lines(1) + BROKEN[name] + lines(3))
    said: list[str] = []
    reader = LogReader(log, on_bad=said.append)
    assert [one.id for one in reader.records()] == ["r1", "r3"]
    assert reader.bad == 1
    assert said[0].startswith(f"{log}: line 2: ")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(0, 99), st.binary(max_size=60)), max_size=12), st.booleans())
def test_no_bytes_hide_a_record_or_end_the_reading(log: Path, parts: list[int | bytes], packed: bool) -> None:
    """Whatever stands between records, as long as they are lines of their own; read in one go or followed."""
    whole = b"".join(lines(part) if isinstance(part, int) else part + b"\n" for part in parts)
    expected = [f"r{part}" for part in parts if isinstance(part, int)]
    path = log.with_name("p.jsonl.gz") if packed else log
    path.write_bytes(gzip.compress(whole) if packed else whole)
    assert ids(path) == expected
    log.write_bytes(b"")
    reader, got = LogReader(log), []
    for start in range(0, len(whole), 97):
        with log.open("ab") as file:
            file.write(whole[start : start + 97])
        got += [one.id for one in reader.records()]
    assert got == expected


def test_what_later_versions_add_is_left_out(log: Path) -> None:
    """Unknown fields are no fault; blank lines and foreign line ends neither."""
    data = {**record(1, 0.1).to_json(), "colour": "red", "nested": {"x": [1]}}
    log.write_bytes(b"\n" + json.dumps(data).encode() + b"\r\n\n" + lines(2))
    assert ids(log) == ["r1", "r2"]


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_last_line_that_is_being_written_waits_for_its_end(log: Path, cut: int) -> None:
    """It is no fault, and comes when it is whole."""
    whole = lines(1, 2)
    log.write_bytes(whole[:-cut])
    reader = LogReader(log)
    assert [one.id for one in reader.records()] == (["r1", "r2"] if cut == 1 else ["r1"])
    log.write_bytes(whole + lines(3))
    assert [one.id for one in reader.records()] == (["r3"] if cut == 1 else ["r2", "r3"])
    assert reader.bad == 0


def test_a_log_is_followed_over_rotations_and_cuts(log: Path) -> None:
    """Nothing is lost and nothing comes twice: renamed twice between two looks, packed, or cut off and begun anew."""
    reader = LogReader(log)
    log.write_bytes(lines(1))
    assert [one.id for one in reader.records()] == ["r1"]
    assert list(reader.records()) == []
    with log.open("ab") as file:
        file.write(lines(2))
    os.replace(log, log.with_name("verdicts.jsonl.1"))
    log.write_bytes(lines(3))
    os.replace(log.with_name("verdicts.jsonl.1"), log.with_name("verdicts.jsonl.2"))
    os.replace(log, log.with_name("verdicts.jsonl.1"))
    log.write_bytes(lines(4))
    assert [one.id for one in reader.records()] == ["r2", "r3", "r4"]
    os.truncate(log, 0)
    log.write_bytes(lines(5)[:-1] + b"\n")
    assert [one.id for one in reader.records()] == []  # as long as before: it cannot be told
    os.truncate(log, 0)
    assert list(reader.records()) == []
    log.write_bytes(lines(6))
    assert [one.id for one in reader.records()] == ["r6"]


def test_a_packed_file_that_ends_early_gives_what_it_has(log: Path) -> None:
    """And that is told."""
    packed = gzip.compress(lines(*range(300)))
    log.with_name("verdicts.jsonl.1.gz").write_bytes(packed[: len(packed) // 2])
    log.write_bytes(lines(900))
    said: list[str] = []
    got = [one.id for one in LogReader(log, on_bad=said.append).records()]
    assert got[0] == "r0"
    assert got[-1] == "r900"
    assert "cannot be read to its end" in said[0]


def test_since_counts_in_utc(log: Path) -> None:
    """Lost records count from then on too."""
    log.write_bytes(lines(1, 2, 3))
    assert [one.id for one in read_log(log, since=BEGAN + timedelta(seconds=2))] == ["r2", "r3"]
    assert [one.id for one in read_log(log, since=(BEGAN + timedelta(seconds=2)).replace(tzinfo=None))] == ["r2", "r3"]


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "a\0b"])
def test_what_is_no_log_is_one_line(tmp_path: Path, name: str) -> None:
    """With how to mend it, where that is known."""
    with pytest.raises(InputError) as raised:
        list(read_log(tmp_path / name))
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="no log"):
        readers([])
