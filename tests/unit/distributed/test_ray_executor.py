"""What of the executor on Ray shows without Ray; the rest is in tests/contract/test_ray.py."""

from __future__ import annotations

import sys

import pytest

from conscience.distributed.ray_executor import RayExecutor, shared_ray
from conscience.errors import ConfigurationError
from conscience.evals.executor import executor_of


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    shared_ray.cache_clear()
    for make in (RayExecutor, lambda: executor_of("ray")):
        with pytest.raises(ConfigurationError, match=r"Ray is not installed \(run: pip install 'dspy-conscience\[ray\]'\)"):
            make()
