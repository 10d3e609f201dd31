"""From records to figures, and two runs side by side."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from conscience import Conscience
from conscience.errors import InputError
from conscience.evals import report
from conscience.evals.comparison import runs
from conscience.evals.comparison.runs import compare_runs
from conscience.evals.report import tally
from conscience.evals.results import EvalReport
from conscience.evals.summary import summarise
from conscience.testing import ScriptedLM
from tests.unit.evals.runs import SAFE, UNSAFE, go, records, script


def test_figures_of_a_report_agree_with_a_few_independent_lines(tmp_path: Path) -> None:
    """Recomputed from the records alone."""
    go(tmp_path)
    report, read = summarise(tmp_path), records(tmp_path)
    right = [record for record in read if record.draft_ok]
    wrong = [record for record in read if not record.draft_ok]
    assert {row.key: row for row in report.rows} == {record.key: record for record in read}
    correction, reviewer = report.correction, report.reviewer
    assert correction is not None
    assert reviewer is not None
    assert len(read) == 16
    assert correction.draft_accuracy.value == len(right) / 16 == 0.5
    assert correction.self_correction_accuracy.value == sum(bool(r.outcome_ok) for r in read) / 16 == 14 / 16
    assert correction.ecr.value == sum(bool(r.outcome_ok) for r in wrong) / len(wrong) == 7 / 8
    assert correction.eir.value == sum(not r.outcome_ok for r in right) / len(right) == 1 / 8
    assert correction.refusals["safe"].after.value == 1 / 8
    assert reviewer.recall.value == sum(r.flagged for r in wrong) / len(wrong) == 7 / 8
    assert reviewer.fpr.value == sum(r.flagged for r in right) / len(right) == 1 / 8
    scores = [[r.verdict.probability for r in side if r.verdict is not None] for side in (wrong, right)]
    pairs = [(b, g) for b in scores[0] for g in scores[1] if b is not None and g is not None]
    assert len(pairs) == 64
    assert reviewer.auroc == pytest.approx(sum((b > g) + (b == g) / 2 for b, g in pairs) / len(pairs))
    roles = Counter[str]()
    for record in read:
        roles.update({role: spent.calls for role, spent in record.usage.by_role.items()})
    assert {role: cost.calls for role, cost in report.overhead.by_role.items()} == dict(roles)
    assert {group.group: group.n for group in report.groups} == {"safe": 8, "unsafe": 8}
    assert report.lexical_baseline is not None
    assert report.lexical_baseline.n == 16


def test_unreviewed_records_say_nothing_of_latency(tmp_path: Path) -> None:
    """They end where the review did; their drafts are not shown, and the report says how many."""
    go(tmp_path, SAFE, Conscience(lm=ScriptedLM(script), budget={"calls": 1}))
    report = summarise(tmp_path)
    assert report.overhead.latency_ratio is None
    assert report.unjudged == 8
    assert report.claims[0].startswith("8 drafts were not shown")


def test_runs_without_a_case_in_common_are_not_compared(tmp_path: Path) -> None:
    """There is nothing to compare."""
    go(tmp_path / "a", SAFE)
    go(tmp_path / "b", UNSAFE)
    with pytest.raises(InputError, match="no case in common"):
        compare_runs(tmp_path / "a", tmp_path / "b")


def test_comparison_counts_what_each_lacks(tmp_path: Path) -> None:
    """And a run compared with itself differs in nothing."""
    go(tmp_path / "a", [*SAFE, *UNSAFE[:3]])
    go(tmp_path / "b", [*SAFE, *UNSAFE[5:]])
    different = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (different.cases, different.only_first, different.only_second) == (8, 3, 3)
    same = compare_runs(tmp_path / "a", tmp_path / "a")
    assert all(figure.p_value == 1 and figure.gained == figure.lost == 0 for figure in same.figures)
    assert [cost.first for cost in same.overhead] == [cost.second for cost in same.overhead]


def test_a_long_run_has_the_same_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures without bounds on the memory that they take; those that are drawn by lot are near, and the report says so."""
    go(tmp_path)
    exact = summarise(tmp_path)
    monkeypatch.setattr(tally, "EXACT", 5)
    long = summarise(tmp_path)
    assert long.streamed is not None
    assert (long.streamed.shown, long.streamed.found["all"], long.streamed.found["spoiled"]) == (16, 16, 1)
    assert len(long.rows) == 16
    assert "streamed" not in exact.to_dict()
    assert EvalReport.from_json(long.to_dict()) == long
    assert any("the page shows 16 of 16 rows" in claim for claim in long.claims)
    report.save(long, tmp_path)
    assert report.read(tmp_path).rows == long.rows
    assert exact.reviewer is not None
    assert long.reviewer is not None
    assert long.reviewer.recall.value == exact.reviewer.recall.value
    assert long.reviewer.roc == exact.reviewer.roc
    assert long.correction is not None
    assert exact.correction is not None
    assert long.correction.flips == exact.correction.flips
    assert [(group.group, group.n, group.auroc) for group in long.groups] == [
        (group.group, group.n, group.auroc) for group in exact.groups
    ]
    assert long.lexical_baseline is not None
    assert long.unreviewed == exact.unreviewed
    assert long.overhead.by_role.keys() == exact.overhead.by_role.keys()


