"""An LLM that notices when its own answer goes against what its makers hold right, and corrects it before anyone sees it.

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
    "Conscience": "program",
    "load": "program",
    "Generate": "modules.generate",
    "Review": "modules.review",
    "Revise": "modules.revise",
    "review": "modules.review",
    "areview": "modules.review",
    "Outcome": "outcome",
    "Draft": "outcome",
    "Finding": "outcome",
    "Verdict": "outcome",
    "Revision": "outcome",
    "StageStarted": "_base.flow",
    "Backend": "backends.backend",
    "register_embedder": "backends.embeddings",
    "VerdictLog": "observability.log",
    "VerdictRecord": "observability.record",
    "Observe": "observability.mode",
    "request_context": "observability.context",
    "Budget": "usage",
    "CallUsage": "usage",
    "Usage": "usage",
    "Constitution": "constitution.schema",
    "Principle": "constitution.schema",
    "GateSettings": "gate.settings",
    "CascadeStage": "gate.settings",
    "Question": "gate.questions",
    "LexicalProbe": "gate.probes",
    "EmbeddingProbe": "gate.probes",
    "DistributionProbe": "gate.distribution",
    "Case": "cases.case",
    "load_cases": "cases.case",
    "Shard": "cases.shards",
    "split_cases": "cases.splits",
    "evaluate": "evals.api",
    "EvalConfig": "evals.runner",
    "merge_runs": "evals.merging",
    "EvalReport": "evals.results",
    "CaseRecord": "evals.records",
    "FailedCase": "evals.records",
    "Grade": "evals.oracles.grade",
    "is_refusal": "evals.oracles.refusals",
    "ConscienceError": "errors",
    "InputError": "errors",
    "ConstitutionError": "errors",
    "CaseError": "errors",
    "ArtifactError": "errors",
    "ConfigurationError": "errors",
    "BackendError": "errors",
    "ContextTooLong": "errors",
    "EmptyAnswer": "errors",
    "BudgetExceeded": "errors",
    "ReviewError": "errors",
    "UnresolvedError": "errors",
}
"""Public name → the module below this one that defines it."""

_DSPY_MODULES = frozenset({"Conscience", "Generate", "Review", "Revise"})
"""These keep their ``__module__``: Python finds a class's source by it, and ``dspy.Refine`` and SIMBA read a module's."""

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names below are checked against it in the tests

if TYPE_CHECKING:
    from conscience._base.flow import StageStarted as StageStarted
    from conscience.backends.backend import Backend as Backend
    from conscience.backends.embeddings import register_embedder as register_embedder
    from conscience.cases.case import Case as Case
    from conscience.cases.case import load_cases as load_cases
    from conscience.cases.shards import Shard as Shard
    from conscience.cases.splits import split_cases as split_cases
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
    from conscience.errors import EmptyAnswer as EmptyAnswer
    from conscience.errors import InputError as InputError
    from conscience.errors import ReviewError as ReviewError
    from conscience.errors import UnresolvedError as UnresolvedError
    from conscience.evals.api import evaluate as evaluate
    from conscience.evals.merging import merge_runs as merge_runs
    from conscience.evals.oracles.grade import Grade as Grade
    from conscience.evals.oracles.refusals import is_refusal as is_refusal
    from conscience.evals.records import CaseRecord as CaseRecord
    from conscience.evals.records import FailedCase as FailedCase
    from conscience.evals.results import EvalReport as EvalReport
    from conscience.evals.runner import EvalConfig as EvalConfig
    from conscience.gate.distribution import DistributionProbe as DistributionProbe
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
    from conscience.observability.context import request_context as request_context
    from conscience.observability.log import VerdictLog as VerdictLog
    from conscience.observability.mode import Observe as Observe
    from conscience.observability.record import VerdictRecord as VerdictRecord
    from conscience.outcome import Draft as Draft
    from conscience.outcome import Finding as Finding
    from conscience.outcome import Outcome as Outcome
    from conscience.outcome import Revision as Revision
    from conscience.outcome import Verdict as Verdict
    from conscience.program import Conscience as Conscience
    from conscience.program import load as load
    from conscience.usage import Budget as Budget
    from conscience.usage import CallUsage as CallUsage
    from conscience.usage import Usage as Usage


def _load_name(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    import_module(f"{__name__}.{_HOME[name]}")
    _publish()
    return globals()[name]


if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for one of these
    __getattr__ = _load_name


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _publish() -> None:
    """Gives each public name whose module is loaded by now its place here: reprs and tracebacks name what users type.

    All of them, and not only the one that was asked for, so that an outcome says the same whoever imported what.
    """
    import sys

    for name, home in _HOME.items():
        if name not in globals() and hasattr(module := sys.modules.get(f"{__name__}.{home}"), name):
            value = getattr(module, name)
            if isinstance(value, type):
                try:
                    _resolve_annotations(value)
                except NameError:  # another thread is still loading that module, and will come here itself
                    continue
            if name not in _DSPY_MODULES:
                value.__module__ = __name__
            globals()[name] = value


def _resolve_annotations(cls: type) -> None:
    """Annotations as types: as text they would be looked up in this module, which does not hold what they name."""
    import inspect

    cls.__annotations__ = inspect.get_annotations(cls, eval_str=True)
    for field in getattr(cls, "__dataclass_fields__", {}).values():
        if field.name in cls.__annotations__:
            field.type = cls.__annotations__[field.name]
