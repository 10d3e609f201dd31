"""Whether code that was changed still holds together: what an interpreter would refuse at once. Imports that it lacks, and
that can be known, are put in."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from conscience.linting.blocks import blocks_in
from conscience.linting.imports import statements_for
from conscience.linting.parsing import parsed

OF_MODULES = frozenset(
    f"__{name}__" for name in ("annotations", "builtins", "doc", "file", "loader", "name", "package", "path", "spec")
)
"""Names that every module has."""

TRIED = 100
"""Lines that are tried at most, before nothing is put in."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""A line as Python counts them; str.splitlines knows further ends."""

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTION, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
"""What has names of its own."""


def broken_by_change(before: str, after: str) -> str:
    """What of the Python in a text no longer holds together, though it did before the text was changed: a piece that is no
    Python any more, a name that nothing defines, such as that of an import which was lost, or one that a function reads
    before it has a value, as ``html = html.escape(text)`` does.

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
    if lost := set() if _undefined(old) else _undefined(new):
        return f"nothing defines {', '.join(sorted(lost))}"
    unset = _unset(new) - _unset(old)
    return f"{', '.join(sorted(unset))} is read before it has a value" if unset else ""


def with_imports(before: str, after: str) -> str:
    """A changed text with the imports that its Python lacks since the change: those that it had before, and those of a
    standard module of which it uses attributes. Small models leave them out. They stand in lines of their own, and all else
    is as it was; so is the whole text where it lacks none, or where there is no such place for them."""
    old, new = _python(before), _python(after)
    if not old or not new or None in (*old, *new) or _undefined(old):
        return after
    trees_before, trees_after = ([piece.tree for piece in pieces if piece] for pieces in (old, new))
    lacking = sorted(_undefined(new))
    lines = dict.fromkeys(line for name in lacking for line in statements_for(name, trees_before, trees_after))
    return _inserted(after, list(lines)) if lines else after


def _inserted(text: str, imports: Sequence[str]) -> str:
    """A text with imports in its first piece of Python.

    Where a piece of code stands in a text is not known: it was read without its indentation and prompts. So each line that
    may be the right one is tried, and the text is read again.
    """
    blocks = blocks_in(text)
    place = next(number for number, block in enumerate(blocks) if block.language == "python")
    code = blocks[place].text
    lines = _LINE.findall(code)
    head = _head(ast.parse(code), lines)
    if head is None:
        return text
    before, following = "".join(lines[:head]), lines[head].rstrip("\r\n")
    for found in islice(_lines_like(text, following), TRIED):
        added = "".join(f"{found[1]}{statement}{found[2] or _newline(text)}" for statement in imports)
        tried = text[: found.start()] + added + text[found.start() :]
        read = blocks_in(tried)
        if len(read) != len(blocks) or read[:place] + read[place + 1 :] != blocks[:place] + blocks[place + 1 :]:
            continue
        now = read[place].text
        inserted = now[len(before) : len(now) - (len(code) - len(before))]
        whole = before + inserted + code[len(before) :]
        if now == whole and inserted.splitlines() == list(imports) and _read(now):
            return tried
    return text


def _lines_like(text: str, line: str) -> Iterator[re.Match[str]]:
    """The lines of a text that hold a line of code, with what stands in front of it, and how they end."""
    return re.finditer(rf"(?m)^([ \t]*(?:(?:>>>|\.\.\.) ?)?){re.escape(line)}(\r\n?|\n|\Z|(?=```|~~~))", text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _head(tree: ast.Module, lines: Sequence[str]) -> int | None:
    """How many lines stand before the first import at the earliest: a shebang, the docstring, what is of the future, and
    blank lines behind these. None where other code stands in one line with them."""
    head = int(bool(lines) and lines[0].startswith("#!"))
    for place, node in enumerate(tree.body):
        if node.lineno <= head:
            return None
        says = place == 0 and ast.get_docstring(tree, clean=False) is not None
        if not says and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        head = node.end_lineno or head
    while head < len(lines) and not lines[head].strip():
        head += 1
    return head if head < len(lines) else None


class _Piece(NamedTuple):
    tree: ast.Module
    names: symtable.SymbolTable


def _python(text: str) -> list[_Piece | None]:
    """The pieces of Python in a text; None for one that cannot be read."""
    return [_read(block.text) for block in blocks_in(text) if block.language == "python"]


def _read(code: str) -> _Piece | None:
    if (tree := parsed(code)) is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(tree, "answer", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            return _Piece(tree, symtable.symtable(code, "answer", "exec"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # such as a return outside of a function
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


def _unset(pieces: Sequence[_Piece | None]) -> set[str]:
    """Names that a function reads in the very statement which gives them their first value."""
    trees = [piece.tree for piece in pieces if piece]
    return {name for tree in trees for node in ast.walk(tree) if isinstance(node, _FUNCTION) for name in _unset_in(node)}


def _unset_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """For certain: what a comprehension or lambda reads does not count, nor does a name that comes otherwise than by an
    assignment."""
    own = [node for statement in function.body for node in _own(statement)]
    stored = [node for node in own if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    first = {node.id: node for node in sorted(stored, key=lambda n: (n.lineno, n.col_offset), reverse=True)}
    unset: set[str] = set()
    for statement in own:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            given = {node.id for node in _own(statement) if isinstance(node, ast.Name) and first.get(node.id) is node}
            unset |= given & {node.id for node in _own(statement.value) if isinstance(node, ast.Name)}
    return unset - {name for node in ast.walk(function) for name in _comes_otherwise(node)}


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """A node and those inside, but for what has names of its own; in any order, and however deep."""
    left = [node]
    while left:
        if not isinstance(node := left.pop(), _SCOPES):
            yield node
            left += ast.iter_child_nodes(node)


def _comes_otherwise(node: ast.AST) -> list[str]:
    """The names that a node gives a value to, by something else than an assignment."""
    match node:
        case ast.arg(arg=name) | ast.NamedExpr(target=ast.Name(id=name)) | ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return names
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [(alias.asname or alias.name).partition(".")[0] for alias in aliases]
    return []


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)
