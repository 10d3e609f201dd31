"""What a user may pass for a model, a program's roles, what generates, and a constitution: each union named once.

DSPy ships no types, so a union with one of its classes would accept everything. A ``dspy.LM`` is therefore described by what
makes one (``LM``), and its modules and signature classes by being callable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from conscience.backends.backend import Backend
from conscience.backends.roles import Roles
from conscience.constitution.schema import Constitution
from conscience.observability.hooks import OutcomeHook
from conscience.observability.log import LogSpec
from conscience.observability.mode import ModeSpec
from conscience.outcome import Outcome
from conscience.usage import Budget, Role


class LM(Protocol):
    """A ``dspy.LM``, or any other language model of DSPy's."""

    model: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


OneModel: TypeAlias = str | LM | Backend
"""A LiteLLM model string, ``"local"``, ``"local:NAME"``, ``"local:FILE.gguf"``, a ``dspy.LM`` or a Backend; for the role
review also ``"decisions:"`` and a LiteLLM model string."""

ModelSpec: TypeAlias = OneModel | Sequence[OneModel]
"""One model, or several as fallbacks in order."""

RolesSpec: TypeAlias = ModelSpec | Mapping[Role, ModelSpec] | Roles
"""One model for every role, or a mapping from role to model."""

GenerateSpec: TypeAlias = str | Callable[..., Any]
"""A DSPy signature (string or class), a ``dspy.Module``, a Generate, or a callable that returns a text, a mapping of output
fields or a ``dspy.Prediction``."""

ConstitutionSpec: TypeAlias = str | Path | Mapping[str, Any] | Constitution
"""A built-in name (general, medical, code, hiring), a file, a mapping or a Constitution."""

OnUnresolved: TypeAlias = Literal["refuse", "best", "raise"]
"""Still flagged after the last revision: "refuse" (the refusal text), "best" (the least doubtful text, with the status
``unresolved``) or "raise"."""

OnError: TypeAlias = Literal["closed", "open", "raise"]
"""The review failed: "closed" (the refusal text, the draft is not shown), "open" (the draft, marked, unless the gate flagged
it) or "raise"."""

ReleaseMode: TypeAlias = Literal["hold", "window"]
"""A streamed answer: "hold" (nothing before the verdict) or "window" (the text in windows, each once it has passed)."""

RefusalSpec: TypeAlias = str | Mapping[str, Any] | Callable[[Outcome], str | Mapping[str, Any] | None]
"""What is said in place of an answer: a text, a mapping by output field, or a function of the outcome that returns either,
or None for the constitution's own."""


class PolicyArgs(TypedDict, total=False):
    """What a caller may decide when a file is opened, and the file then cannot; see ``Conscience``."""

    max_revisions: int
    samples: int
    threshold: float | None
    on_unresolved: OnUnresolved
    on_error: OnError
    refusal: RefusalSpec | None
    budget: Budget | Mapping[str, float] | None
    mode: ModeSpec
    log: LogSpec | None
    on_outcome: OutcomeHook | Sequence[OutcomeHook] | None
    name: str
