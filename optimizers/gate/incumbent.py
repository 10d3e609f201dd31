"""The gate that came in: what it makes of the drafts, and the same gate with its probabilities put right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from conscience._base.flow import run_sync
from conscience.gate.settings import SUREST, CascadeStage, GateSettings
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.gate.logistic import Array, Indices, Score, cross_val_predict, group_folds, newton, sigmoid
from conscience.optimizers.runtime import Runtime, most_calls
from conscience.program import Conscience

FOLDS = 8
LEVEL = 1e-6
"""A spread of log-odds below which a gate says the same of every draft."""


def log_odds(program: Conscience, drafts: Sequence[LabeledDraft], runtime: Runtime) -> Array | None:
    """The log-odds that a program's gate gives each draft, 0 where it has none; None where the budget does not reach."""

    def one(labeled: LabeledDraft) -> float:
        verdict = run_sync(program.review.gate.score(labeled.draft, runtime.bind(program, "review")))
        p = 0.5 if verdict.probability is None else min(max(verdict.probability, 1e-6), 1 - 1e-6)
        return float(np.log(p / (1 - p)))

    calls = most_calls(program).gate
    if not runtime.affords(calls * len(drafts)):
        return None
    found = runtime.each(drafts, one, most_calls=calls)
    return None if len(found) < len(drafts) else np.array([0.0 if value is None else value for value in found])


def platt_scaled(odds: Array, labels: Array, sample_weight: Array, keys: Sequence[str]) -> tuple[Array, float, float]:
    """The same log-odds, put right by a slope and a bias (Platt, 1999), each by a fit without its cluster; and those of
    all."""

    def fit(rows: Indices) -> Score:
        slope, bias = _fit(odds[rows], labels[rows], sample_weight[rows])
        return lambda wanted: slope * odds[wanted] + bias

    held, _ = cross_val_predict(partial(fit), labels, group_folds(keys, FOLDS, 0))
    return held, *_fit(odds, labels, sample_weight)


def with_scale(settings: GateSettings, slope: float, bias: float) -> GateSettings:
    """A gate whose log-odds are ``slope`` times what they were, plus ``bias``; its bands of doubt move along."""

    def moved(probability: float) -> float:
        p = min(max(probability, 1e-6), 1 - 1e-6)
        odds = slope * np.log(p / (1 - p)) + bias
        return round(float(sigmoid(np.clip(np.array(odds), -SUREST, SUREST))), 6)

    stages = tuple(
        CascadeStage(
            signals=stage.signals,
            weights={name: float(f"{slope * weight:.6g}") for name, weight in stage.weights.items()},
            bias=float(f"{slope * stage.bias + bias:.6g}"),
            undecided_band=None
            if stage.undecided_band is None
            else (moved(stage.undecided_band[0]), moved(stage.undecided_band[1])),
        )
        for stage in settings.stages
    )
    return settings.model_copy(update={"stages": stages})


def _fit(odds: Array, labels: Array, sample_weight: Array) -> tuple[float, float]:
    spread = odds.std() if odds.std() > LEVEL else 1.0
    solution = newton((odds / spread)[:, None], labels, np.ones((1, 1)), np.full(1, 0.5), sample_weight)
    return float(solution[0] / spread), float(solution[1])
