"""What rules read of code. A warning of ``eval`` is no ``eval``: comments, docstrings and the text of pages are blanked, and
it is marked where strings are, so that a rule can tell what is done from what is only said."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

_TEXTUAL = (
    "a|b|button|caption|code|dd|del|dt|em|h[1-6]|i|kbd|label|li|p|pre|q|s|samp|small|span|strong|sub|sup|td|th|title|tt|u|ul"
)
"""Elements of a page that hold text for people."""

_TOKENS = {
    "python": re.compile(
        r"""
        (?P<blank> \#[^\n]* | ^[ \t]*[rRuU]?(?:"{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3})[ \t]*$ )
        | (?<!\w)(?:[fF][rR]?|[rR][fF])  # what stands in the braces of such a string is code
          (?:"{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
        | (?P<said>"{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
        | \\.
        """,
        re.DOTALL | re.MULTILINE | re.VERBOSE,
    ),
    "javascript": re.compile(
        rf"""
        (?P<blank> //[^\n]* | /\*.*?(?:\*/|\Z) | <!--.*?(?:-->|\Z) )
        | </?(?:{_TEXTUAL})(?:[ \t\n][^<>{{}}]{{0,300}})?>(?P<text>[^<>{{}}`]*)(?=</?[a-zA-Z])
        | \bon[a-z]+[ ]?=[ ]?(?:"[^"\n]*"|'[^'\n]*')  # an attribute that is code
        | (?P<said>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
        | (?P<template>`(?:\\.|[^`\\])*`)
        | \\.
        """,
        re.DOTALL | re.VERBOSE,
    ),
    "shell": re.compile(
        r"""
        (?P<blank> (?:(?<=\s)|(?<![\s\S]))\#(?!!)[^\n]* | \\\n )
        | ^[ \t]*cat[ \t]+(?:>>?[ \t]*\S{0,200}\.(?:md|rst|txt)[ \t]+)?<<-?[ \t]*["']?(?P<end>\w+)["']?[ \t]*
          (?:>>?[ \t]*\S{0,200}\.(?:md|rst|txt)[ \t]*|[12]?>&2[ \t]*)?\n  # prints or writes text for people
          (?P<text>[\s\S]*?)(?:^[ \t]*(?P=end)[ \t]*$|\Z)
        | (?:^|[;&|({]|\bthen\b|\bdo\b|\belse\b)[ \t]*(?:echo|printf|die|error|fail|fatal|info|log|warn)\b
          (?P<echoed>(?:[^"'\\\n;|&<>()`\#]|"(?:\\.|[^"\\$`]|\$(?!\())*"|'[^']*'|\\.){0,400}+)
          (?=$|[;)}]|&&|\|\||>[ \t]*&2)  # to nobody but the terminal
        | "(?:\\.|[^"\\])*" | '[^']*' | \\.
        """,
        re.MULTILINE | re.VERBOSE,
    ),
}
"""What is no code by itself. A backslash hides what follows it."""

_VALUE = re.compile(r"\$\{[^{}`]*\}")


class Reading(NamedTuple):
    """Code as rules read it.

    Attributes:
        text: the code, as long as it was written, with blanks for what is no code.
        starts: where what is only said begins, in order: a string, behind its first quote.
        ends: where each of them ends.
    """

    text: str
    starts: list[int]
    ends: list[int]

    def is_said(self, place: int) -> bool:
        """Whether a place lies inside of something that is only said."""
        nearest = bisect_right(self.starts, place) - 1
        return nearest >= 0 and place < self.ends[nearest]


def read(language: str, code: str) -> Reading:
    """Code in a language that there are rules for."""
    pieces, starts, ends, done = [], [], [], 0
    for found in _TOKENS[language].finditer(code):
        groups = found.groupdict()
        for kind in ("blank", "text"):
            if groups.get(kind):
                start, end = found.span(kind)
                pieces += [code[done:start], _blank(code[start:end])]
                done = end
        if groups.get("said"):
            spans = [(found.start("said") + 1, found.end("said"))]
        elif groups.get("template"):
            spans = _around_values(code, found.start() + 1, found.end())
        else:
            spans = [found.span("echoed")] if groups.get("echoed") else []
        starts += [start for start, _ in spans]
        ends += [end for _, end in spans]
    return Reading("".join([*pieces, code[done:]]), starts, ends)


def _blank(text: str) -> str:
    """As long as a text. In shell a line that goes on is one line: no rule looks past a newline there."""
    return " " * len(text) if text == "\\\n" else re.sub(r"[^\n]", " ", text)


def _around_values(code: str, start: int, end: int) -> list[tuple[int, int]]:
    """The pieces of a template that are text: what stands between its values."""
    spans = []
    for value in _VALUE.finditer(code, start, end):
        spans.append((start, value.start()))
        start = value.end()
    return [*spans, (start, end)]
