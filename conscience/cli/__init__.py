"""The command line. ``cli`` is the click group, for programs that run a command in their own process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["cli"]

if TYPE_CHECKING:
    from conscience.cli.main import cli as cli


def __getattr__(name: str) -> Any:
    if name != "cli":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from conscience.cli.main import cli as group

    return group
