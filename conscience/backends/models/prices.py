"""What a call costs by LiteLLM's table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from conscience.backends.models.table import Route

_TIERS = {"flex": "_flex", "priority": "_priority", "fast": "_priority", "balanced": "_balanced", "ultrafast": "_ultrafast"}


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
    return cost if 0 < cost < float("inf") else None


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
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0
