"""A backend bound to the call that pays for it: what the modules are given, so that none of them handles accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from conscience._base.flow import Flow, IOStep
from conscience._dspy import call_module
from conscience.backends.backend import Backend
from conscience.messages.completion import Message
from conscience.usage import CallContext, Exchange


class BoundBackend:
    """One backend in one role of one program call.

    Args:
        backend: the models.
        ctx: the call's usage tracker and the role that asks.
    """

    def __init__(self, backend: Backend, ctx: CallContext) -> None:
        self.backend = backend
        self.ctx = ctx

    @property
    def name(self) -> str:
        """The first model's name."""
        return self.backend.name

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """What was asked and answered under this context so far, in order."""
        return self.ctx.exchanges

    @property
    def steps(self) -> Sequence[tuple[Any, Mapping[str, Any], Any]]:
        """What DSPy's predictors did under this context so far, in order: (predictor, inputs, prediction)."""
        return self.ctx.steps

    def supports(self, feature: str) -> bool:
        """See ``Backend.supports``."""
        return self.backend.supports(feature)

    def lacks(self, feature: str) -> None:
        """See ``Backend.lacks``."""
        self.backend.lacks(feature)

    def note(self, event: str) -> None:
        """Records an event on the outcome, under the role that asks."""
        self.ctx.tracker.note(f"{self.ctx.role}: {event}")

    def ask(self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None) -> IOStep:
        """One question as a step of a flow; its result is a ``Completion``. See ``Backend.complete``."""
        asked = {"salt": salt, "ctx": self.ctx}
        return IOStep(
            partial(self.backend.complete, messages, params, **asked),
            partial(self.backend.acomplete, messages, params, **asked),
        )

    def embed(self, model: str, texts: Sequence[str]) -> Flow[list[list[float]]]:
        """One embedding for each text, by an embedding model beside this backend. See ``Backend.embedding``."""
        return self.backend.embedding(model, texts, self.ctx)

    def call(self, module: Callable[..., Any], inputs: Mapping[str, Any], args: Sequence[Any] = ()) -> IOStep:
        """Calls a DSPy module, or any plain callable, with this backend as its LM, as a step of a flow.

        Raises (when driven):
            ConscienceError: a backend's failure, as the backend raised it; BackendError for an answer without its fields.
        """
        return call_module(module, inputs, self.backend.lm, self.ctx, args)
