"""Roles: which backend serves which."""

from __future__ import annotations

from conscience import Backend
from conscience.backends.roles import Roles
from conscience.testing import ScriptedLM


def test_roles_follow_each_other() -> None:
    """revise and review follow generate, judge follows review."""
    a, b = Backend(ScriptedLM([])), Backend(ScriptedLM([]))
    roles = Roles.of({"generate": a, "review": b})
    assert [roles.backend(r) for r in ("generate", "review", "revise", "judge", "propose")] == [a, b, a, b, a]  # type: ignore[arg-type]
