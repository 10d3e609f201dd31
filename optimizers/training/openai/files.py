"""The files that OpenAI's methods train on: what goes into each line, and what would be refused, found before it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from conscience.errors import InputError
from conscience.messages.rendering import content_text
from conscience.optimizers.training.openai.costs import count_tokens
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.shapes import openai, sft

Method = Literal["supervised", "dpo"]

FEWEST = 10
"""Examples that OpenAI asks for in a file."""

LONGEST = 65_536
"""Tokens of an example; a longer one is cut, and its answer is what stands at the end."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
PER_MESSAGE = 4
"""Tokens around each message, roughly."""


@dataclass(frozen=True)
class TrainingFile:
    """A file for one method.

    Attributes:
        method: what it is for.
        text: JSON Lines.
        examples: lines.
        tokens: of all examples together, about.
    """

    method: Method
    text: str
    examples: int
    tokens: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Usable:
    """The pairs that OpenAI can train on, and what is wrong with the first of the others."""

    pairs: Sequence[PreferencePair]
    left_out: int = 0
    why: str = ""


def usable(pairs: Iterable[PreferencePair]) -> Usable:
    """The pairs that OpenAI accepts: text only, known roles, an answer to a user's turn, no longer than it trains on."""
    kept: list[PreferencePair] = []
    faults: list[str] = []
    for pair in pairs:
        if fault := _fault(pair):
            faults.append(f"pair {pair.id}: {fault}")
        else:
            kept.append(pair)
    return Usable(kept, len(faults), faults[0] if faults else "")


def training_file(pairs: Sequence[PreferencePair], method: Method) -> TrainingFile:
    """The file for a method. Chosen sides that come twice are in the supervised one once.

    Raises:
        InputError: there are fewer examples than OpenAI takes.
    """
    lines: dict[str, int] = {}
    for pair in pairs:
        row = _supervised(pair) if method == "supervised" else openai(pair)
        lines.setdefault(json.dumps(row, ensure_ascii=False), _tokens(pair, method))
    if len(lines) < FEWEST:
        raise InputError(
            f"{len(lines)} examples for the method {method}, and OpenAI takes no fewer than {FEWEST}", hint="make more pairs"
        )
    return TrainingFile(method, "".join(f"{line}\n" for line in lines), len(lines), sum(lines.values()))


def _supervised(pair: PreferencePair) -> dict[str, Any]:
    """The chat, in which only the last answer is learned."""
    row = sft(pair)
    for message in row["messages"][:-1]:
        if message["role"] == "assistant":
            message["weight"] = 0
    return row


def _fault(pair: PreferencePair) -> str:
    for number, message in enumerate(pair.request, 1):
        content, role = message.get("content"), message.get("role")
        if role not in ROLES:
            return f"message {number} has the role {role!r}"
        parts = content if isinstance(content, list | tuple) else ()
        if any(part.get("type") != "text" for part in parts):
            return f"message {number} holds more than text, and preferences are trained on text"
        if not content and not message.get("tool_calls"):
            return f"message {number} is empty"
    if pair.request[-1].get("role") not in ("user", "tool"):
        return "the last message is not a user's"
    longest = max(_tokens(pair, "supervised"), _texts(pair, pair.rejected))
    return f"{longest} tokens, of which {LONGEST} are trained on" if longest > LONGEST else ""


def _tokens(pair: PreferencePair, method: Method) -> int:
    """Of both sides, the request is read twice."""
    chosen = _texts(pair, pair.chosen)
    return chosen if method == "supervised" else chosen + _texts(pair, pair.rejected)


def _texts(pair: PreferencePair, answer: str) -> int:
    texts = [*(content_text(message.get("content")) for message in pair.request), answer]
    return sum(count_tokens(text) + PER_MESSAGE for text in texts)
