"""What generates without being a DSPy module: functions and objects of every kind, Runnables and agents, told by what they
have and never by importing the packages they come from."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import dspy

from conscience._base.awaiting import afinished, finished, is_async, refuse_in_loop
from conscience.messages.rendering import request_text
from conscience.messages.requests import check_request

ONLY = "request"
"""The name of the input where what generates names none."""

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)


class Runnable:
    """An object with ``invoke`` and ``ainvoke``, as LangChain's have.

    A call's only input is handed on as it is where it came without a name of its own (``program("hi")``,
    ``program(request=[…])``); inputs with names go as a mapping, as a prompt template takes them.
    """

    def __init__(self, runnable: Any) -> None:
        self.runnable = runnable

    def __call__(self, **inputs: Any) -> Any:
        if hasattr(self.runnable, "invoke"):
            return self.runnable.invoke(_only(inputs))
        refuse_in_loop()
        return finished(self.runnable.ainvoke(_only(inputs)))

    async def acall(self, **inputs: Any) -> Any:
        """The async form."""
        if hasattr(self.runnable, "ainvoke"):
            return await self.runnable.ainvoke(_only(inputs))
        return await afinished(lambda: self.runnable.invoke(_only(inputs)), on_loop=False)


class Agent:
    """An object with ``run`` (async or not) and perhaps ``run_sync``, as pydantic-ai's agents have: handed one text."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def __call__(self, **inputs: Any) -> Any:
        if is_async(self.agent.run):
            refuse_in_loop()
        run = getattr(self.agent, "run_sync", self.agent.run)
        return finished(run(request_text(check_request(inputs))))

    async def acall(self, **inputs: Any) -> Any:
        """The async form."""
        prompt = request_text(check_request(inputs))
        return await afinished(lambda: self.agent.run(prompt), on_loop=is_async(self.agent.run))


def as_callable(value: Any) -> Callable[..., Any] | None:
    """What is called to generate; None for a thing that cannot."""
    if not isinstance(value, _FUNCTIONS):
        if callable(getattr(value, "invoke", None)) or callable(getattr(value, "ainvoke", None)):
            return Runnable(value)
        if not callable(value) and callable(getattr(value, "run", None)):
            return Agent(value)
    return value if callable(value) else None


def input_names(target: Callable[..., Any]) -> tuple[str, ...]:
    """The names of what it takes, in order; ``request`` where it names nothing."""
    named = tuple(p.name for p in _parameters(target) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return named or (ONLY,)


def arguments(target: Callable[..., Any], inputs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs as the positional and keyword arguments of a call."""
    parameters = _parameters(target)
    kinds = {p.kind for p in parameters}
    unnamed = not kinds - {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    takes_any = inspect.Parameter.VAR_POSITIONAL in kinds or not parameters
    if unnamed and takes_any and set(inputs) == {ONLY}:
        return (inputs[ONLY],), {}
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in inputs]
    return tuple(inputs[name] for name in first), {name: value for name, value in inputs.items() if name not in first}


def _parameters(target: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    if isinstance(target, dspy.Module):  # asked of its class: DSPy warns whoever touches a module's forward
        called = getattr(type(target), "forward", None) or getattr(type(target), "aforward", None)
        if called is not None:
            return _parameters_of_method(called)
    return _said(target)


@lru_cache(maxsize=256)
def _parameters_of_method(method: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """Without the first, which is the module."""
    return _said(partial(method, None))


def _said(called: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    try:
        return tuple(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # some builtins do not say
        return ()


def _only(inputs: Mapping[str, Any]) -> Any:
    return inputs[ONLY] if set(inputs) == {ONLY} else dict(inputs)
