"""One line of the code in a text: the statement that it belongs to, and other code in its place."""

from __future__ import annotations

import ast
import re
from textwrap import dedent, indent

from conscience.linting.blocks import blocks_in
from conscience.linting.parsing import parsed

LONGER = 6
"""Lines by which what stands in place of others is longer at most: more is another answer, and no line of this one."""

_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`~]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\\n])*`")
_VARIABLE = re.compile(r"\$\{?(\w+|[@*])")
"""Of the shell, or in a template of JavaScript."""
_RETURNS = re.compile(r"\s*(?:return|yield|raise|throw)\b")
_NODES_CRYPTO = re.compile(r"(?<![\w.])crypto\.(?:randomInt|randomBytes|timingSafeEqual|scrypt\w*|pbkdf2\w*|create\w+)\(")
_CRYPTO = re.compile(r"\bcrypto\s*=|\bimport\s+(?:\*\s+as\s+)?crypto\b")
_SCRIPT = re.compile(
    r"^[ \t]*```(?:javascript|js|node|typescript|ts|mjs|cjs)\b[^\n]*\n(?=(.*?)^[ \t]*```)", re.DOTALL | re.MULTILINE
)
_IDLE = re.compile(r"\s*(?:(?:#|//|\*|/\*)[^\n]*|pass\b[^\n]*|\.\.\.|)\s*")
"""A line that does nothing."""


def statement_at(text: str, line: str) -> str:
    """The lines of a text that are the statement to which a line of its code belongs; in other code than Python, and where
    it begins a block, the line. Empty where the text has no such line.

    Args:
        text: with code in it.
        line: of that code, without the blanks around it.
    """
    sought = next(filter(None, (_statement(b.text, line) for b in blocks_in(text) if b.language == "python")), [line])
    lines = text.split("\n")
    places = range(len(lines) - len(sought) + 1) if line else ()
    found = (lines[place : place + len(sought)] for place in places)
    return next(("\n".join(each) for each in found if [one.strip() for one in each] == sought), "")


def rewritten(text: str, old: str, reply: str) -> str | None:
    """A text in which a reply's code stands wherever a statement stood, with its indentation.

    Args:
        text: the text.
        old: some of its lines.
        reply: what a model answered: a block of code, or a line.

    Returns:
        None where the reply has no code that can stand there: it is none, or the same, does nothing, is much longer, opens
        other brackets than it closes, has lost a variable that stands behind a $, or no longer returns.
    """
    new = _code_in(reply)
    if new.count("\n") > old.count("\n") + LONGER or all(map(_IDLE.fullmatch, new.splitlines())):
        return None
    if (end := old.rstrip()[-1:]) in (",", ";") and not new.endswith(end):
        new += end
    if new.strip() == dedent(old).strip():
        return None
    kept = {*_VARIABLE.findall(new), *re.findall(r"[^\W\d]\w*", new)}
    if _open_brackets(new) != _open_brackets(old) or not kept.issuperset(_VARIABLE.findall(old)):
        return None
    if _RETURNS.match(old) and not any(map(_RETURNS.match, new.splitlines())):
        return None
    placed = indent(new, old[: len(old) - len(old.lstrip())])
    return _with_crypto(re.sub(rf"^{re.escape(old)}$", lambda found: placed, text, flags=re.MULTILINE))


def _statement(code: str, line: str) -> list[str]:
    """The lines of the innermost statement that a line of Python is a part of, each without the blanks around it; of one
    that holds others, those before them. Empty where the line is not there, or the code cannot be read."""
    lines = [each.strip() for each in code.split("\n")]
    if line not in lines or (tree := parsed(code)) is None:
        return []
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            if line in (span := lines[node.lineno - 1 : end]):
                spans.append(span)
    return min(spans, key=len, default=[])


def _with_crypto(text: str) -> str:
    """A text whose JavaScript has Node's module crypto where it calls it: what is there without it is the browser's, which
    has none of these functions."""
    for block in _SCRIPT.finditer(text):
        if _NODES_CRYPTO.search(block[1]) and not _CRYPTO.search(block[1]):
            modern = re.search(r"^import\s", block[1], re.MULTILINE)
            line = "import crypto from 'crypto';\n" if modern else "const crypto = require('crypto');\n"
            return text[: block.end()] + line + text[block.end() :]
    return text


def _code_in(reply: str) -> str:
    """The first block of a reply, or the reply where it is one line; without the indentation."""
    if block := _FENCED.search(reply):
        return dedent(block[2]).strip("\n").rstrip()
    said = reply.strip()
    return "" if "\n" in said or "```" in said else said.strip("`")


def _open_brackets(code: str) -> int:
    bare = _QUOTED.sub("", code)
    return sum(bare.count(mark) for mark in "([{") - sum(bare.count(mark) for mark in ")]}")
