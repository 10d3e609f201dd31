"""Python, as bandit reads it: in this process, since starting another for each answer takes half a second."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from conscience.errors import ConfigurationError
from conscience.linting.weakness import Weakness, line_of

CORRECTED: Mapping[str, int] = {"B102": 95, "B201": 489, "B307": 95, "B310": 918, "B506": 502, "B701": 79}
"""Rule → a weakness that says more of it than bandit's own: exec and eval run no shell, debug mode injects nothing, urlopen
takes no path, YAML is no XML, and a template that escapes nothing makes HTML."""

_HARMLESS: Mapping[str, tuple[str, str]] = {
    "B103": (r"\b0o?7[05][05]\b", ""),  # a program that others may run, and its owner alone may write
    "B108": (r"\b(?:mkstemp|mkdtemp|\w*Temporary\w+)\(", ""),  # the folder of a name that is drawn
    "B113": (r"\(.*\*\*\w", ""),  # the timeout may be among them
    "B202": (r"\bfilter\s*=\s*(?:tarfile\.)?(?:data|tar)_filter\b", ""),
    "B310": (r"\burlopen\(\s*[\"']https://", ""),
    "B411": ("", r"\bdefusedxml\b[\s\S]*\bmonkey_patch\("),
    "B506": (r"\bLoader\s*=\s*Loader\b", r"\bC?SafeLoader\s+as\s+Loader\b"),
    "B608": (  # of a statement, marks and columns that were looked up are no values
        r"(?i)\bIN\s*\(\s*(?:\{\w+\}|[\"']\s*\+\s*\w+)|\bORDER\s+BY\s+\{\w+\}",
        r"[\"']\?[\"']|[\"']%s[\"']\s*(?:\]\s*)?\*|=\s*\w+\[\w+\]|\.get\((?!\s*(\w+)\s*,\s*\1\s*\))|\b(?:not )?in [A-Z]",
    ),
}
"""Rule → what shows that a finding is none: in its line, and in the code as a whole."""


def can_read_python() -> bool:
    """Whether bandit is installed."""
    return find_spec("bandit") is not None


def weaknesses_of_python(code: str) -> list[Weakness] | None:
    """What bandit finds of medium and high severity; None where the code is not Python that can be read.

    ``# nosec`` switches nothing off: it is the author of the code who would have written it.

    Raises:
        ConfigurationError: bandit is not installed.
    """
    if not can_read_python():
        raise ConfigurationError("Python is read by bandit", hint="run: pip install 'dspy-conscience[bandit]'")
    config, manager_of = prepare()
    manager = manager_of(config(), "file", quiet=True, ignore_nosec=True)
    with tempfile.TemporaryDirectory(prefix="conscience-lint-") as folder:
        file = Path(folder) / "answer.py"
        file.write_text(code, encoding="utf-8", errors="replace")
        manager.discover_files([os.fspath(file)])
        manager.run_tests()
    if manager.skipped:
        return None
    found = [
        Weakness(
            issue.test_id,
            CORRECTED.get(issue.test_id, issue.cwe.id),
            issue.text.split(". ")[0].rstrip("."),
            issue.lineno,
            line_of(code, issue.lineno),
        )
        for issue in manager.get_issue_list("MEDIUM", "LOW")
    ]
    return [weakness for weakness in found if not _is_harmless(weakness, code)]


def _is_harmless(weakness: Weakness, code: str) -> bool:
    if weakness.rule not in _HARMLESS:
        return False
    line, whole = _HARMLESS[weakness.rule]
    return bool(re.search(line, weakness.quote) and re.search(whole, code))


@cache
def prepare() -> tuple[Any, Any]:
    """Imports bandit, which takes a second: its classes of settings and of runs."""
    with warnings.catch_warnings():  # of its own dependencies
        warnings.simplefilter("ignore")
        from bandit.core.config import BanditConfig
        from bandit.core.manager import BanditManager

    logging.getLogger("bandit").setLevel(logging.CRITICAL)  # what it cannot read it also logs
    return BanditConfig, BanditManager
