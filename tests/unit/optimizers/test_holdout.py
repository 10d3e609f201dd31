"""Before and after on holdout cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conscience import Budget, Conscience
from conscience.optimizers.holdout import HoldoutReport, report_holdout
from conscience.optimizers.runtime import Runtime
from conscience.testing import ScriptedLM
from tests.unit.optimizers.world import HOLDOUT, World, grade


def report(folder: Path, budget: Budget | None = None) -> tuple[HoldoutReport, int, int]:
    """What a report comes to, the calls that were made, and the tokens that they and those of the journal took."""
    lm = ScriptedLM(World())
    runtime = Runtime(folder / "calls.jsonl", budget)
    before, after = (runtime.own(Conscience(lm=lm, max_revisions=revisions)) for revisions in (0, 1))
    found = report_holdout(before, after, HOLDOUT[:12], folder, runtime, oracle=grade)
    return found, len(lm.calls), runtime.costs.tokens


@pytest.mark.parametrize("share", [pytest.param(0.3, marks=pytest.mark.long), 0.75])  # calls under way end beyond it
def test_a_larger_budget_goes_on_where_the_report_ran_out_of_one(tmp_path: Path, share: float) -> None:
    """In the run before or in the one after: what was left unreviewed is reviewed, and nothing is asked for twice."""
    whole, asked, tokens = report(tmp_path / "at once")
    assert whole.figures is not None
    cut_short, first, _ = report(tmp_path / "in parts", Budget(tokens=int(share * tokens)))
    assert cut_short.notes == ["no report on holdout cases: the budget ended in it"]
    gone_on, then, _ = report(tmp_path / "in parts")
    assert gone_on.figures is not None

    def untimed(found: HoldoutReport) -> list[object]:
        assert found.figures is not None
        sides = (found.figures.before, found.figures.after)
        return [*(replace(side, time_against_plain=None) for side in sides), found.figures.surface_words]

    assert untimed(gone_on) == untimed(whole)
    assert first + then == asked
