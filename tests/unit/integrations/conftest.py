"""The Agents SDK takes seconds to import: where the long tests are left out, the file that needs it is not even read."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """In every worker; ``make long`` reads it."""
    left_out = config.getoption("markexpr") == "not long"
    return True if left_out and collection_path.name == "test_openai_agents.py" else None
