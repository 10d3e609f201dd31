"""Recalibration: a compiled program carried over to another backend, by refitting weights and threshold alone.

The questions, prompts and probes stay. What changes between models is how freely they say Yes, and which of the questions
makes them tell: that takes far fewer labels than choosing the questions did, from about 16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from dspy.teleprompt import Teleprompter

from conscience.artifacts.schema import Provenance
from conscience.artifacts.scores import ScoreSummary
from conscience.errors import ConfigurationError
from conscience.evals.executor import ExecutorSpec
from conscience.evals.oracles.grade import Oracle
from conscience.gate.distribution import DistributionProbe
from conscience.gate.settings import GateSettings, Signal
from conscience.optimizers.data.dspy_examples import cases_of
from conscience.optimizers.data.labeled_drafts import LabeledDraft, collect, divided
from conscience.optimizers.feasibility import check_kinds
from conscience.optimizers.figures import BackendMatrix, Json, Reached, Spent, Threshold
from conscience.optimizers.gate.cascade import Cascade
from conscience.optimizers.gate.compiler import check_enough, summarized, with_alarms
from conscience.optimizers.gate.estimators import FittedEstimator
from conscience.optimizers.gate.logistic import Array, Blend, Indices, Score, cross_val_predict, group_folds, sigmoid
from conscience.optimizers.gate.readings import ReadDraft
from conscience.optimizers.gate.threshold import (
    certified,
    check_target,
    estimated,
    hold_out_for_threshold,
    without_idle_alarms,
)
from conscience.optimizers.runtime import THREADS, Runtime, Watch, calls_of_program, check_student, runtime_for
from conscience.optimizers.stages.coverage import coverage_threshold
from conscience.program import Conscience
from conscience.stats.metrics import auroc
from conscience.usage import Budget

FOLDS = 8
FAINT = 1e-3
"""In place of a weight of 0, so that a signal that told the old model nothing may tell the new one something."""

SignalValues = Mapping[str, float]
"""Signal → its value for one draft."""


@dataclass(frozen=True)
class RecalibrationResult:
    """What a recalibration came to: ``recalibrated.compile_result``.

    Attributes:
        settings: the gate for the new backend.
        before: what the old weights and threshold reach on the new backend.
        after: what the new ones reach, each draft judged by a fit without it.
        threshold: where the new threshold comes from.
        drafts: those that a value of every signal was had for.
        spent: what it cost, an earlier interrupted part included.
        scores: what the new gate makes of the drafts; None without an aligned one.
    """

    settings: GateSettings
    before: Reached
    after: Reached
    threshold: Threshold
    drafts: tuple[LabeledDraft, ...]
    spent: Spent
    scores: ScoreSummary | None

    def __deepcopy__(self, memo: Any) -> Self:
        """Nothing in it changes, so a copy of the program shares it."""
        return self

    def to_json(self) -> Json:
        """Its figures."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "threshold": self.threshold.to_json(),
        }


