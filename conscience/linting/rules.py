"""Rules for what bandit does not read, or does not find: regular expressions in rules.yaml, and no parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from conscience.linting.reading import Reading, read
from conscience.linting.weakness import Weakness, line_of

WORD = r"\w"
"""What names are made of."""

_ENDLESS = re.compile(r"(\\[wsS]|\[ \\t\]|\[\\w[^\]]{1,6}\])([*+])")


@dataclass(frozen=True)
class Pattern:
    """One way to see a weakness.

    Attributes:
        find: where it is found, the weakness is there. A match ends where the fault is.
        where: only in code in which this is found, too.
        unless: not in code in which this is found.
        in_strings: what is found may begin inside of a string. Else it is only said there, and not done.
    """

    find: re.Pattern[str]
    where: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    in_strings: bool = False

    def place_in(self, reading: Reading) -> int | None:
        """Where the first fault is, if there is any."""
        text, at = reading.text, 0
        while found := self.find.search(text, at):
            if self.in_strings or not reading.is_said(found.start()):
                other = (self.where and not self.where.search(text)) or (self.unless and self.unless.search(text))
                return None if other else max(0, found.end() - 1)
            at = found.start() + 1
        return None


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
    patterns: tuple[Pattern, ...]


@cache
def rules() -> Mapping[str, tuple[Rule, ...]]:
    """All of them by language."""
    text = (resources.files("conscience.linting") / "rules.yaml").read_text(encoding="utf-8")
    rows_by_language = yaml.safe_load(text)
    words = rows_by_language.pop("words")
    return {
        language: tuple(
            Rule(
                row["id"],
                int(row["cwe"].removeprefix("CWE-")),
                row["message"],
                tuple(_pattern(p if isinstance(p, dict) else {"find": p}, words) for p in row["patterns"]),
            )
            for row in rows
        )
        for language, rows in rows_by_language.items()
    }


def _pattern(row: Mapping[str, Any], words: Mapping[str, str]) -> Pattern:
    compiled = {
        key: re.compile(_bounded(re.sub(r"@(\w+)@", lambda name: words[name[1]], row[key])), re.MULTILINE)
        for key in ("find", "where", "unless")
        if key in row
    }
    return Pattern(**compiled, in_strings=row.get("in_strings", False))


def _bounded(pattern: str) -> str:
    """A regular expression in which no run of letters or blanks is longer than code has them: what repeats itself without
    end would else be read over and over."""
    least = {"*": 0, "+": 1}
    return _ENDLESS.sub(lambda run: f"{run[1]}{{{least[run[2]]},{60 if run[1] == WORD else 200}}}", pattern)


def broken_rules(language: str, code: str) -> list[Weakness]:
    """The rules that code breaks, each with the first line where it does."""
    reading = read(language, code)
    broken = []
    for rule in rules()[language]:
        places = [place for pattern in rule.patterns if (place := pattern.place_in(reading)) is not None]
        if places:
            line = code.count("\n", 0, min(places)) + 1
            broken.append(Weakness(rule.id, rule.cwe, rule.message, line, line_of(code, line)))
    return broken
