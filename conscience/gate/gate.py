"""The gate: signals → calibrated probability → pass or flag. One token a question where the model shows logprobs; one
request for all of them where it is a decision model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import dspy

from conscience._base.flow import Flow, run_concurrently, run_sequentially
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.errors import ConscienceError, ReviewError
from conscience.gate.asking import ask, ask_candidates
from conscience.gate.decisions import ask_decisions, requests_for
from conscience.gate.distribution import DistributionProbe
from conscience.gate.probes import EmbeddingProbe, LexicalProbe, exchange_texts
from conscience.gate.questions import Question, log_odds, verbalised_log_odds
from conscience.gate.rules import RulesQuestion
from conscience.gate.settings import Calibration, GateSettings, Signal, sigmoid
from conscience.gate.windows import Unjudged, most_doubtful, windows
from conscience.messages.completion import Completion
from conscience.outcome import Draft, Verdict

Method = Literal["logprobs", "verbalised", "decision", "probes"]
"""How a signal's value is come by: read from a token's log-probabilities, written by the model, a decision model's own
probability, or without a model."""

NEITHER = "the answer was neither Yes nor No"
NO_CANDIDATES = "there are no log-probabilities to read"
NOT_CONTINUED = "this model does not go on with an answer that was begun"


class Gate(dspy.Module):  # type: ignore[misc]
    """Scores a draft by its signals, stage by stage, until the probability is decisive.

    Args:
        settings: the signals, weights and threshold to start from.
    """

    __getattribute__ = object.__getattribute__  # see Generate

    def __init__(self, settings: GateSettings) -> None:
        super().__init__()
        self.calibration = Calibration(settings)

    def score(self, draft: Draft, model: BoundBackend, covering: RulesQuestion | None = None) -> Flow[Verdict]:
        """The verdict of the gate alone; on a long draft, that on the most doubtful of the whole and its windows.
        ``probability`` is None where a question that counts got no usable answer.

        Args:
            draft: what is judged.
            model: what is asked.
            covering: asked about what the cascade passes, see ``GateSettings.coverage_threshold``.

        Raises:
            BackendError: the model could not be asked.
            BudgetExceeded: the budget is spent.
        """
        whole = yield from self._score(draft, model, covering)
        if not (parts := windows_for(self.calibration.settings.signals, draft)):
            return whole
        makers = [partial(self._attempted, part, model, covering) for part in parts]
        read = yield from (run_concurrently if model.supports("parallel") else run_sequentially)(makers)
        return most_doubtful(whole, read)

    def parts_judged(self, draft: Draft, verdict: Verdict) -> list[Draft]:
        """What a verdict is about: windows of the draft, or the draft."""
        parts = windows_for(self.calibration.settings.signals, draft) if verdict.parts else []
        return [parts[number - 1] for number in verdict.parts] or [draft]

    def _attempted(self, draft: Draft, model: BoundBackend, covering: RulesQuestion | None) -> Flow[Verdict | Unjudged]:
        """The verdict on a window, or why there is none: another may be flagged all the same."""
        try:
            return (yield from self._score(draft, model, covering))
        except ConscienceError as error:
            return Unjudged(error)

    def _score(self, draft: Draft, model: BoundBackend, covering: RulesQuestion | None) -> Flow[Verdict]:
        settings = self.calibration.settings
        values: dict[str, float] = {}
        principles: dict[str, float] = {}
        notes: list[str] = []
        methods: set[Method] = set()
        probability: float | None = None
        readings: dict[str, SignalReading] = {}
        along = [*settings.signals, *([] if covering is None else [covering])]
        for stage in settings.stages:
            missing = [signal for signal in stage.signals if signal.name not in readings]
            readings |= yield from read_signals(missing, draft, model, along=along)
            for signal in stage.signals:
                reading = readings[signal.name]
                methods.add(reading.method)
                principles |= reading.principles
                if reading.value is None:
                    notes.append(f"{signal.name}: {reading.missing}")
                else:
                    values[signal.name] = reading.value
            if any(name not in values for name, weight in stage.weights.items() if weight):
                probability = None
                break
            probability = stage.probability(values)
            if stage.is_decisive(probability):
                break
        if "verbalised" in methods:
            notes.append("no log-probabilities from this model: scores are written ones, which are coarser")
        flagged = probability is not None and probability >= settings.threshold
        verdict = Verdict(
            flagged=flagged,
            gated=flagged,
            probability=probability,
            threshold=settings.threshold,
            signals=values,
            principles=principles,
            method=next(m for m in ("verbalised", "decision", "logprobs", "probes") if m in methods),
            notes=tuple(notes),
        )
        if covering is None or flagged or probability is None:
            return verdict
        if covering.name not in readings:
            readings |= yield from read_signals([covering], draft, model)
        return self._covered(verdict, covering, readings[covering.name])

    def _covered(self, verdict: Verdict, covering: RulesQuestion, reading: SignalReading) -> Verdict:
        """The cascade's verdict, with what was answered about the principles."""
        if reading.value is None:
            notes = (*verdict.notes, f"{covering.name}: {NEITHER}")
            return replace(verdict, principles=reading.principles, probability=None, notes=notes)
        signals = {**verdict.signals, covering.name: reading.value}
        covered = replace(verdict, principles=reading.principles, signals=signals)
        probability = sigmoid(reading.value)
        if probability < self.calibration.settings.coverage_threshold:
            return covered
        return replace(covered, flagged=True, gated=True, probability=max(verdict.probability or 0.0, probability))


