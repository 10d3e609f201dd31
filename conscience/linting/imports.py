"""Imports that code lacks: the statements that bring a name back so that all that is read from it exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from types import ModuleType
from typing import Any, NamedTuple

MODULES = frozenset(
    re.findall(
        r"\w+",
        "ast asyncio base64 binascii collections contextlib csv datetime functools glob hashlib hmac html io itertools json"
        " logging math os pathlib random re secrets shlex shutil sqlite3 ssl struct subprocess sys tempfile time urllib uuid"
        " zipfile",
    )
)
"""Modules of the standard library whose name means nothing else in ``name.attribute`` where nothing defines it. They alone
are imported here, to see what they have: to import somebody else's module runs it."""

ADVISED = "defusedxml"
"""The package that advice names with its modules: ``defusedxml.ElementTree.parse``."""


class _Import(NamedTuple):
    """A statement that binds one name.

    Attributes:
        name: what it binds.
        module: what it imports, or imports from; with a dot in front where that is relative.
        member: what it takes out of the module, if anything.
        statement: as it is written.
    """

    name: str
    module: str
    member: str | None
    statement: str

    @property
    def binds_package(self) -> bool:
        """``import a.b`` binds ``a``, and beside it others may."""
        return self.member is None and self.name == self.module.partition(".")[0] and " as " not in self.statement


def statements_for(name: str, before: Sequence[ast.AST], after: Sequence[ast.AST]) -> list[str]:
    """The imports of a name that code needs.

    Those that the code had before are taken where they fit: all that is read from the name is there. Else a module of the
    standard library, or a class in it that is called like it, where nothing is done with the name but to read from it, or
    modules of the package that advice names. What is not in ``MODULES`` is not looked into, and an import of it is trusted.

    Returns:
        Statements, none where no import fits.
    """
    uses, reads = _uses(name, after)
    had = [one for tree in before for one in _imports(tree) if one.name == name]
    options = [[one] for one in reversed(had) if not one.binds_package]
    if packages := [one for one in had if one.binds_package]:
        options.insert(0 if had[-1].binds_package else 1, _needed(packages, reads))
    if name in MODULES and uses == len(reads):
        options += [_modules(name, reads), [_Import(name, name, name, f"from {name} import {name}")]]
    if name == ADVISED and uses == len(reads) and all(len(read) > 1 for read in reads):
        modules = sorted({f"{name}.{module}" for module, *_ in reads})
        options.append([_Import(name, module, None, f"import {module}") for module in modules])
    fitting = (option for option in options if all(_has(option, read) for read in reads))
    return list(dict.fromkeys(one.statement for one in next(fitting, [])))


def _imports(tree: ast.AST) -> Iterator[_Import]:
    """Each name that an import binds, and a statement that imports it alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names:
                yield _Import(a.asname or a.name.partition(".")[0], a.name, None, ast.unparse(ast.Import([a])))
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for a in node.names:
                module = "." * node.level + (node.module or "")
                yield _Import(a.asname or a.name, module, a.name, ast.unparse(ast.ImportFrom(node.module, [a], node.level)))


def _uses(name: str, trees: Iterable[ast.AST]) -> tuple[int, list[tuple[str, ...]]]:
    """How often a name is used, and what is read from it: ("path", "join") of ``os.path.join``."""
    nodes = list(chain.from_iterable(map(ast.walk, trees)))
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    reads = []
    for node in nodes:
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        attributes, base = [node.attr], node.value
        while isinstance(base, ast.Attribute):
            attributes.append(base.attr)
            base = base.value
        if isinstance(base, ast.Name) and base.id == name:
            reads.append(tuple(reversed(attributes)))
    return sum(isinstance(node, ast.Name) and node.id == name for node in nodes), reads


def _needed(packages: Sequence[_Import], reads: Iterable[tuple[str, ...]]) -> list[_Import]:
    """Of several parts of a package those from which something is read; the last where that is none of them."""
    paths = {".".join([packages[0].name, *read]) + "." for read in reads}
    needed = [one for one in packages if "." in one.module and any(p.startswith(one.module + ".") for p in paths)]
    return needed or [packages[-1]]


def _modules(name: str, reads: Iterable[tuple[str, ...]]) -> list[_Import]:
    """The imports of a package's parts from which something is read; that of the package where it is read itself."""
    modules = set()
    for read in reads:
        module = name
        for attribute in read:
            if not _is_part(module, attribute):
                break
            module = f"{module}.{attribute}"
        modules.add(module)
    if len(modules) > 1:
        modules.discard(name)
    return [_Import(name, module, None, f"import {module}") for module in sorted(modules)]


def _has(option: Sequence[_Import], read: tuple[str, ...]) -> bool:
    """Whether imports that bind one name together have what is read from it."""
    first = option[0]
    if first.module.partition(".")[0] not in MODULES:
        return True
    if first.binds_package:
        module, thing = first.name, _module(first.name)
    else:
        module, thing = first.module, _module(first.module)
        read = read if first.member is None else (first.member, *read)
    for place, attribute in enumerate(read):
        part = f"{module}.{attribute}"
        if isinstance(thing, ModuleType) and _is_part(module, attribute):
            taken = place == 0 and first.member is not None
            if not taken and not any(f"{one.module}.".startswith(f"{part}.") for one in option):
                return False
            module, thing = part, _module(part)
        elif isinstance(thing, ModuleType) or callable(thing):  # what another object has may depend on where it runs
            if not hasattr(thing, attribute):
                return False
            thing = getattr(thing, attribute)
            module = part
    return True


@cache
def _module(name: str) -> Any:
    """A part of the standard library; None where this Python was built without it."""
    try:
        return import_module(name)
    except ImportError:
        return None


@cache
def _is_part(package: str, attribute: str) -> bool:
    """Whether an attribute is a module of a package, which somebody has to import before it can be read."""
    if not hasattr(_module(package), "__path__"):
        return False
    try:
        return find_spec(f"{package}.{attribute}") is not None
    except (ImportError, ValueError):
        return False
