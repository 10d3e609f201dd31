"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def exported(package: str, home: Mapping[str, str], name: str) -> Any:
    """A package's ``__getattr__``.

    Args:
        package: its name.
        home: public name → the module below the package that defines it.
        name: what is asked for.

    Raises:
        AttributeError: it is none of the public names.
    """
    if name not in home:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    found = getattr(import_module(f"{package}.{home[name]}"), name)
    found.__module__ = package  # reprs and tracebacks name what users import
    return found