@pytest.mark.parametrize("held", [5, 100])
def test_the_order_in_which_cases_end_does_not_matter(held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they were done: one process, many, or parts that are put together."""
    monkeypatch.setattr(tally, "EXACT", held)
    monkeypatch.setattr(tally, "MOST_GROUPS", 4)
    go(tmp_path, [case.model_copy(update={"group": f"g{n % 9}"}) for n, case in enumerate((*SAFE, *UNSAFE))])
    rows = []
    for n, line in enumerate((tmp_path / "rows.jsonl").read_text().splitlines()):
        row = json.loads(line)
        for spent in row["usage"]["by_role"].values():
            spent["dollars"] = 0.1 * (n + 1) ** 3 / 7
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    first = summarise(tmp_path)
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        (tmp_path / "rows.jsonl").write_text("".join(rows))
        other = summarise(tmp_path)
        assert replace(other, made=first.made, overhead=first.overhead) == first
        spent = [{role: cost.dollars for role, cost in report.overhead.by_role.items()} for report in (first, other)]
        assert spent[0] == spent[1]
        assert [*other.rows] == [*first.rows]


def test_groups_beyond_the_first_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of names is no grouping, and must not fill the memory."""
    monkeypatch.setattr(tally, "EXACT", 5)
    monkeypatch.setattr(tally, "MOST_GROUPS", 3)
    go(tmp_path, [case.model_copy(update={"group": case.id}) for case in SAFE])
    report = summarise(tmp_path)
    assert len(report.groups) == 3
    assert report.streamed is not None
    assert report.streamed.ungrouped == 5


def test_long_runs_are_compared_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts and rates are the same; the test is where every case stands alone."""
    alone = [case.model_copy(update={"pair": None}) for case in (*SAFE, *UNSAFE)]
    go(tmp_path / "a", alone, Conscience(lm=ScriptedLM(script), max_revisions=0))
    go(tmp_path / "b", alone[:12])
    held = compare_runs(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(runs, "EXACT", 5)
    counted = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (counted.cases, counted.only_first, counted.only_second) == (12, 4, 0)
    assert [replace(figure, difference=None) for figure in counted.figures] == [
        replace(figure, difference=None) for figure in held.figures
    ]
    for mine, theirs in zip(counted.figures, held.figures, strict=True):
        assert (mine.difference is None) == (theirs.difference is None)
        if mine.difference is not None and theirs.difference is not None:
            assert mine.difference.value == pytest.approx(theirs.difference.value)
            assert mine.difference.low <= mine.difference.value <= mine.difference.high
    assert [(score.first.value, score.second.value) for score in counted.scores] == [
        (score.first.value, score.second.value) for score in held.scores
    ]
    for cost, before in zip(counted.overhead, held.overhead, strict=True):  # added up in another order
        assert (cost.first, cost.second) == (pytest.approx(before.first), pytest.approx(before.second))
