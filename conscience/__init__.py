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
    "ArtifactError": "errors",
    "Backend": "backends.backend",
    "BackendError": "errors",
    "Budget": "usage",
    "BudgetExceeded": "errors",
    "CallUsage": "usage",
    "CascadeStage": "gate.settings",
    "Case": "cases.case",
    "CaseError": "errors",
    "ConfigurationError": "errors",
    "Conscience": "program",
    "ConscienceError": "errors",
    "Constitution": "constitution.schema",
    "ConstitutionError": "errors",
    "ContextTooLong": "errors",
    "Draft": "outcome",
    "EmbeddingProbe": "gate.probes",
    "EvalConfig": "evals.runner",
    "Finding": "outcome",
    "GateSettings": "gate.settings",
    "Generate": "modules.generate",
    "Grade": "evals.oracles",
    "InputError": "errors",
    "LexicalProbe": "gate.probes",
    "Outcome": "outcome",
    "Principle": "constitution.schema",
    "Question": "gate.questions",
    "Review": "modules.review",
    "ReviewError": "errors",
    "Revise": "modules.revise",
    "Revision": "outcome",
    "StageStarted": "_base.flow",
    "UnresolvedError": "errors",
    "Usage": "usage",
    "Verdict": "outcome",
    "areview": "modules.review",
    "load_cases": "cases.case",
    "review": "modules.review",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names above are checked against it in the tests

if TYPE_CHECKING:
    from conscience._base.flow import StageStarted as StageStarted
    from conscience.backends.backend import Backend as Backend
    from conscience.cases.case import Case as Case
    from conscience.cases.case import load_cases as load_cases
    from conscience.constitution.schema import Constitution as Constitution
    from conscience.constitution.schema import Principle as Principle
    from conscience.errors import ArtifactError as ArtifactError
    from conscience.errors import BackendError as BackendError
    from conscience.errors import BudgetExceeded as BudgetExceeded
    from conscience.errors import CaseError as CaseError
    from conscience.errors import ConfigurationError as ConfigurationError
    from conscience.errors import ConscienceError as ConscienceError
    from conscience.errors import ConstitutionError as ConstitutionError
    from conscience.errors import ContextTooLong as ContextTooLong
    from conscience.errors import InputError as InputError
    from conscience.errors import ReviewError as ReviewError
    from conscience.errors import UnresolvedError as UnresolvedError
    from conscience.evals.oracles import Grade as Grade
    from conscience.evals.runner import EvalConfig as EvalConfig
    from conscience.gate.probes import EmbeddingProbe as EmbeddingProbe
    from conscience.gate.probes import LexicalProbe as LexicalProbe
    from conscience.gate.questions import Question as Question
    from conscience.gate.settings import CascadeStage as CascadeStage
    from conscience.gate.settings import GateSettings as GateSettings
    from conscience.modules.generate import Generate as Generate
    from conscience.modules.review import Review as Review
    from conscience.modules.review import areview as areview
    from conscience.modules.review import review as review
    from conscience.modules.revise import Revise as Revise
    from conscience.outcome import Draft as Draft
    from conscience.outcome import Finding as Finding
    from conscience.outcome import Outcome as Outcome
    from conscience.outcome import Revision as Revision
    from conscience.outcome import Verdict as Verdict
    from conscience.program import Conscience as Conscience
    from conscience.usage import Budget as Budget
    from conscience.usage import CallUsage as CallUsage
    from conscience.usage import Usage as Usage


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
