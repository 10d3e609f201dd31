"""``guard``: a tool whose calls are reviewed before they run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal, TypeVar, get_args, overload
from weakref import WeakSet

import dspy

from conscience._base.flow import Flow, IOStep, run_async, run_sync
from conscience._dspy.streams import SILENT
from conscience.errors import ConfigurationError, UnresolvedError
from conscience.integrations.tools.arguments import Parameters, hints_of, signature_of
from conscience.integrations.tools.call import ToolCall
from conscience.integrations.tools.conversations import current
from conscience.outcome import Draft, Outcome
from conscience.program import Conscience

OnRefusal = Literal["tell", "raise"]
"""What a call that may not run comes to: a text for the model in place of the result, or an error."""

F = TypeVar("F")


@overload
def guard(fn: F, *, program: Conscience, on_refusal: OnRefusal = "tell", injected: Collection[str] = ()) -> F: ...
@overload
def guard(*, program: Conscience, on_refusal: OnRefusal = "tell", injected: Collection[str] = ()) -> Callable[[F], F]: ...
def guard(fn: Any = None, *, program: Conscience, on_refusal: OnRefusal = "tell", injected: Collection[str] = ()) -> Any:
    """A tool that has each call reviewed before it runs, with its name and arguments, in the light of the conversation.

    It looks like the tool: name, signature, docstring, annotations, and whether it is async or a generator, so whatever
    makes a tool of a function goes on doing so. Where the review has nothing against a call, it runs as it is. Where it
    has, the arguments are revised and reviewed again; if nothing passes, or the review fails, the tool does not run, and the
    model is told why by what the tool returns. A program with ``on_error="open"`` lets calls run that it could not review.

    Args:
        fn: a function, a method, an object that is called, or a ``dspy.Tool``; left out, a decorator is returned.
        program: reviews and revises calls; what it generates with is not asked.
        on_refusal: "tell" the model, by a text in place of the result, or "raise": UnresolvedError, or what made the review
            fail. A call that was changed tells so in a text as well; where errors are raised, its result is left as it is.
        injected: names of parameters that the application fills in, such as a session: neither shown nor changed. Those of
            methods (``self``), pydantic-ai, openai-agents, LangChain and MCP are known.

    Raises:
        ConfigurationError: what is given cannot be guarded, or an option does not exist.
    """
    if on_refusal not in get_args(OnRefusal):
        raise ConfigurationError(f"on_refusal={on_refusal!r} does not exist", hint="choose among tell, raise")
    if not isinstance(program, Conscience):
        raise ConfigurationError(f"program= is a {type(program).__name__}", hint="give a Conscience program")
    if fn is None:
        return functools.partial(guard, program=program, on_refusal=on_refusal, injected=injected)
    if isinstance(fn, classmethod | staticmethod):
        return type(fn)(guard(fn.__func__, program=program, on_refusal=on_refusal, injected=injected))
    if isinstance(fn, dspy.Tool):
        types = fn.arg_types or {}
        parameters = Parameters(fn.func, injected, {name: types.get(name, Any) for name in fn.args or ()})
        inner = Guarded(fn.func, str(fn.name), fn.desc or "", parameters, program, on_refusal).function()
        return GuardedTool(inner, fn.name, fn.desc, fn.args, fn.arg_types, fn.arg_desc)
    if not callable(fn) or hasattr(fn, "args_schema") or hasattr(fn, "on_invoke_tool"):
        raise ConfigurationError(
            f"{type(fn).__name__} cannot be guarded", hint="guard the function that it is made of, and make the tool of that"
        )
    return Guarded(fn, _name(fn), inspect.getdoc(fn) or "", Parameters(fn, injected), program, on_refusal).function()


_AWAITED: ContextVar[bool] = ContextVar("conscience_tool_awaited", default=False)
"""Whether whoever calls a sync tool would wait for it: then its review need not block the event loop."""


_APART: Mapping[str, Any] = {"trace": None, **SILENT}
"""The review of a call is no step of the agent's, and nothing that is streamed to its user."""

_GUARDED: WeakSet[Callable[..., Any]] = WeakSet()


def is_guarded(called: Any) -> bool:
    """Whether ``guard`` made this function."""
    return inspect.isfunction(called) and called in _GUARDED


class GuardedTool(dspy.Tool):  # type: ignore[misc]
    """A ``dspy.Tool`` of a guarded function."""

    async def acall(self, **kwargs: Any) -> Any:
        token = _AWAITED.set(not inspect.iscoroutinefunction(self.func))  # an async tool may call sync ones inside
        try:
            return await super().acall(**kwargs)
        finally:
            _AWAITED.reset(token)


