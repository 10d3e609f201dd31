"""A pytest plugin: tests that hold a run to its figures. It is loaded wherever this package is installed.

def test_release(conscience_figures):
    conscience_figures("runs/today").require("self_correction >= .8", "fpr <= .05")
    conscience_figures("runs/today", since="runs/last").require("self_correction >= 0", "fpr <= +.02")

def test_program(conscience_figures):
    conscience_figures(program, cases="cases.jsonl").require("unreviewed <= 0")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conscience.evals.api import Sources
    from conscience.evals.results import Comparison, EvalReport


@dataclass(frozen=True)
class Figures:
    """The figures of a run, or of a run beside an earlier one.

    Attributes:
        measured: the report, or the comparison.
    """

    measured: EvalReport | Comparison

    def require(self, *conditions: str, certain: bool = False) -> None:
        """Fails the test where a condition does not hold, and says of each what was measured.

        Args:
            conditions: such as "fpr <= .05"; see ``conscience compare --help``.
            certain: a condition holds only where the whole 95 % interval meets it.

        Raises:
            AssertionError: one does not hold, no case has its figure, or the run ended before all of its cases were done.
            InputError: one is no condition, or is about a change and there is no earlier run.
        """
        __tracebackhide__ = True
        from conscience.errors import InputError
        from conscience.evals.comparison.conditions import parse_conditions

        if not conditions:
            raise InputError("nothing is required", hint="name a condition, as in 'fpr <= .05'")
        checked = [condition.on(self.measured) for condition in parse_conditions(conditions)]
        failed = [str(check) for check in checked if not check.holds(certain=certain)]
        if left := _left(self.measured):
            failed.append(f"{left} of its cases were not done when the run ended")
        if failed:
            pytest.fail(f"{self.measured.heading}\n" + "\n".join(f"does not hold: {line}" for line in failed), pytrace=False)


def _left(measured: EvalReport | Comparison) -> int:
    """Of a run alone; beside another it is compared on the cases that both have."""
    return getattr(getattr(measured, "cases", None), "left", 0)


@pytest.fixture
def conscience_figures(tmp_path: Path) -> Callable[..., Figures]:
    """A function that takes a run's folder, or a program with ``cases=``, and gives its figures to ``require``."""

    numbers = count(1)

    def figures(
        run: str | Path | Any,
        *,
        since: str | Path | None = None,
        cases: Sources | None = None,
        oracle: Any = None,
    ) -> Figures:
        __tracebackhide__ = True
        from conscience.errors import InputError
        from conscience.evals.api import evaluate
        from conscience.evals.comparison.runs import compare_runs
        from conscience.evals.summary import summarise

        if cases is not None:
            folder = tmp_path / f"conscience-run-{next(numbers)}"
            evaluate(run, cases, oracle=oracle, out=folder)
        elif isinstance(run, str | Path):
            folder = Path(run)
        else:
            raise InputError("a program has no figures of its own", hint="name cases, as in cases='cases.jsonl'")
        return Figures(summarise(folder) if since is None else compare_runs(Path(since), folder))

    return figures
