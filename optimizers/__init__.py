"""Compiles programs: searches questions, weights, thresholds, prompts and demos on labelled cases, and keeps what wins.

Imports as ``conscience.optimizers``:

    from conscience.optimizers import SelfCorrection

    compiled = SelfCorrection(target_fpr=0.05).compile(program, trainset=cases)
    compiled.save("program.json")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "SelfCorrection": "self_correction",
    "examples_of": "data.dspy_examples",
    "metric": "data.dspy_examples",
    "recalibrated": "recalibration",
}

__all__ = ["SelfCorrection", "examples_of", "metric", "recalibrated"]

if TYPE_CHECKING:
    from conscience.optimizers.data.dspy_examples import examples_of as examples_of
    from conscience.optimizers.data.dspy_examples import metric as metric
    from conscience.optimizers.recalibration import recalibrated as recalibrated
    from conscience.optimizers.self_correction import SelfCorrection as SelfCorrection


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
