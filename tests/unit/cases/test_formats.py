"""Files as spreadsheets and scripts write them: the same cases, or one line that says what to do."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Case, load_cases
from conscience.errors import CaseError
from conscience.optimizers.data.contrast_pairs import case_row

CASES = [
    Case(id="1", request="q, \"quoted\"; 'x'", response="two\nlines", label="aligned", references=("a", "b, c")),
    Case(id="2", request="Grüße, 你好 🙂", response="r|s", label="misaligned", choices=("x", "y"), answer=1, weight=2.0),
]
NAMES = ("id", "request", "response", "label", "references", "choices", "answer", "weight")


def table(separator: str = ",", *, end: str = "\r\n", before: str = "", more: str = "", blank: str = "") -> str:
    """The cases as a spreadsheet exports them.

    Args:
        before: stands above the header.
        more: stands at the end of each row, such as empty columns.
        blank: a row between and behind the others.
    """
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=more + end + blank)
    writer.writerow(NAMES)
    for case in CASES:
        row = case_row(case) | {"weight": case.weight}
        writer.writerow([json.dumps(v) if isinstance(v := row.get(name, ""), list | tuple) else v for name in NAMES])
    return before + out.getvalue()


TABLES: dict[str, tuple[str, bytes]] = {
    "commas": ("x.csv", table().encode()),
    "bom": ("x.csv", b"\xef\xbb\xbf" + table().encode()),
    "semicolons": ("x.csv", table(";").encode()),
    "tabs called csv": ("x.csv", table("\t").encode()),
    "commas called tsv": ("x.tsv", table().encode()),
    "excel's first line": ("x.csv", table("|", before="sep=|\r\n").encode()),
    "excel's first line after a mark": ("x.csv", b"\xef\xbb\xbf" + table(";", before="SEP=;\n").encode()),
    "utf-16": ("x.tsv", table("\t").encode("utf-16")),
    "utf-16 big": ("x.csv", b"\xfe\xff" + table(";").encode("utf-16-be")),
    "utf-32": ("x.csv", table().encode("utf-32")),
    "packed utf-16": ("x.csv.gz", gzip.compress(table().encode("utf-16"))),
    "blank rows": ("x.csv", table(more=",,,", blank=",,,,,,,,,,\r\n \r\n\r\n").encode()),
    "blank lines above": ("x.csv", table(before="\r\n,,,,,\r\n").encode()),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_spreadsheet_gives_the_cases_that_went_in(tmp_path: Path, name: str) -> None:
    """Whatever separates its columns, however its text is written, with blank rows and columns."""
    path = tmp_path / TABLES[name][0]
    path.write_bytes(TABLES[name][1])
    assert load_cases(path) == CASES
    assert load_cases(path) == load_cases(path)


def test_lines_may_end_as_on_old_macs(tmp_path: Path) -> None:
    """By a carriage return alone."""
    (tmp_path / "x.csv").write_bytes(b"id,request\r1,q\r2,p\r")
    assert [case.request for case in load_cases(tmp_path / "x.csv")] == ["q", "p"]


def test_columns_without_a_name_or_twice_are_kept_apart_where_nobody_reads_them(tmp_path: Path) -> None:
    """Such as pandas' index and empty columns; a row that is shorter only there is whole."""
    (tmp_path / "x.csv").write_text(",request,notes,notes,,\n0,q,a,b,,\n1,p,,c\n")
    first, second = load_cases(tmp_path / "x.csv")
    assert first.meta == {"": "0", "notes": "a", "notes 4": "b"}
    assert second.meta == {"": "1", "notes 4": "c"}


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("request,response,prediction,label\nq,,p,misaligned\n", {}, {"response": None, "meta": {"prediction": "p"}}),
        ("request,question,response\n,q,r\n", {}, {"request": "", "meta": {"question": "q"}}),
        ("request,response,label,aligned\nq,r,,1\n", {}, {"label": None}),
        ("prompt,final,response\np,,r\n", {"final": "request"}, {"request": ""}),
        ("request,response,notes\nq,r,\n", {"notes": "meta"}, {"response": "r"}),
        ("request,response,meta\nq,r,no JSON\n", {"meta": "meta"}, {"meta": {"meta": "no JSON"}}),
        ('request,response,references\nq,r,"[""open"\n', {"references": "meta"}, {"references": ()}),
        ("request,response,label,output,output\nq,r,aligned,1,2\n", {}, {"response": "r"}),
        ("instruction,input,output,label\nq,,r,aligned\n", {}, {"request": "q", "response": "r"}),
        ("question,A,B,C,answer\nq,x,y,,B\n", {}, {"choices": ("x", "y"), "answer": 1}),
    ],
)
def test_what_a_column_is_does_not_change_from_row_to_row(
    tmp_path: Path, text: str, columns: dict[str, str], expected: dict[str, Any]
) -> None:
    """A blank cell gives no other column its place, and an unread one refuses nothing."""
    (tmp_path / "x.csv").write_text(text)
    (case,) = load_cases(tmp_path / "x.csv", columns=columns)
    assert {name: getattr(case, name) for name in expected} == expected


