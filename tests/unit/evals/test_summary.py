"""From records to figures, and two runs side by side."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from conscience import Conscience
from conscience.errors import InputError
from conscience.evals.comparison.runs import compare_runs
from conscience.evals.summary import summarise
from conscience.testing import ScriptedLM
from tests.unit.evals.runs import SAFE, UNSAFE, go, records, script


def test_figures_of_a_report_agree_with_a_few_independent_lines(tmp_path: Path) -> None:
    """Recomputed from the records alone."""
    go(tmp_path)
    report, read = summarise(tmp_path), records(tmp_path)
    right = [record for record in read if record.draft_ok]
    wrong = [record for record in read if not record.draft_ok]
    assert list(report.rows) == read
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
