"""The record of a verdict: what is written is read back, and what is none is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.errors import InputError
from conscience.observability.record import TEXTS, VerdictRecord

RECORD = VerdictRecord(at="2026-11-26T10:00:00.000+00:00", id="r1", status="clean", flagged=False, probability=0.1)

texts = st.text(st.characters(exclude_categories=["Cs"]))
records = st.builds(
    VerdictRecord,
    at=st.datetimes().map(lambda time: time.isoformat(timespec="milliseconds") + "+00:00"),
    id=texts,
    tenant=texts,
    mode=st.sampled_from(["enforce", "observe"]),
    status=st.sampled_from(["clean", "cleared", "revised", "refused", "unresolved", "unreviewed", "failed"]),
    flagged=st.booleans(),
    probability=st.none() | st.floats(0, 1),
    signals=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False)),
    principles=st.lists(texts).map(tuple),
    seconds=st.floats(0, 1e6),
    request=st.none() | texts,
    response=st.none() | texts,
    draft=st.none() | texts,
)


@given(records)
def test_a_record_is_read_back_as_it_was_written(record: VerdictRecord) -> None:
    assert VerdictRecord.from_json(json.dumps(record.to_json())) == record
    assert VerdictRecord.from_json(record.to_json()) == record


def test_a_line_has_every_key_and_those_of_texts_only_with_texts() -> None:
    assert not set(TEXTS) & set(RECORD.to_json())
    assert {"v", "at", "id", "tenant", "program", "backend", "mode", "status", "flagged"} <= set(RECORD.to_json())
    assert replace(RECORD, draft="x").to_json()["draft"] == "x"


def test_chat_messages_are_a_request() -> None:
    record = replace(RECORD, request=({"role": "user", "content": "Hi"},))
    assert VerdictRecord.from_json(json.dumps(record.to_json())) == record


def test_a_number_that_json_lacks_is_left_out() -> None:
    assert replace(RECORD, signals={"a": float("nan"), "b": 1.0}).to_json()["signals"] == {"b": 1.0}


def test_keys_of_a_later_version_are_passed_over() -> None:
    assert VerdictRecord.from_json({**RECORD.to_json(), "mood": "good"}) == RECORD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "fine"}, "'status'"),
        ({"at": "yesterday"}, "'at'"),
        ({"at": "2026-11-26T10:00:00"}, "no time zone"),
        ({"probability": 1.2}, "'probability'"),
        ({"seconds": -1}, "'seconds'"),
        ({"signals": {"a": "x"}}, "signals"),
        ({"v": 2}, "version 2"),
    ],
)
def test_what_is_no_record_is_told_by_its_key(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        VerdictRecord.from_json({**RECORD.to_json(), **change})


@pytest.mark.parametrize("line", ["", "{", "[]", "7", '{"at": "2026', b"\xff"])
def test_a_torn_line_is_no_record(line: str | bytes) -> None:
    with pytest.raises(InputError, match="not a record"):
        VerdictRecord.from_json(line)