class Recalibration(Teleprompter):  # type: ignore[misc]
    """A DSPy optimizer that fits a compiled program to the models that it is loaded for.

    The program that comes back has the new gate beside those that it had, and ``compile_result``: a
    ``RecalibrationResult``, whose figures are saved with the program.

    Args:
        target_fpr: the highest share of aligned drafts that the gate may flag.
        oracle: decides whether a response is acceptable, in place of each case's own oracle.
        budget: the most that may be spent in all: calls, tokens, seconds, dollars.
        seed: of the drafts that are set aside for the threshold.
        threads: cases under way at once, in each process that does them.
        folder: keeps the journal of every answer; the same call in the same folder goes on where it stopped.
        watch: is told the progress.
        executor: where the cases are done: "local", "ray", or an ``Executor``.
        runtime: of a larger undertaking; it takes the place of budget, threads, folder, watch and executor.

    Raises:
        ConfigurationError: an option does not exist, or a package that it needs is not installed.
    """

    def __init__(
        self,
        *,
        target_fpr: float = 0.05,
        oracle: Oracle | None = None,
        budget: Budget | Mapping[str, float] | None = None,
        seed: int = 0,
        threads: int = THREADS,
        folder: Path | str | None = None,
        watch: Watch | None = None,
        executor: ExecutorSpec = "local",
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__()
        check_target(target_fpr)
        self.target_fpr, self.oracle, self.seed = target_fpr, oracle, seed
        self._means = (runtime, folder, Budget.of(budget), threads, watch, executor)

    def compile(
        self, student: Conscience, *, trainset: Sequence[Any], teacher: Any = None, valset: Sequence[Any] | None = None
    ) -> Conscience:
        """The program with its gate refitted for its models; the student itself is left as it is.

        Args:
            student: compiled for another backend, loaded for the new one.
            trainset: cases with labels or oracles, or examples; those without a response are answered by the new backend.
            teacher: not used; DSPy's own combinations of optimizers pass it.
            valset: likewise.

        Returns:
            With ``compile_result``.

        Raises:
            InputError: the cases cannot be used, or are too few.
            BackendError: a backend is gone; with a folder, the same call goes on where it was.
            Interrupted: by Ctrl-C; as above.
        """
        check_student(student)
        _check_readable(student)
        cases = cases_of(trainset, student)
        check_kinds(cases, writes=False)
        with runtime_for(*self._means) as runtime:
            program = runtime.own(student)
            runtime.stage("drafts")
            answered = collect(program, cases, runtime, runtime.judge(self.oracle))
            reaching, flagged = divided(answered, program)
            check_enough(_labels(reaching), _pairs(reaching), flagged=len(flagged))
            drafts, values = signal_values(program, reaching, runtime)
            backend = program.roles.backend("review").name
            settings, threshold, after, scores = _refitted(
                student.gate_settings,
                drafts,
                values,
                flagged=flagged,
                backend=backend,
                target_fpr=self.target_fpr,
                seed=self.seed,
            )
            if student.gate_settings.coverage_threshold < 1:
                covering = {"coverage_threshold": coverage_threshold(program, drafts, runtime)}
                settings = settings.model_copy(update=covering)
            before = reached_by(student.gate_settings, drafts, values)
            result = RecalibrationResult(settings, before, after, threshold, tuple(drafts), runtime.costs, scores)
        return _with_gate_beside(student, result)

    def compare(self, student: Conscience, recalibrated: Conscience, old: Conscience | None = None) -> BackendMatrix:
        """Old and new backend, before and after.

        Args:
            student: the program that came in.
            recalibrated: what ``compile`` made of it.
            old: the program on the backend that it was compiled for, to be measured on the same drafts; without it, the
                figure that was recorded at the time is shown.
        """
        result: RecalibrationResult = recalibrated.compile_result
        old_settings = student.gate_settings
        name = old_settings.backend or "old"
        backends: dict[str, Mapping[str, Reached]] = {
            result.settings.backend: {"before": result.before, "after": result.after}
        }
        if old is not None:
            with runtime_for(*self._means) as runtime:
                drafts, values = signal_values(runtime.own(old), result.drafts, runtime)
            measured = {
                "before": reached_by(old_settings, drafts, values),
                "after": reached_by(result.settings, drafts, values),
            }
            backends[name] = {**backends.get(name, {}), **measured}
        elif student.provenance is not None:
            gate = student.provenance.figures.get("gate")
            recorded = gate.get("cross_validated_auroc") if isinstance(gate, Mapping) else None
            backends[name] = {"before": Reached(recorded if isinstance(recorded, float) else None)}
        return BackendMatrix(backends, result.threshold)


def _check_readable(student: Conscience) -> None:
    """Refuses to carry over to a model what it does not show, before anything is asked.

    Raises:
        ConfigurationError: the gate reads the candidates for a token, and the reviewing model shows none, or does not go on
            with the answers that the gate begins.
    """
    reviewer = student.roles.backend("review")
    read = [signal for signal in _signals(student.gate_settings) if isinstance(signal, DistributionProbe)]
    hint = "compile the program for this model: conscience compile"
    if read and (reviewer.decides or not reviewer.supports("logprobs")):
        raise ConfigurationError(
            f"the gate reads log-probabilities of whole answers, and {reviewer.name} shows none", hint=hint
        )
    if any(signal.begin for signal in read) and not reviewer.supports("begun_answers"):
        raise ConfigurationError(
            f"the gate begins answers for the model to go on with, and {reviewer.name} does not do that", hint=hint
        )


def _with_gate_beside(student: Conscience, result: RecalibrationResult) -> Conscience:
    """A copy of a program with the new gate, and the gates that it had for other backends."""
    recalibrated = student.with_gate(result.settings)
    gates = (*student.calibrations, student.gate_settings)
    others = {gate.backend: gate for gate in gates if gate.backend != result.settings.backend}
    recalibrated.calibrations = tuple(others.values())
    provenance = student.provenance or Provenance()
    figures = {**provenance.figures, f"recalibrated for {result.settings.backend}": result.to_json()}
    scores = {**provenance.scores, **({result.settings.backend: result.scores} if result.scores else {})}
    recalibrated.provenance = provenance.model_copy(update={"figures": figures, "scores": scores})
    recalibrated.compile_result = result
    return recalibrated


def _refitted(
    settings: GateSettings,
    drafts: Sequence[LabeledDraft],
    values: Sequence[SignalValues],
    *,
    flagged: Sequence[LabeledDraft],
    backend: str,
    target_fpr: float,
    seed: int,
) -> tuple[GateSettings, Threshold, Reached, ScoreSummary | None]:
    """A gate of the same signals with other weights and another threshold; where that comes from, what it reaches, and what
    it makes of the drafts.

    Args:
        flagged: drafts that no gate sees, see ``divided``.

    Raises:
        InputError: too few labels, as the signals of some drafts could not be read.
    """
    labels = _labels(drafts)
    clusters = _pairs(drafts)
    check_enough(labels, clusters, flagged=len(flagged))
    signals = _signals(settings)
    weights = [settings.stages[-1].weights.get(signal.name, 0.0) or FAINT for signal in signals]
    # In units of what each was worth: where the new model agrees with the old one, all slopes are the same.
    scores = np.array([[weight * of[s.name] for s, weight in zip(signals, weights, strict=True)] for of in values])
    outside = {draft.case.id for draft in hold_out_for_threshold([*drafts, *flagged], target_fpr, seed)}
    learn = np.array([i for i, draft in enumerate(drafts) if draft.case.id not in outside], dtype=int)
    aligned = labels[learn] == 0
    cost_tiers = [number for number, stage in enumerate(settings.stages) for _ in stage.signals]
    cascade = Cascade(scores[learn], labels[learn], np.ones(len(learn)), cost_tiers)
    held_out = sigmoid(_held_out(scores[learn], labels[learn], [clusters[i] for i in learn]))
    aligned_scores, counted = with_alarms(
        list(map(float, held_out[aligned])),
        [drafts[i] for i in learn[aligned]],
        [draft for draft in flagged if draft.case.id not in outside],
    )
    threshold = estimated(aligned_scores, target_fpr, pairs=_pairs(counted), weights=_weights(counted))
    cascade.set_bands(threshold.value)
    calibrating = [i for i, draft in enumerate(drafts) if draft.case.id in outside and not draft.misaligned]
    if calibrating:
        set_aside = list(map(float, cascade.probabilities(scores[calibrating])[0]))
        alarms = [draft for draft in flagged if draft.case.id in outside]
        aligned_scores, counted = with_alarms(set_aside, [drafts[i] for i in calibrating], alarms)
        threshold = certified(aligned_scores, target_fpr, pairs=_pairs(counted), weights=_weights(counted))
    threshold = without_idle_alarms(threshold, aligned_scores, list(map(float, held_out[~aligned])))
    fitted = [FittedEstimator(_no_score, ((signal, weight),)) for signal, weight in zip(signals, weights, strict=True)]
    value, override = min(1.0, threshold.value), settings.override_threshold
    changes = {
        "stages": cascade.stages(fitted),
        "threshold": value,
        "override_threshold": 1.0 if override == 1.0 else max(override, value),
        "backend": backend,
    }
    scored = [(drafts[i], float(score)) for i, score in zip(learn, held_out, strict=True)]
    after = reached([score for _, score in scored], [draft for draft, _ in scored], value)
    scored += zip((drafts[i] for i in calibrating), aligned_scores[: len(calibrating)], strict=True)
    scored += [(draft, 1.0) for draft in flagged]
    summary = summarized(scored, value, target_fpr=target_fpr, certified=threshold.certified)
    return settings.model_copy(update=changes), threshold, after, summary


def _pairs(drafts: Sequence[LabeledDraft]) -> list[str]:
    return [draft.cluster for draft in drafts]


def _weights(drafts: Sequence[LabeledDraft]) -> list[float]:
    return [draft.case.weight for draft in drafts]


def signal_values(
    program: Conscience, drafts: Sequence[LabeledDraft], runtime: Runtime
) -> tuple[list[LabeledDraft], list[SignalValues]]:
    """Every signal of a program's gate for each draft; drafts for which one could not be had are left out."""
    runtime.stage("questions")
    signals = _signals(program.gate_settings)

    calls = calls_of_program(program).gate
    results = runtime.each([labeled.draft for labeled in drafts], ReadDraft(program, signals), most_calls=calls)
    kept: list[tuple[LabeledDraft, SignalValues]] = []
    for labeled, reading in zip(drafts, results, strict=False):
        if reading is not None and None not in reading.values:
            values = {signal.name: value for signal, value in zip(signals, reading.values, strict=True) if value is not None}
            kept.append((labeled, values))
    return [draft for draft, _ in kept], [values for _, values in kept]


def reached_by(settings: GateSettings, drafts: Sequence[LabeledDraft], values: Sequence[SignalValues]) -> Reached:
    """What a gate reaches, by the values of its signals."""
    return reached([settings.probability(of_draft) for of_draft in values], drafts, settings.threshold)


def reached(scores: Sequence[float], drafts: Sequence[LabeledDraft], threshold: float) -> Reached:
    """AUROC, recall and false positive rate of some scores, each draft by its case's weight."""
    of_kind = {
        kind: [(s, d.case.weight) for s, d in zip(scores, drafts, strict=True) if d.misaligned is kind]
        for kind in (True, False)
    }

    def share_flagged(of: Sequence[tuple[float, float]]) -> float | None:
        return math.fsum(w for s, w in of if s >= threshold) / math.fsum(w for _, w in of) if of else None

    (positives, their_weights), (negatives, other_weights) = (
        ([s for s, _ in of_kind[kind]], [w for _, w in of_kind[kind]]) for kind in (True, False)
    )
    area = auroc(positives, negatives, (their_weights, other_weights))
    return Reached(area, share_flagged(of_kind[True]), share_flagged(of_kind[False]), len(scores))


def _signals(settings: GateSettings) -> list[Signal]:
    return list(settings.signals)


def _labels(drafts: Sequence[LabeledDraft]) -> Array:
    return np.array([float(draft.misaligned) for draft in drafts])


def _held_out(scores: Array, labels: Array, groups: Sequence[str]) -> Array:
    """The log-odds of each draft by a blend that was fitted without it and its pair."""

    def fit(indices: Indices) -> Score:
        blend = Blend.fit(scores[indices], labels[indices], np.ones(len(indices)))
        return lambda wanted: blend.score(scores[wanted])

    return cross_val_predict(fit, labels, group_folds(groups, FOLDS, 0))[0]


def _no_score(indices: Indices) -> Array:
    raise AssertionError("a signal that is carried over is not fitted")
