"""Importing is quick, silent and without effect, and exports what it says."""

from __future__ import annotations

import ast
import dataclasses
import pickle
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import dspy
import pytest
from pydantic import TypeAdapter

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


def test_every_error_is_exported() -> None:
    """Whoever catches one need not know where it is defined."""
    import conscience.errors as errors

    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree <= set(conscience.__all__)


@pytest.mark.parametrize("name", [n for n in conscience.__all__ if n != "__version__"])
def test_exported_names_are_named_after_what_users_type(name: str) -> None:
    """In reprs, tracebacks and pickles; DSPy's modules keep the place of their source, which some of its optimizers read."""
    value = getattr(conscience, name)
    assert value.__name__ == name
    if isinstance(value, type) and issubclass(value, dspy.Module):
        dspy.Refine(value.__new__(value), N=1, reward_fn=lambda inputs, outcome: 1.0, threshold=1.0)
    else:
        assert value.__module__ == "conscience"
    assert pickle.loads(pickle.dumps(value)) is value


def test_names_do_not_depend_on_who_is_imported_first() -> None:
    """An outcome is conscience's, though only the program was imported."""
    check = "from conscience import Conscience; from conscience.outcome import Verdict; print(Verdict)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "<class 'conscience.Verdict'>"


DATA = [n for n in conscience.__all__ if dataclasses.is_dataclass(getattr(conscience, n))]


@pytest.mark.parametrize("name", DATA)
def test_annotations_of_data_can_still_be_read(name: str) -> None:
    """As types, though the class says that it lives elsewhere than its names do."""
    cls = getattr(conscience, name)
    hints = typing.get_type_hints(cls)
    assert {field.name for field in dataclasses.fields(cls)} <= set(hints)
    assert not [field.name for field in dataclasses.fields(cls) if isinstance(field.type, str)]


@pytest.mark.parametrize("name", ["Draft", "Finding", "Verdict", "Revision", "Usage", "CallUsage", "Budget"])
def test_pydantic_takes_the_data_of_an_outcome(name: str) -> None:
    """For an application that has outcomes in its own models."""
    TypeAdapter(getattr(conscience, name))


def test_a_verdict_goes_through_pydantic_and_pickle() -> None:
    """With everything in it."""
    finding: dict[str, Any] = {"principle": "honesty", "quote": "Bad", "why": "It is.", "change": "Leave it out."}
    verdict = TypeAdapter(conscience.Verdict).validate_python({"flagged": True, "findings": [finding]})
    assert verdict == conscience.Verdict(flagged=True, findings=(conscience.Finding(**finding),))
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_importing_takes_less_than_a_third_of_a_second() -> None:
    """In processor time, which a busy machine does not change."""
    check = "import time; t = time.process_time(); import conscience; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3


def test_review_stays_a_function() -> None:
    """Whatever is imported before."""
    import conscience.modules.review

    assert callable(conscience.review)
    assert not (ROOT / "conscience" / "review.py").exists()
