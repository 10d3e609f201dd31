"""A module's predictors, without DSPy's walk through its history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dspy


def predictors(module: dspy.Module) -> list[dspy.Predict]:
    """``module.predictors()``, at the same cost however often the module was called.

    DSPy's own walk tries every entry of every list that it finds, and a module keeps its calls in one, up to 10,000.
    """
    found: dict[int, dspy.Predict] = {}
    _look(module, found)
    return list(found.values())


def _look(module: dspy.Module, found: dict[int, dspy.Predict]) -> None:
    if isinstance(module, dspy.Predict):
        found.setdefault(id(module), module)
    elif type(module).named_parameters is not dspy.Module.named_parameters:  # it has a say of its own
        found.update((id(predictor), predictor) for predictor in module.predictors())
    else:
        for part in (part for name, value in vars(module).items() if name != "history" for part in _parts(value)):
            if isinstance(part, dspy.Module) and (isinstance(part, dspy.Predict) or not getattr(part, "_compiled", False)):
                _look(part, found)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)
