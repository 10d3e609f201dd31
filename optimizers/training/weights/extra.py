"""The packages of the extra ``train``, imported when they are needed and not before: torch alone takes seconds."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conscience.errors import ConfigurationError

PACKAGES = ("torch", "transformers", "peft", "gguf", "safetensors", "xllamacpp")
"""torch computes losses, the engine (xllamacpp) writes the answers that are judged."""


def check_installed() -> None:
    """Finds out whether training is possible, without importing anything.

    Raises:
        ConfigurationError: a package is missing; names the command that brings it.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigurationError(
            f"training needs {', '.join(missing)}, not installed here", hint="run: pip install 'dspy-conscience[train]'"
        )


def torch() -> Any:
    return _imported("torch")


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside, torch gives the same result for the same work, where it can; outside it does as it did."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's own condition, read when it starts
    module = torch()
    before = module.are_deterministic_algorithms_enabled(), module.is_deterministic_algorithms_warn_only_enabled()
    module.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        module.use_deterministic_algorithms(before[0], warn_only=before[1])


def transformers() -> Any:
    """transformers, which asks no network for anything, and draws no bars over ours."""
    module = _imported("transformers")
    module.utils.logging.disable_progress_bar()
    module.utils.logging.set_verbosity_error()
    return module


def peft() -> Any:
    return _imported("peft")


def gguf() -> Any:
    return _imported("gguf")


def safetensors() -> Any:
    """The part of safetensors that reads and writes torch's tensors: a format that runs nothing when it is read."""
    return _imported("safetensors.torch")


def _imported(name: str) -> Any:
    check_installed()
    return importlib.import_module(name)