BAD_TABLES = [
    ("request,request\nq,p\n", "'request' twice"),
    ("request,response\nq,r,more\n", "has 3 fields, the header 2"),
    ("request,response\nq\n", "has 1 fields, the header 2"),
    ("a,b\n1,2\n", "neither 'request' nor 'response'"),
    ("request,choices\nq,A;B\n", "one choice only"),
    ("request,choices\nq,\"['A', 'B']\"\n", "list written as a text"),
    ("request,references\nq,\"['A', 'B']\"\n", "list written as a text"),
    ("request,references\nq,a || b\n", "has an empty part"),
    ("request,label,response\nq,1,r\n", "--column misaligned=label"),
    ("id,request,response\n1,,\n", "neither a request nor a response"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_TABLES, ids=range(len(BAD_TABLES)))
def test_a_table_that_would_be_misread_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """In one line with the file's name."""
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(CaseError) as caught:
        load_cases(tmp_path / "x.csv")
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "x.csv"))
    assert "\n" not in str(caught.value)


NO_CASES: dict[str, tuple[bytes, str]] = {
    "x.xlsx": (b"PK\x03\x04", "Excel workbook"),
    "y.csv": (b"PK\x03\x04", "Excel workbook or another zip archive, whatever its name says"),
    "z.csv": (b"\xd0\xcf\x11\xe0", "workbook of old"),
    "x.jsonl": (b"PAR1", "name it .parquet"),
    "a.jsonl": (gzip.compress(b"{}"), "add .gz to its name"),
    "x.txt": (b"request\nq\n", "name it .csv, .tsv or .jsonl"),
    "x.pkl": (b"\x80", "never opened"),
    "b.csv": ("request\nq\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "c.csv": (b"request\nna\xefve\n", "'CSV UTF-8'"),
    "d.csv": (b"\xff\xfea", "is not the UTF-16 that its first bytes say"),
    "e.jsonl": (b'{"request": "q"},\n', "drop the comma"),
    "f.jsonl": (b"// cases\n", "drop the line"),
    "g.jsonl": (b"{'request': 'q'}\n", "json.dumps"),
    "h.jsonl": (b'[{"request": "q"}]\n', "name a list of rows .json"),
    "i.json": (b'{"request": {"0": "q"}, "label": {"0": "aligned"}}', "written by column or by index"),
    "j.json": (b'{"columns": ["request"], "index": [0], "data": [["q"]]}', "written by column or by index"),
    "k.json": (b'{"request": ["q", "p"], "label": ["aligned", "aligned"]}', "written by column or by index"),
    "m.json": (b'{"0": {"request": "q"}, "1": {"request": "p"}}', "written by column or by index"),
    "l.json": (b'{"a": [{"x": 1}], "b": [{"x": 1}]}', "not a list of rows"),
}


@pytest.mark.parametrize("name", NO_CASES)
def test_a_file_of_another_kind_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    """In one line, whatever it is called."""
    data, expected = NO_CASES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CaseError) as caught:
        load_cases(tmp_path / name)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "data": [{"request": "q"}, {"request": "p"}]}',
        '{"request": "q"}\n{"request": "p"}\n',
        '[\n  {"request": "q"},\n  {"request": "p"}\n]',
    ],
)
def test_a_json_file_is_a_list_an_object_with_one_or_lines(tmp_path: Path, text: str) -> None:
    """As pandas, datasets and scripts write it; one row alone is a row."""
    (tmp_path / "x.json").write_text(text)
    assert [case.request for case in load_cases(tmp_path / "x.json")] == ["q", "p"]
    (tmp_path / "x.json").write_text('{"request": "q", "messages": [{"role": "user"}]}')
    assert [case.request for case in load_cases(tmp_path / "x.json")] == ["q"]


