"""Compiles programs: searches questions, weights, thresholds, prompts and demos on labelled cases, and keeps what wins.

Imports as ``conscience.optimizers``:

    from conscience.optimizers import SelfCorrection

    compiled = SelfCorrection(target_fpr=0.05).compile(program, trainset=cases)
    compiled.save("program.json")
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from conscience._base.exports import exported

_HOME = {
    "CompileResult": "compilation",
    "PairSet": "training.making",
    "PreferencePair": "training.pairs",
    "PreferenceTraining": "training.rounds.preference_training",
    "Recalibration": "recalibration",
    "RecalibrationResult": "recalibration",
    "SelfCorrection": "self_correction",
    "TrainingSettings": "training.weights.settings",
    "examples_of": "data.dspy_examples",
    "make_pairs": "training.making",
    "metric": "data.dspy_examples",
    "read_pairs": "training.pairs",
    "write_pairs": "training.pairs",
}

__all__ = [
    "CompileResult",
    "PairSet",
    "PreferencePair",
    "PreferenceTraining",
    "Recalibration",
    "RecalibrationResult",
    "SelfCorrection",
    "TrainingSettings",
    "examples_of",
    "make_pairs",
    "metric",
    "read_pairs",
    "write_pairs",
]

if TYPE_CHECKING:
    from conscience.optimizers.compilation import CompileResult as CompileResult
    from conscience.optimizers.data.dspy_examples import examples_of as examples_of
    from conscience.optimizers.data.dspy_examples import metric as metric
    from conscience.optimizers.recalibration import Recalibration as Recalibration
    from conscience.optimizers.recalibration import RecalibrationResult as RecalibrationResult
    from conscience.optimizers.self_correction import SelfCorrection as SelfCorrection
    from conscience.optimizers.training.making import PairSet as PairSet
    from conscience.optimizers.training.making import make_pairs as make_pairs
    from conscience.optimizers.training.pairs import PreferencePair as PreferencePair
    from conscience.optimizers.training.pairs import read_pairs as read_pairs
    from conscience.optimizers.training.pairs import write_pairs as write_pairs
    from conscience.optimizers.training.rounds.preference_training import PreferenceTraining as PreferenceTraining
    from conscience.optimizers.training.weights.settings import TrainingSettings as TrainingSettings


if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for an export
    __getattr__ = partial(exported, __name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
