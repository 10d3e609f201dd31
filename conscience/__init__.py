"""An LLM that notices when its own answer goes against what its makers hold right, and mends it before anyone sees it.

    from conscience import Conscience

    program = Conscience("question -> answer", lm="openai/gpt-4o-mini")
    outcome = program(question="How do I kill a Python process?")
    outcome.answer, outcome.status, outcome.verdict, outcome.usage

Importing this package loads neither DSPy nor LiteLLM: its names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Backend": "backends",
    "BackendError": "errors",
    "Budget": "usage",
    "BudgetExceeded": "errors",
    "ConfigurationError": "errors",
    "Conscience": "program",
    "ConscienceError": "errors",
    "Constitution": "constitution",
    "Draft": "verdict",
    "Finding": "verdict",
    "Generate": "generate",
    "InputError": "errors",
    "Outcome": "verdict",
    "Principle": "constitution",
    "Review": "reviewing",
    "ReviewError": "errors",
    "Revise": "revise",
    "Revision": "verdict",
    "Settings": "calibration",
    "UnresolvedError": "errors",
    "Usage": "usage",
    "Verdict": "verdict",
    "areview": "reviewing",
    "review": "reviewing",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names above are checked against it in the tests

if TYPE_CHECKING:
    from conscience.backends import Backend as Backend
    from conscience.calibration import Settings as Settings
    from conscience.constitution import Constitution as Constitution
    from conscience.constitution import Principle as Principle
    from conscience.errors import BackendError as BackendError
    from conscience.errors import BudgetExceeded as BudgetExceeded
    from conscience.errors import ConfigurationError as ConfigurationError
    from conscience.errors import ConscienceError as ConscienceError
    from conscience.errors import InputError as InputError
    from conscience.errors import ReviewError as ReviewError
    from conscience.errors import UnresolvedError as UnresolvedError
    from conscience.generate import Generate as Generate
    from conscience.program import Conscience as Conscience
    from conscience.reviewing import Review as Review
    from conscience.reviewing import areview as areview
    from conscience.reviewing import review as review
    from conscience.revise import Revise as Revise
    from conscience.usage import Budget as Budget
    from conscience.usage import Usage as Usage
    from conscience.verdict import Draft as Draft
    from conscience.verdict import Finding as Finding
    from conscience.verdict import Outcome as Outcome
    from conscience.verdict import Revision as Revision
    from conscience.verdict import Verdict as Verdict


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
