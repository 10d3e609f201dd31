"""The gate that came in: what it makes of the drafts, and the same gate with its probabilities put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conscience.gate.settings import MAX_GATE_LOG_ODDS, CascadeStage, GateSettings
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.gate.logistic import (
    Array,
    Indices,
    Score,
    cross_val_predict,
    group_folds,
    log_odds_of,
    newton,
    sigmoid,
    six_digits,
)
from conscience.optimizers.gate.readings import GateProbability
from conscience.optimizers.runtime import Runtime, calls_of_program
from conscience.program import Conscience

FOLDS = 8
LEVEL = 1e-6
"""A spread of log-odds below which a gate says the same of every draft."""
EDGE = 1e-6
"""How far a probability is kept from 0 and 1."""


def log_odds(program: Conscience, drafts: Sequence[LabeledDraft], runtime: Runtime) -> Array | None:
    """The log-odds that a program's gate gives each draft, 0 where it has none; None where the budget does not reach."""

    calls = calls_of_program(program).gate
    if not runtime.affords(calls * len(drafts)):
        return None
    found = runtime.each([labeled.draft for labeled in drafts], GateProbability(program), most_calls=calls)
    return None if len(found) < len(drafts) else np.array([_odds(0.5 if p is None else p) for p in found])


@dataclass(frozen=True)
class PlattScaled:
    """Log-odds put right by a slope and a bias (Platt, 1999).

    Attributes:
        odds: of each draft, by a slope and a bias that were fitted without its cluster.
        slope, bias: fitted on all drafts.
    """

    odds: Array
    slope: float
    bias: float


def platt_scaled(odds: Array, labels: Array, sample_weight: Array, groups: Sequence[str]) -> PlattScaled:
    """Puts log-odds right.

    Args:
        odds, labels, sample_weight: of each draft.
        groups: drafts of one group are held out together.
    """

    def fit(indices: Indices) -> Score:
        slope, bias = _slope_and_bias(odds[indices], labels[indices], sample_weight[indices])
        return lambda wanted: slope * odds[wanted] + bias

    held_out, _ = cross_val_predict(fit, labels, group_folds(groups, FOLDS, 0))
    return PlattScaled(held_out, *_slope_and_bias(odds, labels, sample_weight))


def with_scale(settings: GateSettings, slope: float, bias: float) -> GateSettings:
    """A gate whose log-odds are ``slope`` times what they were, plus ``bias``; its undecided bands move along."""

    def moved(probability: float) -> float:
        odds = slope * _odds(probability) + bias
        return round(float(sigmoid(np.clip(np.array(odds), -MAX_GATE_LOG_ODDS, MAX_GATE_LOG_ODDS))), 6)

    stages = tuple(
        CascadeStage(
            signals=stage.signals,
            weights={name: six_digits(slope * weight) for name, weight in stage.weights.items()},
            bias=six_digits(slope * stage.bias + bias),
            undecided_band=None
            if stage.undecided_band is None
            else (moved(stage.undecided_band[0]), moved(stage.undecided_band[1])),
        )
        for stage in settings.stages
    )
    return settings.model_copy(update={"stages": stages})


def _odds(probability: float) -> float:
    return float(log_odds_of(np.array(min(max(probability, EDGE), 1 - EDGE))))


def _slope_and_bias(odds: Array, labels: Array, sample_weight: Array) -> tuple[float, float]:
    spread = odds.std() if odds.std() > LEVEL else 1.0
    solution = newton((odds / spread)[:, None], labels, np.ones((1, 1)), np.full(1, 0.5), sample_weight)
    return float(solution[0] / spread), float(solution[1])
