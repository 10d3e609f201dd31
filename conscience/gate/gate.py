"""The gate: signals → calibrated probability → pass or flag. One token a question where the model shows logprobs."""

from __future__ import annotations

from functools import partial
from typing import Literal

import dspy

from conscience._base.flow import Flow, run_concurrently, run_sequentially
from conscience.backends.bound import BoundBackend
from conscience.errors import ReviewError
from conscience.gate.asking import first_token, written_answer
from conscience.gate.probes import EmbeddingProbe, LexicalProbe, exchange_texts
from conscience.gate.questions import WRITTEN_SCORE, Question, log_odds, verbalised_log_odds
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
        notes: list[str] = []
        methods: set[Method] = set()
        probability: float | None = None
        for stage in settings.stages:
            answers = yield from _stage_values(stage, draft, model)
            methods |= {method for _, method in answers.values()}
            notes += [f"{name}: the answer was neither Yes nor No" for name, (value, _) in answers.items() if value is None]
            values |= {name: value for name, (value, _) in answers.items() if value is not None}
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
            method=next(m for m in ("verbalised", "logprobs", "probes") if m in methods),
            notes=tuple(notes),
        )


def _stage_values(stage: CascadeStage, draft: Draft, model: BoundBackend) -> Flow[dict[str, tuple[float | None, Method]]]:
    """Signal name → its value and how it was come by, of all signals of a stage: at once where the model bears it."""
    makers = [partial(signal_value, signal, draft, model) for signal in stage.signals]
    answers = yield from (run_concurrently(makers) if model.supports("parallel") else run_sequentially(makers))
    return {signal.name: answer for signal, answer in zip(stage.signals, answers, strict=True)}


def signal_value(signal: Signal, draft: Draft, model: BoundBackend) -> Flow[tuple[float | None, Method]]:
    """One signal's value (None where a question's answer is neither Yes nor No), and how it was come by."""
    if isinstance(signal, LexicalProbe):
        return signal.value(draft), "probes"
    if isinstance(signal, EmbeddingProbe):
        vectors = yield from model.embed(signal.model, exchange_texts(draft, signal.wordings))
        try:
            return signal.value(vectors), "probes"
        except ValueError as error:
            raise ReviewError(str(error), hint="recalibrate the program for this embedding model") from None
    return (yield from _ask(signal, draft, model))


def _ask(question: Question, draft: Draft, model: BoundBackend) -> Flow[tuple[float | None, Method]]:
    completion = yield from first_token(model, question.messages(draft))
    if completion is not None:
        return log_odds(completion.first_token), "logprobs"
    answer = yield from written_answer(model, question.messages(draft, tail=WRITTEN_SCORE))
    return verbalised_log_odds(answer), "verbalised"
