"""A log in figures."""

from __future__ import annotations

import json
from dataclasses import replace

from conscience.monitoring.summary import log_stats
from tests.unit.monitoring.traffic import record


def test_verdicts_scores_time_and_cost_are_summed_up() -> None:
    """A draft that nobody reviewed is in no rate."""
    records = [record(n, 0.9 if n % 5 == 0 else 0.1) for n in range(100)]
    records += [replace(record(100, None), error="down", lost=3, tenant="acme", principles=("honesty",))]
    stats = log_stats(records)
    assert (stats.records, stats.lost, stats.calls, stats.tokens) == (101, 3, 202, 30300)
    assert stats.statuses == {"clean": 80, "refused": 20, "unreviewed": 1}
    assert (stats.gated.value, stats.gated.n) == (0.2, 100)
    assert stats.scores[0.5] == 0.1
    assert stats.scores[0.95] == 0.9
    assert stats.tenants == {"": 100, "acme": 1}
    assert stats.principles == {"honesty": 1}
    assert (stats.first, stats.last) == (records[0].at, records[-1].at)
    assert json.loads(json.dumps(stats.to_json()))["seconds"] == {"0.5": 0.4, "0.95": 0.4, "0.99": 0.4}


def test_an_empty_log_has_figures_too() -> None:
    """None of them is an error."""
    stats = log_stats([])
    assert (stats.records, stats.flagged.value, stats.scores) == (0, None, {})
