"""What a fine-tuning costs, before anything is uploaded: tokens × epochs × the price of training."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from conscience.errors import ConfigurationError

DATED = {
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
}
"""Model → the dated one that is trained: a job names it so."""

PRICES = {
    "gpt-4.1-2025-04-14": 25.0,
    "gpt-4.1-mini-2025-04-14": 5.0,
    "gpt-4.1-nano-2025-04-14": 1.5,
    "gpt-4o-2024-08-06": 25.0,
    "gpt-4o-mini-2024-07-18": 3.0,
}
"""Dollars for a million trained tokens, as remembered of OpenAI's list of 2025, not checked since. LiteLLM's table has no
prices of training."""

EPOCHS = 3
EXAMPLES = (100, 25_000)
MOST_EPOCHS = 25
"""Three passes, as long as that makes between 100 and 25,000 examples in all; what OpenAI proposes where none is named."""

ENCODING = "o200k_base"
ENCODING_FILE = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""Comes with LiteLLM: nothing is fetched to count."""

BYTES_A_TOKEN = 3.0
"""Where there is no tokenizer; more tokens than there are, in most languages."""


def dated(model: str) -> str:
    """The name by which a job trains a model; of LiteLLM's name, what OpenAI calls it."""
    name = model.removeprefix("openai/")
    return DATED.get(name, name)


def price_of(model: str, given: float | None = None) -> float:
    """Dollars for a million trained tokens.

    Args:
        model: dated, or the result of an earlier job.
        given: what the user says.

    Raises:
        ConfigurationError: nobody says it.
    """
    if given is not None:
        return given
    base = model.split(":")[1] if model.startswith("ft:") else model
    if (known := PRICES.get(DATED.get(base, base))) is None:
        hint = f"say --price DOLLARS for a million trained tokens, or train one of {', '.join(DATED)}"
        raise ConfigurationError(f"it is not known what training {model} costs", hint=hint)
    return known


def default_epochs(examples: int) -> int:
    """Passes over the examples: see ``EPOCHS``."""
    fewest, most = EXAMPLES
    if EPOCHS * examples < fewest:
        return min(MOST_EPOCHS, fewest // examples)
    return max(1, most // examples) if EPOCHS * examples > most else EPOCHS


def count_tokens(text: str) -> int:
    """Tokens of a text, as OpenAI's models since gpt-4o count them; about, where the tokenizer is not at hand."""
    if (encoding := _encoding()) is not None:
        return len(encoding.encode_ordinary(text))
    return round(len(text.encode()) / BYTES_A_TOKEN)


@lru_cache(maxsize=1)
def _encoding() -> Any:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None or find_spec("tiktoken") is None:
        return None
    folder = Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"
    if not (folder / ENCODING_FILE).exists():
        return None
    import tiktoken

    name, before = "TIKTOKEN_CACHE_DIR", os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ[name] = str(folder)
    try:
        return tiktoken.get_encoding(ENCODING)
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def suffix_fault(suffix: str) -> str:
    """What is wrong with the part of a model's name that the user chooses; empty where nothing is."""
    if len(suffix) > 64:
        return "is longer than 64 characters"
    return "" if re.fullmatch(r"[A-Za-z0-9-]*", suffix) else "holds more than letters, digits and hyphens"
