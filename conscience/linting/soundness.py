"""Whether code that was changed still holds together: what an interpreter would refuse at once. Imports that it lacks, and
that can be known, are put in."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conscience.linting.blocks import blocks_in

OF_MODULES = frozenset(
    f"__{name}__" for name in ("annotations", "builtins", "doc", "file", "loader", "name", "package", "path", "spec")
)
"""Names that every module has."""

MODULES = frozenset(
    re.findall(
        r"\w+",
        "ast asyncio base64 binascii collections contextlib csv datetime functools glob hashlib hmac html io itertools json"
        " logging math os pathlib random re secrets shlex shutil sqlite3 ssl struct subprocess sys tempfile time urllib uuid"
        " zipfile",
    )
)
"""Modules of the standard library whose name means nothing else in ``name.attribute`` where nothing defines it."""


def broken_by_change(before: str, after: str) -> str:
    """What of the Python in a text no longer holds together, though it did before the text was changed: a piece that is no
    Python any more, or a name that nothing defines, such as that of an import which was lost.

    Text without Python before, or with Python that was broken then, says nothing of what comes after; nor does a part of
    something larger, which uses names that it does not define.

    Returns:
        What is wrong, for people; empty where nothing is.
    """
    old, new = _python(before), _python(after)
    if not old or None in old:
        return ""
    if None in new:
        return "its Python has a syntax error"
    lost = set() if _undefined(old) else _undefined(new)
    return f"nothing defines {', '.join(sorted(lost))}" if lost else ""


def with_imports(before: str, after: str) -> str:
    """A changed text with the imports that its Python lacks since the change: those that it had before, and those of a
    standard module of which it uses attributes. Small models leave them out. It is as it was where it lacks none."""
    old, new = _python(before), _python(after)
    if not old or not new or None in (*old, *new) or _undefined(old):
        return after
    lacking = _undefined(new)
    had = {name: line for piece in old if piece for name, line in _imports(piece.tree)}
    standard = {name: f"import {name}" for name in MODULES & lacking if _is_module(name, new)}
    imports = dict.fromkeys((standard | had)[name] for name in sorted(lacking & (standard | had).keys()))
    if not imports:
        return after
    code, first = next(block.text for block in blocks_in(after) if block.language == "python"), new[0]
    blank = re.sub(r"(?m)^[ \t]+$", "", after)  # as the code is read
    if first is None or code not in blank:
        return after
    lines = code.splitlines(keepends=True)
    head = _head(first.tree, lines)
    return blank.replace(code, "".join([*lines[:head], *(f"{line}\n" for line in imports), *lines[head:]]), 1)


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, and a statement that imports it alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname or a.name.partition(".")[0], ast.unparse(ast.Import([a]))) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            one = ((a, ast.ImportFrom(node.module, [a], node.level)) for a in node.names)
            yield from ((a.asname or a.name, ast.unparse(statement)) for a, statement in one)


def _is_module(name: str, pieces: Sequence[_Piece | None]) -> bool:
    """Whether nothing is done with a name but to take attributes of it."""
    nodes = [node for piece in pieces if piece for node in ast.walk(piece.tree)]
    uses = sum(isinstance(node, ast.Name) and node.id == name for node in nodes)
    return uses == sum(isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name for n in nodes)


def _head(tree: ast.Module, lines: Sequence[str]) -> int:
    """How many lines stand before the first import at the earliest: a shebang, the docstring, what is of the future."""
    head = int(bool(lines) and lines[0].startswith("#!"))
    for place, node in enumerate(tree.body):
        says = place == 0 and ast.get_docstring(tree, clean=False) is not None
        if not says and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        head = node.end_lineno or head
    return head


class _Piece(NamedTuple):
    tree: ast.Module
    names: symtable.SymbolTable


def _python(text: str) -> list[_Piece | None]:
    """The pieces of Python in a text; None for one that cannot be read."""
    return [_read(block.text) for block in blocks_in(text) if block.language == "python"]


def _read(code: str) -> _Piece | None:
    with warnings.catch_warnings():  # such as of an escape that is none
        warnings.simplefilter("ignore")
        try:
            return _Piece(ast.parse(code), symtable.symtable(code, "answer", "exec"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _undefined(pieces: Sequence[_Piece | None]) -> set[str]:
    """Names that are used and that no piece defines; none where a star may import any."""
    defined, used = {*dir(builtins), *OF_MODULES}, set()
    for tree, names in filter(None, pieces):
        if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
            return set()
        for table in _tables(names):
            for symbol in table.get_symbols():
                if table.get_type() != "module" and not symbol.is_global():
                    continue
                if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                    defined.add(symbol.get_name())
                if symbol.is_referenced():
                    used.add(symbol.get_name())
    return used - defined


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)
