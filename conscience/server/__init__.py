"""Programs behind a base URL: an ASGI app that speaks OpenAI's API. Needs the extra ``server``.

from conscience.server import create_app

app = create_app({"careful": program})      # any ASGI server runs it; conscience serve does so with limits on the wire
"""

from __future__ import annotations

from conscience.server.app import create_app
from conscience.server.limits import Limits
from conscience.server.policies import Policy

__all__ = ["Limits", "Policy", "create_app"]
