"""Importing is quick, silent and without effect, and exports what it says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import conscience
from tests.conftest import ROOT

HEAVY = ("dspy", "litellm", "openai", "pydantic", "numpy", "diskcache", "rich", "yaml", "httpx")


@pytest.mark.parametrize("command", ["import conscience", "import conscience.cli", "from conscience import errors"])
def test_importing_loads_nothing_heavy_and_says_nothing(command: str, tmp_path: Path) -> None:
    """Neither DSPy nor LiteLLM until something needs them; no file is made."""
    check = f"{command}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    env = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=env, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert list(tmp_path.iterdir()) == []


def test_exported_names_are_all_there() -> None:
    """Each can be had, and nothing else is promised."""
    for name in conscience.__all__:
        assert getattr(conscience, name) is not None
    assert set(conscience.__all__) <= set(dir(conscience))
    with pytest.raises(AttributeError):
        _ = conscience.nonsense  # type: ignore[attr-defined]


def test_names_for_type_checkers_match_the_lazy_ones() -> None:
    """The two lists in __init__ say the same."""
    tree = ast.parse((ROOT / "conscience" / "__init__.py").read_text())
    typed = {a.asname: n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names if a.asname}
    assert typed == {name: f"conscience.{home}" for name, home in conscience._HOME.items()}


def test_review_stays_a_function() -> None:
    """Whatever is imported before."""
    import conscience.modules.review

    assert callable(conscience.review)
    assert not (ROOT / "conscience" / "review.py").exists()
