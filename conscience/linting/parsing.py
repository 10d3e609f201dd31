"""Python that may be none, parsed without a word."""

from __future__ import annotations

import ast
import warnings


def parsed(code: str) -> ast.Module | None:
    """The tree of a piece of Python; None where it cannot be read. What Python warns of, such as an escape that is none, is
    somebody else's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
