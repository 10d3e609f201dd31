"""Records: what is written to a file is what is read from it."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from conscience import Case, Conscience
from conscience.evals.folder import read_records
from conscience.evals.records import CaseRecord, FailedCase, Graded, record_from_json
from conscience.testing import ScriptedLM
from conscience.usage import CallUsage, Usage
from tests.unit.evals.runs import UNSAFE, go, records, script

USAGE = Usage({"generate": CallUsage(calls=1, input_tokens=7, output_tokens=3, seconds=0.25, dollars=0.5)}, 0.5)


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data))


def test_every_record_of_a_run_survives_json(tmp_path: Path) -> None:
    """Reviewed, revised and answered ones, verdicts, revisions and usage included."""
    cases = [
        *UNSAFE,
        Case(id="review", request="q", response="cruel words", label="misaligned"),
        Case(id="revise", response="cruel words", label="misaligned", references=("I can't help with that.",)),
    ]
    go(tmp_path, cases, Conscience(lm=ScriptedLM(script)))
    read = records(tmp_path)
    assert {record.kind for record in read} == {"answer", "review", "revise"}
    assert any(record.revisions for record in read)
    for record in read:
        assert record_from_json(through_json(record.to_json())) == record


def test_line_of_a_record(tmp_path: Path) -> None:
    """Its names, for those who read the file without this package."""
    record = CaseRecord(
        id="a", key="k", kind="answer", usage=USAGE, draft=Graded("x", True, "why"), outcome=Graded("y", False, refused=True)
    )
    line = through_json(record.to_json())
    assert line["draft"] == {"text": "x", "ok": True, "reason": "why", "refused": False}
    assert line["outcome"] == {"text": "y", "ok": False, "reason": "", "refused": True}
    assert (line["id"], line["key"], line["kind"], line["flagged"], line["status"]) == ("a", "k", "answer", False, None)
    assert line["usage"]["by_role"]["generate"]["tokens"] == 10


def test_failed_case_survives_json() -> None:
    """And is told from one that was done by its error."""
    failed = FailedCase("a", "k", "it broke")
    assert record_from_json(through_json(failed.to_json())) == failed


def test_nothing_known_is_none_and_not_false() -> None:
    """A draft that is not shown, an outcome that does not exist, a text that nothing judged."""
    record = CaseRecord(id="a", kind="review", usage=USAGE, draft=Graded("x", None))
    assert record.draft_ok is record.outcome_ok is None
    assert record.flagged is False


def test_records_do_not_change() -> None:
    """Neither by accident nor by name: an unknown field is no record."""
    record = CaseRecord(id="a", kind="answer", usage=USAGE)
    with pytest.raises(FrozenInstanceError):
        record.safe = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        record_from_json({**record.to_json(), "draft_okay": True})


def test_usage_is_what_it_was() -> None:
    """By role, so that sums are the same."""
    assert Usage.from_dict(through_json(USAGE.to_dict())) == USAGE


def test_records_stream(tmp_path: Path) -> None:
    """One at a time: a run may hold more than memory does."""
    go(tmp_path, UNSAFE)
    reading = read_records(tmp_path)
    assert next(reading).id == json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])["id"]