class Guarded:
    """A tool and who reviews its calls; ``function`` is what takes its place.

    Args:
        called: the tool.
        name, description: as the model knows it.
        parameters: what it takes.
        program: reviews.
        on_refusal: see ``guard``.
    """

    def __init__(
        self,
        called: Callable[..., Any],
        name: str,
        description: str,
        parameters: Parameters,
        program: Conscience,
        on_refusal: OnRefusal,
    ) -> None:
        self.called, self.name, self.description, self.parameters = called, name, description, parameters
        self.program = program
        self.tells = on_refusal == "tell"

    def function(self) -> Callable[..., Any]:
        """A function of the same kind as the tool."""
        target: Any = self.called
        while isinstance(target, functools.partial):
            target = target.func
        if not inspect.isroutine(target) and not isinstance(target, type):
            target = target.__call__
        if inspect.isasyncgenfunction(target):
            made = self._async_generator()
        elif inspect.isgeneratorfunction(target):
            made = self._generator()
        elif inspect.iscoroutinefunction(target):
            made = self._async()
        else:
            made = self._sync()
        function = _looks_like(made, self.called, self.name)
        _GUARDED.add(function)
        return function

    def _reviewed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Flow[tuple[ToolCall, str | None]]:
        """The call, revised where it had to be, and what the model is told where it may not run."""
        call = ToolCall(self.name, self.description, self.parameters, args, kwargs, current())
        if (told := call.refused_before()) is None:
            draft = call.draft()
            outcome = yield IOStep(partial(self._review, draft), partial(self._areview, draft))
            told = call.settle(outcome, self.program.constitution)
            if told is not None and not self.tells:
                outcome.raise_for_status()
        if told is not None and not self.tells:
            raise UnresolvedError(f"the call of {self.name} did not run: its review has something against it")
        return call, told

    def _review(self, draft: Draft) -> Outcome:
        with dspy.context(**_APART):
            return self.program.correct_draft(draft)

    async def _areview(self, draft: Draft) -> Outcome:
        with dspy.context(**_APART):
            return await self.program.acorrect_draft(draft)

    def _sync(self) -> Callable[..., Any]:
        def tool(*args: Any, **kwargs: Any) -> Any:
            return self._called(args, kwargs)

        return tool

    def _called(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if _AWAITED.get():
            return self._called_on_a_loop(args, kwargs)
        call, told = run_sync(self._reviewed(args, kwargs))
        return self._run(call) if told is None else told

    def _run(self, call: ToolCall) -> Any:
        with call.running():
            value = call.run(self.called)
        return self._later(call, value) if inspect.isawaitable(value) else call.returned(value, tell=self.tells)

    async def _called_on_a_loop(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        _AWAITED.set(False)  # what the tool calls is its own affair
        call, told = await run_async(self._reviewed(args, kwargs))
        if told is not None:
            return told
        value = self._run(call)
        return await value if inspect.isawaitable(value) else value

    async def _later(self, call: ToolCall, value: Awaitable[Any]) -> Any:
        with call.running():
            result = await value
        return call.returned(result, tell=self.tells)

    def _async(self) -> Callable[..., Any]:
        async def tool(*args: Any, **kwargs: Any) -> Any:
            call, told = await run_async(self._reviewed(args, kwargs))
            return await self._later(call, call.run(self.called)) if told is None else told

        return tool

    def _generator(self) -> Callable[..., Any]:
        def tool(*args: Any, **kwargs: Any) -> Any:
            call, told = run_sync(self._reviewed(args, kwargs))
            if told is not None:
                yield told
                return told
            yield from call.begun(tell=self.tells)
            return (yield from call.run(self.called))

        return tool

    def _async_generator(self) -> Callable[..., Any]:
        async def tool(*args: Any, **kwargs: Any) -> Any:
            call, told = await run_async(self._reviewed(args, kwargs))
            for text in call.begun(tell=self.tells) if told is None else [told]:
                yield text
            if told is not None:
                return
            async with aclosing(call.run(self.called)) as items:
                async for item in items:
                    yield item

        return tool


def _looks_like(made: Callable[..., Any], called: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function that takes a tool's place, with all that is read of a tool."""
    if inspect.isroutine(called):
        return functools.wraps(called)(made)
    made.__name__ = made.__qualname__ = name
    made.__doc__ = inspect.getdoc(called)
    made.__module__ = getattr(called, "__module__", None) or type(called).__module__
    made.__signature__ = signature_of(called)  # type: ignore[attr-defined]
    made.__annotations__ = {
        name: hint for name, hint in hints_of(called).items() if name in ("return", *signature_of(called).parameters)
    }
    return made


def _name(called: Any) -> str:
    while isinstance(called, functools.partial):
        called = called.func
    return str(getattr(called, "__name__", type(called).__name__))
