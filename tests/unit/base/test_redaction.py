"""Redaction of keys in messages."""

from __future__ import annotations

import pytest

from conscience._base.redaction import redact


def test_redaction_knows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key from a variable is taken out wherever it stands."""
    monkeypatch.setenv("SOMEBODY_API_KEY", "hunter22")
    assert redact("key hunter22!", []) == "key [redacted]!"
