"""The gate that came in: what it makes of the drafts, and the same gate with its probabilities put right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from conscience.calibration import SUREST, Settings, Stage
from conscience.flow import drive
from conscience.optimizers.drafts import Labelled
from conscience.optimizers.ridge import Array, Rows, Score, crossfit, folds, newton, sigmoid
from conscience.optimizers.workbench import Workbench, most_calls
from conscience.program import Conscience

FOLDS = 8
LEVEL = 1e-6
"""A spread of log-odds below which a gate says the same of every draft."""


def log_odds(program: Conscience, drafts: Sequence[Labelled], bench: Workbench) -> Array | None:
    """The log-odds that a program's gate gives each draft, 0 where it has none; None where the budget does not reach."""
    backend = program.roles.backend("review")

    def one(labelled: Labelled) -> float:
        verdict = drive(program.review.gate.flow(labelled.draft, backend, bench.account("review")))
        p = 0.5 if verdict.probability is None else min(max(verdict.probability, 1e-6), 1 - 1e-6)
        return float(np.log(p / (1 - p)))

    calls = most_calls(program).gate
    if not bench.affords(calls * len(drafts)):
        return None
    found = bench.each(drafts, one, most_calls=calls)
    return None if len(found) < len(drafts) else np.array([0.0 if value is None else value for value in found])


def rescaled(odds: Array, labels: Array, importance: Array, keys: Sequence[str]) -> tuple[Array, float, float]:
    """The same log-odds, put right by a slope and a bias (Platt, 1999), each by a fit without its cluster; and those of
    all."""

    def fit(rows: Rows) -> Score:
        slope, bias = _fit(odds[rows], labels[rows], importance[rows])
        return lambda wanted: slope * odds[wanted] + bias

    held, _ = crossfit(partial(fit), labels, folds(keys, FOLDS, 0))
    return held, *_fit(odds, labels, importance)


def with_scale(settings: Settings, slope: float, bias: float) -> Settings:
    """A gate whose log-odds are ``slope`` times what they were, plus ``bias``; its bands of doubt move along."""

    def moved(probability: float) -> float:
        p = min(max(probability, 1e-6), 1 - 1e-6)
        odds = slope * np.log(p / (1 - p)) + bias
        return round(float(sigmoid(np.clip(np.array(odds), -SUREST, SUREST))), 6)

    stages = tuple(
        Stage(
            signals=stage.signals,
            weights={name: float(f"{slope * weight:.6g}") for name, weight in stage.weights.items()},
            bias=float(f"{slope * stage.bias + bias:.6g}"),
            doubt=None if stage.doubt is None else (moved(stage.doubt[0]), moved(stage.doubt[1])),
        )
        for stage in settings.stages
    )
    return settings.model_copy(update={"stages": stages})


def _fit(odds: Array, labels: Array, importance: Array) -> tuple[float, float]:
    spread = odds.std() if odds.std() > LEVEL else 1.0
    solution = newton((odds / spread)[:, None], labels, np.ones((1, 1)), np.full(1, 0.5), importance)
    return float(solution[0] / spread), float(solution[1])
