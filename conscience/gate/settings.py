"""The gate's parameters: which signals, in which order, with which weights, and the threshold.

A calibration is a cascade of stages, cheapest first. A stage adds its signals, and a logistic over all signals so far
gives the probability; when that lies outside the stage's undecided band, the dearer stages are not asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from dspy.predict.parameter import Parameter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from conscience.constitution.schema import Constitution
from conscience.errors import ConfigurationError
from conscience.gate.distribution import DistributionProbe
from conscience.gate.probes import EmbeddingProbe, LexicalProbe
from conscience.gate.questions import Question
from conscience.gate.rules import RulesQuestion

Signal = Annotated[Question | RulesQuestion | DistributionProbe | LexicalProbe | EmbeddingProbe, Field(discriminator="kind")]
"""One number about a draft: asked of a model, or read from its answer's candidates, its words or its embedding."""

MAX_GATE_LOG_ODDS = 13.8
"""Nats. A probability stays a millionth away from 0 and 1."""

CritiqueMode = Literal["votes", "explains", "chooses", "off"]


class CascadeStage(BaseModel):
    """One step of the cascade.

    Attributes:
        signals: what is asked at this stage, at once.
        weights: signal name → weight in the logistic, for the signals of this and earlier stages.
        bias: the logistic's constant.
        undecided_band: (low, high): within it the next stage is asked; None at the last stage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    signals: tuple[Signal, ...] = Field(min_length=1)
    weights: Mapping[str, float]
    bias: float = Field(default=0.0, allow_inf_nan=False)
    undecided_band: tuple[float, float] | None = None

    def probability(self, values: Mapping[str, float]) -> float:
        """The logistic over the signals' values, never quite 0 or 1: a threshold fits above any of them."""
        log_odds = self.bias + sum(weight * values[name] for name, weight in self.weights.items() if weight)
        return sigmoid(max(-MAX_GATE_LOG_ODDS, min(MAX_GATE_LOG_ODDS, log_odds)))

    def is_decisive(self, probability: float) -> bool:
        """Whether the later stages need not be asked at this probability."""
        return self.undecided_band is None or not self.undecided_band[0] <= probability <= self.undecided_band[1]


class GateSettings(BaseModel):
    """All that a compiler may change about a gate, in one frozen piece.

    Attributes:
        stages: the cascade.
        threshold: the probability from which the gate flags, 0 to 1.
        critique: "votes": gate and critique must agree before a draft is touched; "explains": the critique only says
            what to change; "chooses": nothing is written, the likeliest principle is the finding; "off".
        override_threshold: from this probability on the critique only explains, even where it votes: it decides the drafts
            between the threshold and this.
        coverage_threshold: where no signal names the principles, they are asked about in one more question, which flags
            what the cascade passed from this probability on; 1 asks no such question.
        backend: the model that it was calibrated for; empty for the defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: tuple[CascadeStage, ...] = Field(min_length=1)
    threshold: float = Field(default=0.5, ge=0, le=1)
    critique: CritiqueMode = "votes"
    override_threshold: float = Field(default=1.0, ge=0, le=1)
    coverage_threshold: float = Field(default=1.0, ge=0, le=1)
    backend: str = ""

    def probability(self, values: Mapping[str, float]) -> float:
        """What the cascade makes of known signals: the probability of the first stage that is decisive."""
        for stage in self.stages:
            probability = stage.probability(values)
            if stage.is_decisive(probability):
                break
        return probability

    def with_threshold(self, threshold: float | None) -> GateSettings:
        """The gate with this threshold; as it is where that is None.

        Raises:
            ConfigurationError: it is no number from 0 to 1.
        """
        if threshold is None:
            return self
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise ConfigurationError(
                f"threshold={threshold!r} is not a number from 0 to 1", hint="from there on the gate flags"
            )
        return self.model_copy(update={"threshold": float(threshold)})

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Those of all stages, in order; one that several stages weigh is there as often."""
        return tuple(signal for stage in self.stages for signal in stage.signals)

    @property
    def names_the_principles(self) -> bool:
        """Whether a signal asks about each principle."""
        return any(isinstance(signal, RulesQuestion) for signal in self.signals)

    @model_validator(mode="after")
    def _consistent(self) -> GateSettings:
        known: set[str] = set()
        for stage in self.stages:
            for signal in stage.signals:
                if signal.name in known:
                    raise ValueError(f"signal {signal.name!r} is asked twice")
                known.add(signal.name)
            for name, weight in stage.weights.items():
                if name not in known:
                    raise ValueError(f"weight for {name!r}, which no stage has asked by then")
                if not math.isfinite(weight):
                    raise ValueError(f"weight for {name!r} is not a finite number")
        return self


class Calibration(Parameter):  # type: ignore[misc]
    """The gate's parameters as DSPy keeps them: saved, loaded, copied and reset with the program."""

    def __init__(self, default: GateSettings) -> None:
        self._default = default
        self.settings = default

    def reset(self) -> None:
        """Back to what the gate was built with."""
        self.settings = self._default

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        return self.settings.model_dump(mode="json")

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.settings = GateSettings.model_validate(dict(state))

    def __repr__(self) -> str:
        names = [signal.name for signal in self.settings.signals]
        return f"Calibration({', '.join(names)}; threshold={self.settings.threshold:.3g})"


def one_question(text: str) -> GateSettings:
    """One question in the own framing, taken at its word (weight 1, bias 0, threshold one half)."""
    return _taken_at_its_word(Question(name="introspection", text=text))


def ask_by(constitution: Constitution) -> GateSettings:
    """The uncompiled gate: the constitution's question and principles asked as one, taken at its word."""
    return _taken_at_its_word(RulesQuestion.of(constitution, "introspection"))


def _taken_at_its_word(question: Question | RulesQuestion) -> GateSettings:
    return GateSettings(stages=(CascadeStage(signals=(question,), weights={question.name: 1.0}),))


def sigmoid(value: float) -> float:
    """1/(1+e^-value), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))
