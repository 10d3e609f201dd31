"""Objects by the name that another process imports them by: ``package.module:name``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from conscience.errors import ConfigurationError


def name_of(value: Any) -> str | None:
    """What to import for this very object; None where no module has it under a name, or only the one that was started."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and module != "__main__" and _at(module, name) is value:
        return f"{module}:{name}"
    for module, loaded in list(sys.modules.items()):
        if module == "__main__" or loaded is None:
            continue
        for name, other in list(getattr(loaded, "__dict__", {}).items()):
            if other is value:
                return f"{module}:{name}"
    return None


def named(name: str) -> Any:
    """The object of that name.

    Raises:
        ConfigurationError: it cannot be imported in this process.
    """
    module, _, attribute = name.partition(":")
    try:
        value: Any = import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        hint = "the code has to be where workers find it"
        raise ConfigurationError(f"{name} cannot be imported by a worker: {error}", hint=hint) from None
    return value


def _at(module: str, name: str) -> Any:
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return value
