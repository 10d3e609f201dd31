"""A page on which an operator watches a program work: draft, verdict, critique and revision as they come, and the threshold.

It shows drafts. So its routes answer keys of the server's operator alone, or, without keys, what comes from this machine.
"""

from __future__ import annotations

from conscience.server.playground.routes import playground_routes

__all__ = ["playground_routes"]
