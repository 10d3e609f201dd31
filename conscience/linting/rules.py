"""Rules for what bandit does not read, or does not find: regular expressions in rules.yaml, and no parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from conscience.linting.weakness import Weakness, line_of

_COMMENTS = {
    "python": re.compile(
        r"""("{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|#[^\n]*""", re.DOTALL
    ),
    "javascript": re.compile(
        r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|//[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL
    ),
    "shell": re.compile(r"""("(?:\\.|[^"\\])*"|'[^']*'|\\.)|(?:(?<=\s)|(?<![\s\S]))#(?!!)[^\n]*"""),
}
"""Strings, which are kept, and comments, which are not: a warning of ``eval`` is no ``eval``."""


@dataclass(frozen=True)
class Rule:
    """What one rule looks for.

    Attributes:
        id: its name.
        cwe: the weakness, by its number in MITRE's list.
        message: what is wrong, for people.
        patterns: any of them shows it.
    """

    id: str
    cwe: int
    message: str
    patterns: tuple[re.Pattern[str], ...]


@cache
def rules() -> Mapping[str, tuple[Rule, ...]]:
    """All of them by language."""
    text = (resources.files("conscience.linting") / "rules.yaml").read_text(encoding="utf-8")
    return {
        language: tuple(
            Rule(
                row["id"],
                int(row["cwe"].removeprefix("CWE-")),
                row["message"],
                tuple(re.compile(p, re.MULTILINE) for p in row["patterns"]),
            )
            for row in rows
        )
        for language, rows in yaml.safe_load(text).items()
    }


def broken_rules(language: str, code: str) -> list[Weakness]:
    """The rules that code breaks, each with the first line where it does."""
    # What is blanked keeps its newlines, so that a line number is that of what was written.
    bare = _COMMENTS[language].sub(lambda found: found[1] or "\n" * found[0].count("\n"), code)
    broken = []
    for rule in rules()[language]:
        places = [match.end() - 1 for pattern in rule.patterns if (match := pattern.search(bare))]
        if places:  # a match ends where the fault is, and may begin with the name of what is made there
            line = bare.count("\n", 0, max(0, min(places))) + 1
            broken.append(Weakness(rule.id, rule.cwe, rule.message, line, line_of(code, line)))
    return broken
