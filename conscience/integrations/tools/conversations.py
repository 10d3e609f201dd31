"""What tool calls are judged in the light of: the conversation that led to them, and the calls before them.

It travels in a context variable, so each task and each thread that was given its context has that of its own caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from conscience._base.lookalikes import skeleton
from conscience.messages.completion import Message, clean
from conscience.messages.rendering import Request, called_tools, content_text, value_text
from conscience.messages.requests import check_request, turns
from conscience.modules.results import readable


class Conversation:
    """Turns that led to a call, and the calls since.

    Args:
        messages: what was said before any call.
        within: the conversation that this one goes on with; what was refused there is refused here.
    """

    def __init__(self, messages: tuple[Message, ...] = (), within: Conversation | None = None) -> None:
        self._messages = messages if within is None else (*within.messages, *messages)
        self._steps: list[Message] = []
        self._refused: dict[str, str] = {} if within is None else within._refused
        self._lock = Lock()  # calls may run in threads

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns so far, calls and their results included."""
        with self._lock:
            return (*self._messages, *self._steps)

    def add(self, tool: str, arguments: str, result: Any) -> None:
        """Keeps a call that ran, with what came of it."""
        with self._lock:
            id = f"call_{len(self._steps) // 2}"
            call = {"id": id, "type": "function", "function": {"name": tool, "arguments": arguments}}
            told = {"role": "tool", "tool_call_id": id, "name": tool, "content": clean(value_text(result))}
            self._steps += [{"role": "assistant", "content": None, "tool_calls": [call]}, told]

    def refuse(self, call: str, told: str) -> None:
        """Remembers what was told of a call that was refused."""
        with self._lock:
            self._refused[skeleton(call)] = told

    def refused(self, call: str) -> str | None:
        """What was told when this call, or one that looks like it, was refused; None where none was. Asking again until a
        review lets it pass does not pay."""
        with self._lock:
            return self._refused.get(skeleton(call))


_CURRENT: ContextVar[Conversation | None] = ContextVar("conscience_tool_conversation", default=None)


def current() -> Conversation | None:
    """That of the running task; None where nobody has entered any."""
    return _CURRENT.get()


@contextmanager
def conversation(request: Request | Mapping[str, Any]) -> Iterator[None]:
    """Calls of guarded tools inside are judged in the light of this.

    Within another conversation it goes on with that: an agent that an agent calls is judged by both.

    Args:
        request: a text, chat messages, or an agent's inputs by name.

    Raises:
        InputError: it is empty, or holds what no provider can receive.
    """
    inputs = request if isinstance(request, Mapping) else {"request": request}
    said = _without_open_calls(turns(check_request(readable(inputs))))
    outer = _CURRENT.get()
    if outer is not None and outer.messages[-len(said) :] == said:
        said = ()
    token = _CURRENT.set(Conversation(said, outer))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def _without_open_calls(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns without the calls of the last one, which are yet to run: each is judged by itself. What was said before them
    is the beginning of what is judged."""
    *before, last = messages
    if last.get("role") != "assistant" or not called_tools(last):
        return messages
    said = content_text(last.get("content"))
    return (*before, {"role": "assistant", "content": f"{said}\n"}) if said.strip() else tuple(before)
