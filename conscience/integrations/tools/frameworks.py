"""What frameworks hand to a tool beside what the model wrote, told by its class, and the conversation that is in it."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

from conscience.chat.response_items import input_messages
from conscience.errors import InputError
from conscience.messages.completion import Message, clean
from conscience.messages.rendering import value_text
from conscience.modules.results import agent_turns, as_turn

FILLED_IN = frozenset(
    {
        ("pydantic_ai", "RunContext"),
        ("agents", "RunContextWrapper"),
        ("langchain_core", "InjectedToolArg"),
        ("langchain_core", "RunnableConfig"),
        ("langchain_core", "BaseRunManager"),
        ("langgraph", "ToolRuntime"),
        ("mcp", "Context"),
        ("fastmcp", "Context"),
    }
)
"""Classes, by package and name, of what frameworks hand to tools beside what the model wrote; what inherits from one is
one."""


def is_filled_in(hint: Any) -> bool:
    """Whether a type says that the framework fills the parameter in."""
    parts = (hint, typing.get_origin(hint), *typing.get_args(hint)[:1], *getattr(hint, "__metadata__", ()))
    kinds = (kind for part in parts for kind in (part if isinstance(part, type) else type(part)).__mro__)
    return any((kind.__module__.split(".")[0], kind.__name__) in FILLED_IN for kind in kinds)


def known_turns(arguments: Iterable[Any]) -> tuple[Message, ...]:
    """The conversation that a framework's context holds, without the turn that calls the tool; empty where none does."""
    for value in arguments:
        if not is_filled_in(type(value)):
            continue
        state = getattr(value, "state", None)
        if isinstance(messages := getattr(value, "messages", None), list) and hasattr(value, "prompt"):  # pydantic-ai
            turns = agent_turns(messages)
        elif isinstance(items := getattr(value, "turn_input", None), list) and items:  # openai-agents
            turns = _items(items)
        elif isinstance(state, dict) and isinstance(state.get("messages"), list):  # LangGraph
            turns = tuple(as_turn(message) for message in state["messages"][:-1])
        else:
            continue
        return tuple(map(clean, turns))
    return ()


def _items(items: list[Any]) -> tuple[Message, ...]:
    try:
        return tuple(input_messages(items))
    except InputError:  # calls of hosted tools and the like: shown as they stand
        return ({"role": "user", "content": value_text(items)},)