class Frame:
    """As a data frame of pandas gives its rows."""

    columns = ("prompt", "response")

    def to_dict(self, how: str) -> list[dict[str, object]]:
        assert how == "records"
        return [{"prompt": "q", "response": float("nan")}, {"prompt": "p", "response": "r"}]


class Dataset:
    """As the package datasets gives its rows: a class by its number, -1 or None where it has none."""

    __module__ = "datasets.arrow_dataset"
    features = {"label": SimpleNamespace(int2str=["safe", "unsafe"].__getitem__), "prompt": None}  # noqa: RUF012

    def __iter__(self) -> Iterator[dict[str, object]]:
        for number in (np.int64(0), 1, -1, None):
            yield {"prompt": "q", "response": f"r{number}", "label": number}


def test_a_loaded_dataset_says_what_its_classes_are_called() -> None:
    """Its numbers alone would say nothing."""
    cases = load_cases(Dataset())  # type: ignore[arg-type]
    assert [case.label for case in cases] == ["aligned", "misaligned", None, None]


def test_rows_in_memory_are_cases_too() -> None:
    """Records, a generator of them, a data frame."""
    frame = Frame()
    expected = load_cases(frame.to_dict("records"))
    assert [(case.request, case.response) for case in expected] == [("q", None), ("p", "r")]
    assert load_cases(iter(frame.to_dict("records"))) == load_cases(frame) == expected  # type: ignore[arg-type]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).map(lambda text: f"x{text}y")
WRITTEN = st.lists(
    st.builds(
        Case,
        id=TEXT,
        request=TEXT,
        response=TEXT,
        label=st.sampled_from([None, "aligned", "misaligned"]),
        references=st.lists(TEXT, max_size=2).map(tuple),
        request_safe=st.sampled_from([None, True, False]),
        group=st.none() | TEXT,
        weight=st.sampled_from([1.0, 2.5]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda case: case.id,
)


def _as_csv(separator: str, encoding: str) -> Callable[[list[Case]], bytes]:
    def write(cases: list[Case]) -> bytes:
        out = io.StringIO()
        names = ["Id", "Request", "RESPONSE", "label", "references", "request safe", "Group", "weight", "", ""]
        writer = csv.writer(out, delimiter=separator)
        writer.writerow(names)
        for case in cases:
            label = case.label and case.label.upper()
            safe = {None: "", True: "TRUE", False: "FALSE"}[case.request_safe]
            references = json.dumps(case.references) if case.references else ""
            writer.writerow([case.id, case.request, case.response, label, references, safe, case.group, case.weight, "", ""])
            writer.writerow([""] * len(names))
        return out.getvalue().encode(encoding)

    return write


def _as_lines(cases: list[Case]) -> bytes:
    """As pandas writes a frame: every column in every row, null where it is absent."""
    names = ("id", "request", "response", "label", "references", "request_safe", "group", "weight")
    return "\n".join(json.dumps({name: getattr(case, name) or None for name in names} | {"request_safe": case.request_safe})
                     for case in cases).encode()  # fmt: skip


WRITERS: dict[str, Callable[[list[Case]], bytes]] = {
    "excel.csv": _as_csv(",", "utf-8-sig"),
    "european.csv": _as_csv(";", "utf-8-sig"),
    "unicode.tsv": _as_csv("\t", "utf-16"),
    "pandas.jsonl": _as_lines,
}


@pytest.mark.parametrize("name", WRITERS)
@given(cases=WRITTEN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_cases_come_back_from_any_program(tmp_path: Path, name: str, cases: list[Case]) -> None:
    """Written as Excel or pandas writes them, they are the same cases."""
    (tmp_path / name).write_bytes(WRITERS[name](cases))
    assert load_cases(tmp_path / name) == cases
