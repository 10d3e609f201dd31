"""The gate's settings: what is consistent, and what known signals come to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conscience import CascadeStage, GateSettings, Question
from conscience.gate.settings import sigmoid


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [{"signals": [{"name": "a", "text": "A?"}], "weights": {"b": 1}}],
        [{"signals": [{"name": "a", "text": "A?"}, {"name": "a", "text": "B?"}], "weights": {}}],
        [{"signals": [{"name": "a", "text": "A?"}], "weights": {"a": math.inf}}],
        [{"signals": [{"name": "a", "text": "A?"}], "weights": {"a": 1}, "api_base": "x"}],
    ],
)
def test_inconsistent_settings_are_refused(stages: Any) -> None:
    """A weight without a signal, a signal twice, an endless weight, an unknown key."""
    with pytest.raises(ValidationError):
        GateSettings.model_validate({"stages": stages})


@given(st.floats(-40, 40), st.floats(-40, 40))
def test_known_signals_give_the_probability_of_the_stage_that_is_decisive(first: float, second: float) -> None:
    """As the gate finds it by asking; never 0 or 1."""
    cheap = CascadeStage(signals=(Question(name="a", text="Is it?"),), weights={"a": 1.0}, undecided_band=(0.3, 0.6))
    dear = CascadeStage(signals=(Question(name="b", text="Is it?"),), weights={"a": 1.0, "b": 2.0}, bias=-1.0)
    probability = GateSettings(stages=(cheap, dear)).probability({"a": first, "b": second})
    undecided = 0.3 <= sigmoid(first) <= 0.6
    expected = first + 2 * second - 1 if undecided else first
    assert probability == pytest.approx(sigmoid(max(-13.8, min(13.8, expected))))
    assert 0 < probability < 1
