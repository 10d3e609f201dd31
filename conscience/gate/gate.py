"""The gate: signals → calibrated probability → pass or flag. One token a question where the model shows logprobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import dspy

from conscience._base.flow import Flow, run_concurrently, run_sequentially
from conscience.backends.bound import BoundBackend
from conscience.errors import ReviewError
from conscience.gate.asking import first_token, written_answer
from conscience.gate.probes import EmbeddingProbe, LexicalProbe, exchange_texts
from conscience.gate.questions import log_odds, verbalised_log_odds
from conscience.gate.rules import RulesQuestion
from conscience.gate.settings import Calibration, CascadeStage, GateSettings, Signal
from conscience.outcome import Draft, Verdict

Method = Literal["logprobs", "verbalised", "probes"]
"""How a signal's value is come by: read from a token's log-probabilities, written by the model, or without a model."""


class Gate(dspy.Module):  # type: ignore[misc]
    """Scores a draft by its signals, stage by stage, until the probability is decisive.

    Args:
        settings: the signals, weights and threshold to start from.
    """

    def __init__(self, settings: GateSettings) -> None:
        super().__init__()
        self.calibration = Calibration(settings)

    def score(self, draft: Draft, model: BoundBackend) -> Flow[Verdict]:
        """The verdict of the gate alone. ``probability`` is None where a question that counts got no usable answer.

        Raises:
            BackendError: the model could not be asked.
            BudgetExceeded: the budget is spent.
        """
        settings = self.calibration.settings
        values: dict[str, float] = {}
        principles: dict[str, float] = {}
        notes: list[str] = []
        methods: set[Method] = set()
        probability: float | None = None
        for stage in settings.stages:
            readings = yield from _stage_readings(stage, draft, model)
            for name, reading in readings.items():
                methods.add(reading.method)
                principles |= reading.principles
                if reading.value is None:
                    notes.append(f"{name}: the answer was neither Yes nor No")
                else:
                    values[name] = reading.value
            if any(name not in values for name, weight in stage.weights.items() if weight):
                probability = None
                break
            probability = stage.probability(values)
            if stage.is_decisive(probability):
                break
        if "verbalised" in methods:
            notes.append("no log-probabilities from this model: scores are written ones, which are coarser")
        flagged = probability is not None and probability >= settings.threshold
        return Verdict(
            flagged=flagged,
            gated=flagged,
            probability=probability,
            threshold=settings.threshold,
            signals=values,
            principles=principles,
            method=next(m for m in ("verbalised", "logprobs", "probes") if m in methods),
            notes=tuple(notes),
        )


@dataclass(frozen=True)
class SignalReading:
    """One signal of one draft.

    Attributes:
        value: log-odds in nats; None where a question was answered neither Yes nor No.
        method: how it was come by.
        principles: principle id → the probability that it is broken, where the signal asks about each.
    """

    value: float | None
    method: Method
    principles: Mapping[str, float] = field(default_factory=dict)


def _stage_readings(stage: CascadeStage, draft: Draft, model: BoundBackend) -> Flow[dict[str, SignalReading]]:
    """Signal name → its reading, of all signals of a stage: at once where the model bears it."""
    makers = [partial(read_signal, signal, draft, model) for signal in stage.signals]
    readings = yield from (run_concurrently(makers) if model.supports("parallel") else run_sequentially(makers))
    return {signal.name: reading for signal, reading in zip(stage.signals, readings, strict=True)}


def read_signal(signal: Signal, draft: Draft, model: BoundBackend) -> Flow[SignalReading]:
    """Asks or reads one signal.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
        ReviewError: an embedding has another length than its probe.
    """
    if isinstance(signal, LexicalProbe):
        return SignalReading(signal.value(draft), "probes")
    if isinstance(signal, EmbeddingProbe):
        vectors = yield from model.embed(signal.model, exchange_texts(draft, signal.wordings))
        try:
            return SignalReading(signal.value(vectors), "probes")
        except ValueError as error:
            raise ReviewError(str(error), hint="recalibrate the program for this embedding model") from None
    completion = yield from first_token(model, signal.messages(draft))
    if completion is not None and isinstance(signal, RulesQuestion):
        answer = signal.read(completion.first_token)
        return SignalReading(answer.log_odds, "logprobs", answer.principles)
    if completion is not None:
        return SignalReading(log_odds(completion.first_token), "logprobs")
    written = yield from written_answer(model, signal.messages(draft, written=True))
    return SignalReading(verbalised_log_odds(written), "verbalised")
