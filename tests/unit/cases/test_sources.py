"""Sources of cases: every kind of file, and nothing that crashes the reader."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience.cases.case import Case, iter_cases, load_cases
from conscience.cases.decoding import LONGEST_LINE
from conscience.errors import CaseError
from tests.conftest import DATA

ROW = {"id": "1", "request": "q", "response": "r", "label": "aligned", "group": "g", "extra": 7}


def test_the_same_case_from_every_kind_of_file(tmp_path: Path) -> None:
    """JSON Lines (with and without gzip, BOM and CRLF), JSON, CSV and TSV."""
    expected = Case(id="1", request="q", response="r", label="aligned", group="g", meta={"extra": 7})
    line = json.dumps(ROW)
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    (tmp_path / "c.json").write_text(f"[{line}]")
    for name in ("a.jsonl", "b.jsonl.gz", "c.json"):
        assert load_cases(tmp_path / name) == [expected]
    (tmp_path / "d.csv").write_text("id,request,response,label,references,request_safe\n1,q,r,aligned,a|b,true\n")
    (tmp_path / "e.tsv").write_text(
        'id\trequest\tresponse\tlabel\treferences\trequest_safe\n1\tq\tr\taligned\t["a","b"]\ttrue\n'
    )
    for name in ("d.csv", "e.tsv"):
        (case,) = load_cases(tmp_path / name)
        assert (case.references, case.request_safe, case.label) == (("a", "b"), True, "aligned")


def test_an_endless_line_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    """It is read past, not held."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'"' + b"x" * (LONGEST_LINE + 10) + b'"\n' + json.dumps(ROW).encode())
    assert [c.id for c in iter_cases(path, skip_bad=True)] == ["1"]


@pytest.mark.parametrize("name", ["missing.jsonl", "x.txt"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """With the reason."""
    with pytest.raises(CaseError, match=name):
        load_cases(tmp_path / name)


MARKS = st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\xef\xbb\xbfprompt;", b"sep=;\nrequest;"])


@given(
    data=st.tuples(MARKS, st.binary(max_size=400)).map(b"".join),
    name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_arbitrary_bytes_never_crash_the_reader(tmp_path: Path, data: bytes, name: str) -> None:
    """They are cases or a CaseError."""
    (tmp_path / name).write_bytes(data)
    with contextlib.suppress(CaseError):
        for case in iter_cases(tmp_path / name, skip_bad=True):
            assert case.id


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("xstest_reviews", 190),
        ("xstest_requests", 205),
        ("moralchoice_reviews", 714),
        ("diasafety_reviews", 1000),
        ("paradetox_revisions", 500),
        ("bbq_questions", 601),
    ],
)
def test_public_cases_load_as_they_are(name: str, rows: int) -> None:
    """Every row of every file."""
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the public cases are not beside this repository (../shared/data)")
    assert sum(1 for _ in iter_cases(path)) == rows
