"""The server's own description, as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from conscience import __version__

Schema = dict[str, Any]


def document(*, open_to_all: bool) -> Schema:
    """The description of every route.

    Args:
        open_to_all: whether no key is needed.
    """
    return {"openapi": "3.1.0", "info": {"title": "conscience serve", "version": __version__}, "paths": {}}
