"""Eyes on a program in use: verdict logs read, summed up, turned into cases to label, and watched for drift.

Imports as ``conscience.monitoring``:

    from conscience.monitoring import watch

    report = watch("verdicts.jsonl", "program.json", labels=["labelled.jsonl"])
    for check in report.told:
        print(check.name, check.message)
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from conscience._base.exports import exported

_HOME = {
    "CheckResult": "checks",
    "LogReader": "files",
    "LogStats": "summary",
    "Sample": "sampling",
    "Watch": "watching",
    "WatchReport": "watching",
    "log_stats": "summary",
    "read_log": "files",
    "sample_cases": "sampling",
    "watch": "watching",
}

__all__ = [
    "CheckResult",
    "LogReader",
    "LogStats",
    "Sample",
    "Watch",
    "WatchReport",
    "log_stats",
    "read_log",
    "sample_cases",
    "watch",
]

if TYPE_CHECKING:
    from conscience.monitoring.checks import CheckResult as CheckResult
    from conscience.monitoring.files import LogReader as LogReader
    from conscience.monitoring.files import read_log as read_log
    from conscience.monitoring.sampling import Sample as Sample
    from conscience.monitoring.sampling import sample_cases as sample_cases
    from conscience.monitoring.summary import LogStats as LogStats
    from conscience.monitoring.summary import log_stats as log_stats
    from conscience.monitoring.watching import Watch as Watch
    from conscience.monitoring.watching import WatchReport as WatchReport
    from conscience.monitoring.watching import watch as watch


if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for an export
    __getattr__ = partial(exported, __name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
