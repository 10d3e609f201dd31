"""Whether code that was changed still holds together: what an interpreter would refuse at once."""

from __future__ import annotations

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conscience.linting.blocks import blocks_in

OF_MODULES = frozenset(
    f"__{name}__" for name in ("annotations", "builtins", "doc", "file", "loader", "name", "package", "path", "spec")
)
"""Names that every module has."""


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
