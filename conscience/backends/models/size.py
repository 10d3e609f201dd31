"""How large a model is, as far as its name or its file says."""

from __future__ import annotations

import re

from conscience.backends.embedded.catalogue import LOCAL, SMOLLM2, is_local, weights_named
from conscience.backends.embedded.weights import weights_of
from conscience.errors import ConfigurationError

SMALL = 4.0
"""Billions of parameters. Below, a model is not asked to write what is wrong with an answer unless a compilation found that
it pays: of 0.5 and 1.5 billion, it repeats the principles or finds nothing."""

_COUNT = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")
"""``0.5b``, ``270m``, ``8x7b``; not the active parameters of ``30b-a3b``, nor ``4bit``."""

_LEAST_MILLIONS = 10
"""A name with less says how much the model reads (``…-1m``), not how large it is."""

_LEAST_BYTES = 0.5
"""What a parameter takes in a file, at four bits, the fewest that are usual."""


def billions(model: str) -> float | None:
    """Parameters by a model's name, in billions; None where it does not say. Of several counts the largest one holds.

    Args:
        model: a name of LiteLLM's, or one of the embedded engine's.
    """
    name = SMOLLM2.name if model == LOCAL else model.replace("\\", "/").rpartition("/")[2]
    counts = [(int(times or 1) * float(count), unit) for times, count, unit in _COUNT.findall(name.lower())]
    sizes = [count if unit == "b" else count / 1000 for count, unit in counts if unit == "b" or count >= _LEAST_MILLIONS]
    return max(sizes, default=None)


def is_small(model: str) -> bool:
    """Whether a model is known to have less than ``SMALL``: by its name, or by the size of its file on this machine."""
    size = billions(model)
    if size is None and is_local(model):
        size = _file_bytes(model) / 1e9 / _LEAST_BYTES
    return size is not None and size < SMALL


def _file_bytes(model: str) -> float:
    """Infinite where the weights are not on this machine."""
    try:
        return weights_of(weights_named(model)).path().stat().st_size
    except (ConfigurationError, OSError):
        return float("inf")
