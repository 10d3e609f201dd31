"""The shapes in which others keep preference data, written and read: TRL's, OpenAI's, plain chats for supervised training.

- TRL's conversational preferences: ``{"prompt": [messages], "chosen": [message], "rejected": [message]}``
- OpenAI's: ``{"input": {"messages": [messages]}, "preferred_output": [message], "non_preferred_output": [message]}``
- chats for supervised training, of the chosen side: ``{"messages": [messages]}``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from conscience.messages.requests import turns

if TYPE_CHECKING:
    from conscience.optimizers.training.pairs import PreferencePair

Row = dict[str, Any]
Shape = Literal["trl", "openai", "sft"]


def trl(pair: PreferencePair) -> Row:
    """A row of TRL's preference datasets, conversational."""
    return {"prompt": _messages(pair), "chosen": [_said(pair.chosen)], "rejected": [_said(pair.rejected)]}


def openai(pair: PreferencePair) -> Row:
    """A line of a file for OpenAI's method ``dpo``."""
    return {
        "input": {"messages": _messages(pair)},
        "preferred_output": [_said(pair.chosen)],
        "non_preferred_output": [_said(pair.rejected)],
    }


def sft(pair: PreferencePair) -> Row:
    """The request and the chosen response as one chat."""
    return {"messages": [*_messages(pair), _said(pair.chosen)]}


SHAPES: Mapping[Shape, Callable[[PreferencePair], Row]] = {"trl": trl, "openai": openai, "sft": sft}


def is_preference(row: Any) -> bool:
    """Whether a row holds two sides of a preference, in any of the shapes, and not a case."""
    return isinstance(row, Mapping) and ("preferred_output" in row or {"chosen", "rejected"} <= row.keys())


def own_row(row: Any) -> Any:
    """A row of another's shape in that of a ``PreferencePair``; any other row as it is, to be told what it lacks.

    Raises:
        ValueError: its texts cannot be found.
    """
    if not isinstance(row, Mapping):
        return row
    if "preferred_output" in row:
        asked = row.get("input")
        sides = {"chosen": row["preferred_output"], "rejected": row.get("non_preferred_output")}
        request = asked.get("messages") if isinstance(asked, Mapping) else asked
        return _foreign(request, sides, row)
    if "request" in row or not is_preference(row):
        return row
    return _foreign(row.get("prompt"), {"chosen": row["chosen"], "rejected": row["rejected"]}, row)


def _foreign(request: Any, sides: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    asked = list(turns(request)) if request and isinstance(request, str | list | tuple) else []
    if not asked or all(isinstance(said, list) and said[: len(asked)] == asked for said in sides.values()):
        asked = asked or _shared(*sides.values())  # both sides hold the whole conversation
        sides = {name: said[len(asked) :] for name, said in sides.items()}
    kept = {name: row[name] for name in ("id", "group", "cluster") if isinstance(row.get(name), str)}
    return {
        "request": asked,
        **{name: _text(name, said) for name, said in sides.items()},
        **kept,
        "provenance": {"from": "file"},
    }


def _shared(chosen: Any, rejected: Any) -> list[Any]:
    """The messages with which both sides begin."""
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise ValueError("there is no prompt")
    return [first for first, _ in takewhile(lambda two: two[0] == two[1], zip(chosen[:-1], rejected[:-1], strict=False))]


def _text(name: str, said: Any) -> str:
    """What one message says, given as a text or as a list of this message."""
    if isinstance(said, str):
        return said
    if isinstance(said, Sequence) and len(said) == 1 and isinstance(said[0], Mapping):
        content = said[0].get("content")
        if isinstance(content, str) and said[0].get("role", "assistant") == "assistant":
            return content
    raise ValueError(f"field {name!r}: is neither a text nor one message of the assistant's")


def _messages(pair: PreferencePair) -> list[Row]:
    return [dict(message) for message in pair.request]


def _said(text: str) -> Row:
    return {"role": "assistant", "content": text}
