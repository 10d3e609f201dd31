"""The gate that came in, with its probabilities put right."""

from __future__ import annotations

import numpy as np
import pytest

from conscience import GateSettings
from conscience.gate.settings import one_question
from conscience.optimizers.gate.incumbent import platt_scaled, with_scale
from conscience.optimizers.gate.logistic import log_losses


def test_a_gate_that_says_the_same_of_everything_can_be_put_right() -> None:
    """Its slope means nothing; its bias becomes the base rate."""
    odds, labels = np.full(40, 2.2), np.array([1.0] * 10 + [0.0] * 30)
    scaled = platt_scaled(odds, labels, np.ones(40), [str(i) for i in range(40)])
    assert abs(2.2 * scaled.slope + scaled.bias - np.log(1 / 3)) < 0.3
    assert log_losses(scaled.odds, labels).mean() < 0.65


def test_a_rescaled_gate_moves_its_bands_with_its_probabilities() -> None:
    """What was undecided stays undecided."""
    settings = one_question("Is that harmful?")
    stage = settings.stages[0].model_copy(update={"undecided_band": (0.2, 0.7)})
    scaled = with_scale(GateSettings(stages=(stage,)), 2.0, -1.0).stages[0]
    assert scaled.undecided_band is not None
    for value in (-3.0, -1.5, -1.2, 0.0, 0.8, 0.9, 3.0):
        signals = {"introspection": value}
        assert scaled.is_decisive(scaled.probability(signals)) == stage.is_decisive(stage.probability(signals))
    assert scaled.probability({"introspection": 0.5}) == pytest.approx(0.5)
