"""A backend bound to the call that pays for it: what the modules are given, so that none of them handles accounts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dspy

from conscience._base.flow import Flow, IOStep
from conscience._dspy import module_context, module_errors
from conscience.backends.backend import Backend
from conscience.messages.completion import Completion, Message
from conscience.usage import CallContext


class BoundBackend:
    """One backend in one role of one program call: what it is asked here is entered and limited there.

    Made anew for each call, so it holds no more than the two; modules use it and never see a tracker.

    Args:
        backend: the models; shared by calls.
        ctx: the role that asks, the call's usage tracker, and the exchanges made under it.
    """

    def __init__(self, backend: Backend, ctx: CallContext) -> None:
        self.backend = backend
        self.ctx = ctx

    @property
    def name(self) -> str:
        """The first model's name."""
        return self.backend.name

    @property
    def exchanges(self) -> Sequence[tuple[tuple[Message, ...], Completion]]:
        """What was asked and answered under this context so far, in order."""
        return self.ctx.exchanges

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
        return IOStep(
            partial(self.backend.complete, messages, params, salt=salt, ctx=self.ctx),
            partial(self.backend.acomplete, messages, params, salt=salt, ctx=self.ctx),
        )

    def embed(self, model: str, texts: Sequence[str]) -> Flow[list[list[float]]]:
        """One embedding for each text, by an embedding model beside this backend. See ``Backend.embedding``."""
        return self.backend.embedding(model, texts, self.ctx)

    def call(self, module: Callable[..., Any], inputs: Mapping[str, Any]) -> IOStep:
        """Calls a DSPy module, or any plain callable, with this backend as its LM, as a step of a flow.

        A callable may be a coroutine function; one that is not runs in a thread when driven async.

        Raises (when driven):
            ConscienceError: a backend's failure, as the backend raised it; BackendError for an answer without its fields.
        """
        native = getattr(module, "acall", None)
        if isinstance(module, dspy.Module) and not hasattr(module, "aforward"):
            native = None  # every module has acall, which needs aforward

        def run() -> Any:
            with module_context(self.backend.lm, self.ctx), module_errors():
                result = module(**inputs)
                return asyncio.run(result) if inspect.iscoroutine(result) else result

        async def arun() -> Any:
            with module_context(self.backend.lm, self.ctx), module_errors():
                if native is not None:
                    return await native(**inputs)
                if inspect.iscoroutinefunction(module):
                    return await module(**inputs)
                return await asyncio.to_thread(module, **inputs)

        return IOStep(run, arun)
