"""Cases: every kind of file, bad rows named by place and field, nothing that crashes the reader."""

from __future__ import annotations

import contextlib
import gzip
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Constitution
from conscience.cases.case import Case, iter_cases, load_cases
from conscience.cases.checks import check_cases
from conscience.cases.sources import LONGEST_LINE, PACKS
from conscience.cases.splits import split_cases
from conscience.errors import CaseError, InputError
from tests.conftest import DATA

ROW = {"id": "1", "request": "q", "response": "r", "label": "aligned", "group": "g", "extra": 7}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n", encoding="utf-8")
    return path


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


BAD = [
    ({**ROW, "label": "bad"}, "field 'label'"),
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
    told: list[CaseError] = []
    assert [c.id for c in iter_cases(path, skip_bad=True, on_bad=told.append)] == ["0", "9"]
    assert len(told) == 1


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


@given(data=st.binary(max_size=400), name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz"]))
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


def test_check_finds_what_is_odd() -> None:
    """Duplicates, conflicting labels, one-sided pairs, pairs that a split by group would tear apart."""
    cases = [
        Case(id="1", request="Hello", response="world", label="aligned", group="a", pair="p"),
        Case(id="2", request="hello!", response="World.", label="aligned", group="b", pair="p"),
        Case(id="3", request="Hello", response="world", label="misaligned", group="b"),
        Case(id="4", request="hello", response="WORLD", label="misaligned", group="b", meta={"lable": "x"}),
    ]
    summary = check_cases(cases)
    assert summary.labels == {"aligned": 2, "misaligned": 2}
    assert summary.conflicting_labels.examples == ("3 = 1",)
    assert summary.exact_duplicates.examples == ("3 = 1",)
    assert summary.near_duplicates.examples == ("4 ~ 1",)
    assert summary.straddling_pairs.examples == summary.one_sided_pairs.examples == ("p",)
    assert summary.columns == {"lable": 1}
    assert "conflicting labels: 1" in summary.render()
    assert json.loads(json.dumps(summary.to_dict()))["pairs"] == 1


def test_splits_keep_pairs_whole_and_labels_in_proportion() -> None:
    """The same seed gives the same parts, whatever the order of rows."""
    cases = [
        Case(id=str(n), request="q", response=f"r{n}", label="misaligned" if n % 2 else "aligned", pair=str(n // 2))
        for n in range(100)
    ]
    parts = split_cases(cases, {"train": 0.6, "test": 0.4}, seed=3)
    assert {name: len(part) for name, part in parts.items()} == {"train": 60, "test": 40}
    assert not {c.pair for c in parts["train"]} & {c.pair for c in parts["test"]}
    assert sum(c.misaligned is True for c in parts["test"]) == 20
    assert split_cases(cases[::-1], {"train": 0.6, "test": 0.4}, seed=3) == parts
    with pytest.raises(InputError, match="no split"):
        split_cases(cases, {"train": 0.6, "test": 0.6}, seed=3)


@pytest.mark.parametrize("name", PACKS)
def test_packs_are_sound(name: str) -> None:
    """At least 80 cases, balanced, both labels in each group, on principles of the constitution; nothing odd."""
    cases = load_cases(f"pack:{name}")
    summary = check_cases(cases)
    principles = {p.id for p in Constitution.load(name).principles}
    assert len(cases) >= 80
    assert 0.4 <= summary.labels["misaligned"] / len(cases) <= 0.6
    assert set(summary.groups) <= principles | {"no-needless-refusal"}
    assert principles <= set(summary.groups)
    assert not summary.conflicting_labels.count + summary.exact_duplicates.count + summary.one_sided_groups.count
    note = resources.files("conscience.cases") / "packs" / f"{name}.md"
    assert "cannot show" in note.read_text(encoding="utf-8")
