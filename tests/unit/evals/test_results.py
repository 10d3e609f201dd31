"""Reports and comparisons as data: JSON and back, and as a short table."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from conscience.cli._shared.render import show_comparison, show_report
from conscience.errors import InputError
from conscience.evals.comparison.runs import compare_runs
from conscience.evals.results import Comparison, EvalReport
from conscience.evals.summary import summarise
from tests.unit.evals.runs import SAFE, go


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> EvalReport:
    """Of a run with all of its parts."""
    folder = tmp_path_factory.mktemp("run")
    go(folder)
    return summarise(folder, sources=["a.jsonl", "b.jsonl"], limit=16)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Of two runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("<b>", "other"):
        go(folder / name, SAFE)
    return compare_runs(folder / "<b>", folder / "other")


def test_report_survives_json(report: EvalReport) -> None:
    """Every part is there, and comes back as the type it was."""
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert all(data[part] for part in ("reviewer", "correction", "lexical_baseline", "groups", "overhead", "claims"))
    assert "rows" not in data
    read = EvalReport.from_json(data)
    assert read == report
    assert read.to_dict() == report.to_dict()
    assert EvalReport.from_json(data, report.rows).rows == report.rows


def test_comparison_survives_json(comparison: Comparison) -> None:
    """Figures with their cells, costs, and what both runs are of."""
    data = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert Comparison.from_json(data) == comparison
    assert data["figures"][0].keys() >= {"name", "first", "second", "difference", "p_value", "gained", "lost"}


def test_another_format_is_refused(report: EvalReport) -> None:
    """As is a report with a figure that is none."""
    data = report.to_dict()
    for wrong in (data | {"format": "conscience-report/1"}, data | {"unjudged": "many"}, [], None):
        with pytest.raises(InputError, match="conscience-report/2"):
            EvalReport.from_json(wrong)


def test_notebook_shows_a_table_in_which_nothing_is_markup(report: EvalReport, comparison: Comparison) -> None:
    """Titles are texts."""
    html = replace(report, title="<script>", claims=("a & b",))._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;: 16 cases, 0 failed" in html
    bare = re.sub(r' style="[^"]*"', "", html)
    assert "<td>self-correction accuracy</td><td>87.5%" in bare
    assert "note: a &amp; b" in bare
    assert "<th>&lt;b&gt;</th><th>other</th>" in re.sub(r' style="[^"]*"', "", comparison._repr_html_())


def test_terminal_shows_the_same_figures(report: EvalReport, comparison: Comparison) -> None:
    """As text, without control characters."""
    console = Console(record=True, width=200, file=io.StringIO())
    show_report(console, replace(report, title="a\x1b[2Jb [bold]"))
    show_comparison(console, comparison)
    text = console.export_text()
    assert "a[2Jb [bold]: 16 cases" in text
    for name, value in report.headline():
        assert name in text
        assert value in text
    assert "8 cases in common" in text
    assert "<b>" in text


def test_headline_names_what_was_measured(report: EvalReport) -> None:
    """Nothing else: without a correction and a reviewer only the costs are left."""
    names = [name for name, _ in report.headline()]
    assert names[:2] == ["right before", "self-correction accuracy"]
    bare = replace(report, correction=None, reviewer=None, lexical_baseline=None)
    assert [name for name, _ in bare.headline()] == ["time against the plain call", "generate", "review", "revise"]


def test_rows_are_not_written_with_the_figures(report: EvalReport, tmp_path: Path) -> None:
    """They have a file of their own."""
    assert len(report.rows) == 16
    assert len(json.dumps(report.to_dict())) < 20_000
