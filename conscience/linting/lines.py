"""One line of the code in a text: the statement that it belongs to, and other code in its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from itertools import takewhile
from textwrap import dedent, indent

from conscience.linting.blocks import blocks_in
from conscience.linting.parsing import parsed

LONGER = 6
"""Lines by which what stands in place of others is longer at most: more is another answer, and no line of this one."""

_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`~]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\\n])*`")
_VARIABLE = re.compile(r"\$\{?(\w+|[@*])")
"""Of the shell, or in a template of JavaScript."""
_NAMED = re.compile(
    r"(?<![\w=$./{}:@-])(?<!Bearer )(?:https?://)?(?!/(?:(?:var/)?tmp|dev|var/run)/)([\w-]*(?:\w\.|/)\w[\w./-]*)"
)
"""A file or an address in a line of the shell, but for devices, sockets and what is in a folder that everybody may write."""
_RETURNS = re.compile(r"\s*(?:return|yield|raise|throw)\b")
_NODES_CRYPTO = re.compile(r"(?<![\w.])crypto\.(?:randomInt|randomBytes|timingSafeEqual|scrypt\w*|pbkdf2\w*|create\w+)\(")
_CRYPTO = re.compile(r"\bcrypto\s*=|\bimport\s+(?:\*\s+as\s+)?crypto\b")
_SCRIPT = re.compile(
    r"^[ \t]*```(?:javascript|js|node|typescript|ts|mjs|cjs)\b[^\n]*\n(?=(.*?)^[ \t]*```)", re.DOTALL | re.MULTILINE
)
_IDLE = re.compile(r"\s*(?:(?:#|//|\*|/\*)[^\n]*|pass\b[^\n]*|\.\.\.|)\s*")
"""A line that does nothing."""
_ASIDE = re.compile(r"\s*(?:(?:#|//)[^\n]*|import\s[^\n]*|from\s+\S+\s+import\s[^\n]*|)$")
"""A comment, an import or nothing: what may stand before the statement that a reply is about."""
_TELLING = re.compile(r"\w\W+\w")
"""Two words: a line that says what it is about, other than ``}`` or ``done``."""
_DEFINES = re.compile(r"^\s*(?:export\s+)?(?:async\s+)?(?:def|class|function)\s", re.MULTILINE)
_OPENING = re.compile(r"(?<![\w$-])(?:if|do|case)(?![\w-])")
_CLOSING = re.compile(r"(?<![\w$-])(?:fi|done|esac)(?![\w-])")
"""Of the shell."""


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


def replacement(text: str, old: str, reply: str) -> str | None:
    """A reply's code that can stand in place of a statement, without the lines around it that the reply repeats.

    Args:
        text: with code in it.
        old: some of its lines.
        reply: what a model answered: a block of code, or a line.

    Returns:
        None where the reply has no code that can stand there: it is none, or the same, does nothing, is much longer,
        repeats other lines of the text or defines what holds them, opens other brackets than it closes, has lost a variable
        that stands behind a $ or, in the shell, a file or an address, or no longer returns.
    """
    new = _alone(_code_in(reply), text, old)
    if new.count("\n") > old.count("\n") + LONGER or all(map(_IDLE.fullmatch, new.splitlines())):
        return None
    if (end := old.rstrip()[-1:]) in (",", ";") and not new.endswith(end):
        new += end
    if new.strip() == dedent(old).strip() or (_DEFINES.search(new) and not _DEFINES.search(old)):
        return None
    in_shell = any(block.language == "shell" and old.split("\n")[0].strip() in block.text for block in blocks_in(text))
    names = () if in_shell else re.findall(r"[^\W\d]\w*", new)  # in JavaScript a ${name} may become an argument
    if _left_open(new, in_shell) != _left_open(old, in_shell):
        return None
    if not {*_VARIABLE.findall(new), *names}.issuperset(_VARIABLE.findall(old)):
        return None
    if in_shell and not all(name in new for name in _NAMED.findall(old)):
        return None
    return None if _RETURNS.match(old) and not any(map(_RETURNS.match, new.splitlines())) else new


def replaced(text: str, old: str, new: str) -> str:
    """A text in which other code stands wherever a statement stood, with its indentation."""
    placed = indent(new, old[: len(old) - len(old.lstrip())])
    return _with_crypto(re.sub(rf"^{re.escape(old)}$", lambda found: placed, text, flags=re.MULTILINE))


def _alone(code: str, text: str, old: str) -> str:
    """A reply's code without the lines that stand around a statement in a text, which small models write with it; nothing
    where it repeats others, as then it is no answer about this statement."""
    above, _, below = (part.split("\n") for part in f"\n{text}\n".partition(f"\n{old}\n"))
    has = {line.strip() for line in (*above, *below)}
    lines = [line for line in code.split("\n") if not (_ASIDE.match(line) and line.strip() in has)]
    imports = list(takewhile(_ASIDE.match, lines))
    lines = lines[len(imports) :]
    head = _repeated(lines, _working(above))
    lines = lines[head:]
    lines = lines[: len(lines) - _repeated(lines[::-1], _working(below)[::-1], telling=not head)]
    if len(lines) > 1 and any(_TELLING.search(line) and line.strip() in has for line in lines):
        return ""
    return "\n".join([*filter(str.strip, imports), dedent("\n".join(lines)).strip("\n")]).strip("\n")


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


def _working(lines: Sequence[str]) -> list[str]:
    """Lines without their blanks, but for those that do nothing."""
    return [line.strip() for line in lines if not _IDLE.fullmatch(line)]


def _repeated(lines: Sequence[str], around: Sequence[str], telling: bool = True) -> int:
    """How many of the first lines are the last of those around, in the same order; never all.

    Args:
        lines: of a reply.
        around: lines that work.
        telling: one of them must say what it is about.
    """
    for count in range(len(lines) - 1, 0, -1):
        said = _working(lines[:count])
        if said and said == around[-len(said) :] and (not telling or any(map(_TELLING.search, said))):
            return count
    return 0


def _left_open(code: str, in_shell: bool) -> int:
    """How many brackets, and blocks of the shell, code opens and does not close."""
    bare = _QUOTED.sub("", code)
    blocks = len(_OPENING.findall(bare)) - len(_CLOSING.findall(bare)) if in_shell else 0
    return blocks + sum(bare.count(mark) for mark in "([{") - sum(bare.count(mark) for mark in ")]}")
