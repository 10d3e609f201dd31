"""What a call costs by LiteLLM's table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from conscience.backends.models.table import Entry, Route
from conscience.errors import ConfigurationError
from conscience.usage import is_amount

_TIERS = {"flex": "_flex", "priority": "_priority", "fast": "_priority", "balanced": "_balanced", "ultrafast": "_ultrafast"}

BATCH = "batch"
"""The tier of requests that come in a batch file; where the table has no price for it, half of the plain one."""

RATES = ("input_cost_per_token", "output_cost_per_token")
"""Dollars, by LiteLLM's names."""


@dataclass(frozen=True)
class TokenPrices:
    """A model's prices as its user gives them, in dollars a token; a cached token costs as much as any other."""

    input: float
    output: float

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self | None:
        """From a model's options; None where they name no price.

        Raises:
            ConfigurationError: one of the two is missing, or is not a finite number of 0 or more.
        """
        given = {name: options[name] for name in RATES if options.get(name) is not None}
        for name, value in given.items():
            if not is_amount(value):
                raise ConfigurationError(f"{name}={value!r} is not a finite number of dollars of 0 or more")
        if len(given) == 1:
            missing = next(name for name in RATES if name not in given)
            raise ConfigurationError(f"{next(iter(given))} comes without {missing}", hint="give both, 0 where it is free")
        return cls(*(float(given[name]) for name in RATES)) if given else None

    @property
    def options(self) -> dict[str, float]:
        """The options that ``of`` makes the same of."""
        return dict(zip(RATES, (self.input, self.output), strict=True))

    def dollars(self, usage: Mapping[str, Any] | None) -> float:
        """The price of a usage in OpenAI's form."""
        return _count(usage, "prompt_tokens") * self.input + _count(usage, "completion_tokens") * self.output


def is_priced(entry: Entry | None) -> bool:
    """Whether a row of LiteLLM's table says what the model costs, be it nothing."""
    return entry is not None and any(
        re.match("(input|output)_cost_per_", key) and isinstance(value, int | float) for key, value in entry.items()
    )


def no_price(model: str) -> ConfigurationError:
    """The error where dollars are limited, and nobody knows what a model costs."""
    hint = f"give Backend(…, {'=…, '.join(RATES)}=…), 0 where it is free, or limit calls or tokens instead"
    return ConfigurationError(f"{model} has no price, so a limit of dollars would not hold", hint=hint)


def price(to: Route, usage: Mapping[str, Any], tier: Any = None) -> float | None:
    """Dollars for a usage in OpenAI's form, as LiteLLM computes them; None where the table names no price.

    Args:
        tier: the service tier that the provider says it served.
    """
    if to.entry is None:
        return None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    details = usage.get("prompt_tokens_details")
    cached = min(_count(details, "cached_tokens"), prompt) if isinstance(details, Mapping) else 0
    suffix = _TIERS.get(tier.lower(), "") if isinstance(tier, str) else ""
    above = _above(to, prompt)
    if tier == BATCH:
        return _batch_price(to.entry, above, prompt, cached, completion)

    def rate(name: str) -> float | None:
        for key in (f"{name}{above}{suffix}", f"{name}{above}", f"{name}{suffix}", name):
            value = to.entry.get(key) if to.entry is not None else None
            if isinstance(value, int | float):
                return float(value)
        return None

    fresh, written = rate("input_cost_per_token") or 0.0, rate("output_cost_per_token") or 0.0
    reused = rate("cache_read_input_token_cost")
    if reused is None:
        reused = fresh / 2 if to.provider == "fireworks_ai" else fresh
    cost = (prompt - cached) * fresh + cached * reused + completion * written
    if cost == 0 and is_priced(to.entry) and not any(to.entry.get(name) for name in RATES):
        return 0.0  # the table says that it is free
    return cost if 0 < cost < float("inf") else None


def _batch_price(entry: Entry, above: str, prompt: int, cached: int, completion: int) -> float | None:
    def rate(name: str) -> float | None:
        for key, share in ((f"{name}{above}_batches", 1.0), (f"{name}_batches", 1.0), (f"{name}{above}", 0.5), (name, 0.5)):
            if isinstance(value := entry.get(key), int | float):
                return value * share
        return None

    fresh, written = rate("input_cost_per_token"), rate("output_cost_per_token")
    reused = entry.get("cache_read_input_token_cost_batches")  # without one, nobody says that discounts add up
    if fresh is None and written is None:
        return None
    fresh = fresh or 0.0
    return (prompt - cached) * fresh + cached * (fresh if reused is None else reused) + completion * (written or 0.0)


def _above(to: Route, prompt: int) -> str:
    """The part of a price's name for prompts of this length: "" or such as "_above_200k_tokens"."""
    reached = ""
    highest = -1
    for key in to.entry or ():
        if found := re.fullmatch(r"input_cost_per_token(_above_(\d+)(k?)_tokens)", key):
            limit = int(found[2]) * (1000 if found[3] else 1)
            if highest < limit and (prompt > limit or (to.provider == "xai" and prompt == limit)):
                reached, highest = found[1], limit
    return reached


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and value > 0 else 0
