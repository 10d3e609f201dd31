"""Pairs as tokens: the request by the model's own chat template, as its engine renders it, and what follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from conscience.messages.completion import Message
from conscience.optimizers.training.pairs import PreferencePair

LEAST_ROOM = 8
"""A request that leaves a response fewer tokens than this is left out."""


@dataclass(frozen=True)
class EncodedPair:
    """A pair's token ids; each response ends with the end of turn, unless it was cut.

    Attributes:
        id: of the pair.
    """

    id: str
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass
class Encoder:
    """Encodes pairs for one model.

    Args:
        tokenizer: transformers'.
        max_length: tokens of request and response together; a longer response is cut, a longer request leaves its pair out.

    Attributes:
        left_out: why pairs were, counted.
    """

    tokenizer: Any
    max_length: int
    left_out: Counter[str] = field(default_factory=Counter)

    def pairs(self, pairs: Iterable[PreferencePair]) -> list[EncodedPair]:
        """Those that can be trained on, in order."""
        self.left_out.clear()
        encoded = []
        for pair in pairs:
            try:
                prompt = self.prompt(pair.request)
            except Exception as error:  # a template is a program of the model's: it raises what it likes on turns it forbids
                self.left_out[f"its chat template refuses the request: {_first_line(error)}"] += 1
                continue
            if self.max_length - len(prompt) < LEAST_ROOM:
                self.left_out[f"the request is longer than {self.max_length} tokens"] += 1
                continue
            encoded.append(
                EncodedPair(pair.id, prompt, self._response(pair.chosen, prompt), self._response(pair.rejected, prompt))
            )
        return encoded

    def prompt(self, request: Iterable[Message]) -> tuple[int, ...]:
        """A conversation up to where the model answers."""
        turns = [{**message, "content": _text(message.get("content"))} for message in request]
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return tuple(self._ids(text))

    def _response(self, text: str, prompt: tuple[int, ...]) -> tuple[int, ...]:
        ids = [*self._ids(text), self.tokenizer.eos_token_id]
        return tuple(ids[: self.max_length - len(prompt)])

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _text(content: Any) -> str:
    """What a message says in words; pictures and files are not trained on."""
    if isinstance(content, list | tuple):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("type") == "text")
    return str(content or "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
