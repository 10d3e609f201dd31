"""What a linter finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weakness:
    """One thing that is insecure in a piece of code.

    Attributes:
        rule: the rule that found it, by its linter's name for it.
        cwe: the weakness, by its number in MITRE's list.
        message: what is wrong, for people.
        line: where, counted from 1 in the piece.
        quote: the line as it stands there.
    """

    rule: str
    cwe: int
    message: str
    line: int
    quote: str = ""

    def __str__(self) -> str:
        return f"{self.rule} CWE-{self.cwe} {self.message} (line {self.line})"


def line_of(code: str, number: int) -> str:
    """A line of code by its number, without the blanks around it."""
    lines = code.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
