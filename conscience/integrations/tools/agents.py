"""``guard_agent``: a DSPy agent all of whose tools are guarded, with what it was asked as the context of their calls."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar

import dspy

from conscience.errors import ConfigurationError
from conscience.integrations.tools.arguments import signature_of
from conscience.integrations.tools.conversations import conversation
from conscience.integrations.tools.guarded import OnRefusal, guard, is_guarded
from conscience.modules.callables import input_names
from conscience.program import Conscience

A = TypeVar("A", bound=dspy.Module)

HOLDERS = ("tools", "_user_tools")
"""Attributes in which DSPy's agents keep their tools: ReAct and ReActV2; RLM."""


def guard_agent(agent: A, *, program: Conscience, on_refusal: OnRefusal = "tell", injected: Collection[str] = ()) -> A:
    """A copy of a ``dspy.ReAct``, or another module with tools, in which every call of a tool is reviewed before it runs.

    The tools of its sub-modules are guarded, too. Calls are judged in the light of the module's inputs and of the calls
    before them. Predictors, demos and state stay as they are, so it is compiled, saved and loaded as before. The other
    arguments are those of ``guard``.

    Args:
        agent: the module; it is left as it is.

    Raises:
        ConfigurationError: it has no tools, or runs them as source code in a sandbox (``dspy.CodeAct``), past any guard.
    """
    if not isinstance(agent, dspy.Module):
        raise ConfigurationError(f"{type(agent).__name__} is no dspy.Module", hint="guard its tools, each with guard(...)")
    guarded = _copied(agent)
    count = 0
    for _, module in guarded.named_sub_modules():
        if isinstance(module, dspy.CodeAct):
            raise ConfigurationError(
                "dspy.CodeAct runs its tools as source code in a sandbox, where no call of them can be reviewed",
                hint="use dspy.ReAct",
            )
        for name, held in _held(module):
            tools = {key: _guarded(tool, program, on_refusal, injected) for key, tool in held.items()}
            count += sum(is_guarded(tool.func) for tool in tools.values())
            setattr(module, name, tools)
    if not count:
        what = f"{type(agent).__name__} has no tools that could be guarded"
        raise ConfigurationError(what, hint="guard each function that it calls")
    guarded.__class__ = _with_conversation(guarded.__class__)
    return guarded


def _held(module: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in HOLDERS:
        held = vars(module).get(name)
        if isinstance(held, dict) and held and all(isinstance(tool, dspy.Tool) for tool in held.values()):
            yield name, held


def _copied(agent: A) -> A:
    """A copy with the very tools: a copy of a bound method would act on a copy of its object."""
    memo: dict[int, Any] = {}
    for _, module in agent.named_sub_modules():
        memo |= {id(held): held for _, held in _held(module)}
    copied: A = copy.deepcopy(agent, memo)
    return copied


def _guarded(tool: dspy.Tool, program: Conscience, on_refusal: OnRefusal, injected: Collection[str]) -> dspy.Tool:
    """A guarded tool. DSPy's own, such as ReAct's ``finish``, does nothing that could be judged; one that has a guard keeps
    that one."""
    if is_guarded(tool.func) or str(getattr(tool.func, "__module__", "")).split(".")[0] == "dspy":
        return tool
    own = set(signature_of(tool.func).parameters)
    return guard(tool, program=program, on_refusal=on_refusal, injected=own.intersection(injected))


@lru_cache(maxsize=256)
def _with_conversation(kind: Any) -> Any:
    """The class whose calls are conversations of their tools'."""
    methods: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    if hasattr(kind, "forward"):
        methods["forward"] = _entering(kind.forward)
    if hasattr(kind, "aforward"):
        methods["aforward"] = _aentering(kind.aforward)
    return type(kind)(kind.__name__, (kind,), methods)


def _entering(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def entered(self: Any, *args: Any, **inputs: Any) -> Any:
        with _conversation(self, args, inputs):
            return forward(self, *args, **inputs)

    return entered


def _aentering(aforward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(aforward)
    async def entered(self: Any, *args: Any, **inputs: Any) -> Any:
        with _conversation(self, args, inputs):
            return await aforward(self, *args, **inputs)

    return entered


def _conversation(agent: Any, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> AbstractContextManager[None]:
    """What the agent was asked: the inputs of its signature where it has one."""
    named = {**dict(zip(input_names(agent), args, strict=False)), **inputs}
    fields = getattr(getattr(agent, "signature", None), "input_fields", None)
    asked = {name: value for name, value in named.items() if value and (fields is None or name in fields)}
    return conversation(asked) if asked else nullcontext()