@dataclass(frozen=True)
class SignalReading:
    """One signal of one draft.

    Attributes:
        value: log-odds in nats; None where a question was answered neither Yes nor No, or a distribution is not shown.
        method: how it was come by.
        principles: principle id → the probability that it is broken, where the signal asks about each.
        missing: why there may be no value.
    """

    value: float | None
    method: Method
    principles: Mapping[str, float] = field(default_factory=dict)
    missing: str = NEITHER


def read_signals(
    signals: Sequence[Signal],
    draft: Draft,
    model: BoundBackend,
    *,
    along: Sequence[Signal] = (),
    in_turn: bool = False,
) -> Flow[dict[str, SignalReading]]:
    """Signal name → its reading: at once where the model bears it, and all questions as one where it is a decision model.

    Args:
        along: what may be needed later: a decision model is asked the questions among them in the same request, if it has
            to be asked at all.
        in_turn: one after the other even where the model bears more, for callers that have several drafts under way; but
            not where each question waits for a batch.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
        ReviewError: an embedding has another length than its probe, or a kept answer cannot be read.
    """
    if model.decides and any(map(_is_question, signals)):
        questions = {signal.name: signal for signal in (*along, *signals) if _is_question(signal)}
        answers = yield from ask_decisions(list(questions.values()), draft, model)  # type: ignore[arg-type]
        decided = {name: SignalReading(a.log_odds, "decision", a.principles) for name, a in answers.items()}
        rest = [signal for signal in signals if signal.name not in decided]
        return {**decided, **(yield from read_signals(rest, draft, model, in_turn=in_turn))}
    makers = [partial(_read_signal, signal, draft, model) for signal in signals]
    at_once = model.supports("parallel") and (model.waits or not in_turn)
    readings = yield from (run_concurrently(makers) if at_once else run_sequentially(makers))
    return {signal.name: reading for signal, reading in zip(signals, readings, strict=True)}


def calls_to_read(signals: Sequence[Signal], backend: Backend) -> int:
    """The most calls that it takes to read the signals: one each, or one for all questions."""
    if not backend.decides:
        return len(signals)
    questions = [signal for signal in signals if isinstance(signal, Question | RulesQuestion)]
    return requests_for(questions) + len(signals) - len(questions)


def windows_for(signals: Sequence[Signal], draft: Draft) -> list[Draft]:
    """The windows in which signals read a draft; none where it is short."""
    embedded = any(isinstance(signal, EmbeddingProbe) for signal in signals)
    return windows(draft, embedded=embedded, apart=any(getattr(signal, "about", "") == "reasoning" for signal in signals))


def _is_question(signal: Signal) -> bool:
    return isinstance(signal, Question | RulesQuestion)


def _read_signal(signal: Signal, draft: Draft, model: BoundBackend) -> Flow[SignalReading]:
    if isinstance(signal, LexicalProbe):
        return SignalReading(signal.value(draft), "probes")
    if isinstance(signal, EmbeddingProbe):
        vectors = yield from model.embed(signal.model, exchange_texts(draft, signal.wordings))
        try:
            return SignalReading(signal.value(vectors), "probes")
        except ValueError as error:
            raise ReviewError(str(error), hint="recalibrate the program for this embedding model") from None
    if not isinstance(signal, RulesQuestion):
        part = signal.part(draft)
        if part is None:
            return SignalReading(0.0, "probes")
        draft = part
    if isinstance(signal, DistributionProbe):
        if signal.begin and not model.supports("begun_answers"):
            return SignalReading(None, "logprobs", missing=NOT_CONTINUED)
        answer = yield from ask_candidates(model, signal.messages(draft), signal.candidates)
        value = None if answer is None else signal.value(answer.first_token)
        return SignalReading(value, "logprobs", missing=NO_CANDIDATES)
    completion = yield from ask(model, lambda written: signal.messages(draft, written=written))
    reading = _reading(signal, completion)
    if reading.value is None and reading.method == "logprobs" and model.thinks and not completion.fallback:
        model.refused("logprobs", certain=True)  # what is neither Yes nor No was a thought without a mark
        yield model.reject(completion)
        completion = yield from ask(model, lambda written: signal.messages(draft, written=written))
        reading = _reading(signal, completion)
    if reading.value is None:
        yield model.reject(completion)
    return reading


def _reading(signal: Question | RulesQuestion, completion: Completion) -> SignalReading:
    if not completion.first_token:
        return SignalReading(verbalised_log_odds(completion), "verbalised")
    if isinstance(signal, RulesQuestion):
        answer = signal.read(completion.first_token)
        return SignalReading(answer.log_odds, "logprobs", answer.principles)
    return SignalReading(log_odds(completion.first_token), "logprobs")
