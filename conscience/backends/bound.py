"""A backend bound to the call that pays for it: what the modules are given, so that none of them handles accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dspy

from conscience._base.awaiting import afinished, finished, is_async
from conscience._base.flow import Flow, IOStep
from conscience._dspy.lm import AdapterParseError, module_context, module_errors
from conscience.backends.backend import Backend
from conscience.backends.batches.posting import asks_live
from conscience.messages.completion import Completion, Message
from conscience.usage import CallContext, Exchange, pausing


class BoundBackend:
    """One backend in one role of one program call: what it is asked here is entered and limited there.

    Made anew for each call, so it holds no more than the two; modules use it and never see a tracker.

    Args:
        backend: the models; shared by calls.
        ctx: the role that asks, the call's usage tracker, and the exchanges made under it.
        writer: what writes for this role where the backend is a decision model.
    """

    def __init__(self, backend: Backend, ctx: CallContext, writer: Backend | None = None) -> None:
        self.backend = backend
        self.ctx = ctx
        self._writer = writer

    @property
    def writer(self) -> BoundBackend | None:
        """What writes for this role and is paid for by it: another backend where this one only decides; None without any."""
        if not self.backend.decides:
            return self
        return None if self._writer is None else BoundBackend(self._writer, self.ctx)

    @property
    def decides(self) -> bool:
        """See ``Backend.decides``."""
        return self.backend.decides

    @property
    def waits(self) -> bool:
        """Whether what it is asked here waits for a batch."""
        return not asks_live(self.backend.transports[0])

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
        with pausing((self.ctx.tracker.paused,)):  # LiteLLM may have to be asked, and imported for that
            return self.backend.supports(feature)

    def gives(self, feature: str, completion: Completion) -> bool:
        """See ``Backend.gives``."""
        return self.backend.gives(feature, completion)

    def refused(self, feature: str, *, certain: bool) -> None:
        """See ``Backend.refused``."""
        self.backend.refused(feature, certain=certain)

    @property
    def thinks(self) -> bool:
        """See ``Backend.thinks``."""
        return self.backend.thinks

    def note(self, event: str) -> None:
        """Records an event on the outcome, under the role that asks."""
        self.ctx.tracker.note(f"{self.ctx.role}: {event}")

    def ask(self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None) -> IOStep:
        """One question as a step of a flow; its result is a ``Completion``. See ``Backend.complete``."""
        return IOStep(
            partial(self.backend.complete, messages, params, salt=salt, ctx=self.ctx),
            partial(self.backend.acomplete, messages, params, salt=salt, ctx=self.ctx),
        )

    def fallback(self) -> BoundBackend | None:
        """The models that stand in for the first one, paid for by the same call; None where there is none."""
        other = self.backend.fallback()
        return None if other is None else BoundBackend(other, self.ctx)

    def reject(self, completion: Completion) -> IOStep:
        """Takes back an answer that could not be used, as a step of a flow. See ``Backend.reject``."""
        return self.backend.reject(completion)

    def embed(self, model: str, texts: Sequence[str]) -> Flow[list[list[float]]]:
        """One embedding for each text, by an embedding model beside this backend. See ``Backend.embedding``."""
        return self.backend.embedding(model, texts, self.ctx)

    def call(self, module: Callable[..., Any], inputs: Mapping[str, Any], args: Sequence[Any] = ()) -> IOStep:
        """Calls a DSPy module, or any plain callable, with this backend as its LM, as a step of a flow.

        What it returns may have to be awaited; sync, that takes an event loop of its own. A callable that is not async runs
        in a thread when driven async.

        Raises (when driven):
            ConscienceError: a backend's failure, as the backend raised it; BackendError for an answer without its fields;
                ConfigurationError where async code is called sync on a running event loop.
        """
        named = {**inputs, **{str(number): value for number, value in enumerate(args)}}
        native = getattr(module, "acall", None)
        is_module = isinstance(module, dspy.Module)
        if is_module and not hasattr(module, "aforward"):
            native = None  # every module has acall, which needs aforward
        sync = native if is_module and native is not None and not hasattr(type(module), "forward") else module

        def run() -> Any:
            with module_errors(self.ctx, named), module_context(self.backend.lm, self.ctx):
                try:
                    return finished(sync(*args, **inputs))
                except AdapterParseError:  # what cannot be read is no answer to the next call either
                    for exchange in self.exchanges:
                        self.reject(exchange.completion).run()
                    raise

        async def arun() -> Any:
            with module_errors(self.ctx, named), module_context(self.backend.lm, self.ctx):
                try:
                    if native is not None:
                        return await native(*args, **inputs)
                    return await afinished(lambda: module(*args, **inputs), on_loop=is_async(module))
                except AdapterParseError:
                    for exchange in self.exchanges:
                        await self.reject(exchange.completion).arun()
                    raise

        return IOStep(run, arun)
