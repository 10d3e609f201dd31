"""Recalibration: a compiled program carried over to another backend, by refitting weights and threshold alone.

The questions, prompts and probes stay. What changes between models is how freely they say Yes, and which of the questions
makes them tell: that takes far fewer labels than finding the questions did, from about 16.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conscience._base.flow import run_sync
from conscience.artifacts.schema import Provenance
from conscience.cases.case import Case
from conscience.evals.oracles import Oracle
from conscience.gate.gate import signal_value
from conscience.gate.settings import GateSettings
from conscience.optimizers.data.labeled_drafts import LabeledDraft, collect
from conscience.optimizers.gate.cascade import Cascade
from conscience.optimizers.gate.compiler import check_enough
from conscience.optimizers.gate.estimators import FittedEstimator
from conscience.optimizers.gate.logistic import Array, Blend, Indices, Score, cross_val_predict, group_folds, sigmoid
from conscience.optimizers.gate.threshold import Threshold, certified, estimated, hold_out_for_threshold, without_idle_alarms
from conscience.optimizers.runtime import Runtime
from conscience.program import Conscience
from conscience.stats.metrics import auroc

FOLDS = 8
FAINT = 1e-3
"""In place of a weight of 0, so that a signal that told the old model nothing may tell the new one something."""


@dataclass(frozen=True)
class Reached:
    """What a gate reaches on some drafts.

    Attributes:
        auroc: None with labels of one kind.
        recall, fpr: at its threshold; None without drafts of that kind.
        n: drafts.
    """

    auroc: float | None
    recall: float | None
    fpr: float | None
    n: int


@dataclass(frozen=True)
class Recalibrated:
    """A gate for another backend.

    Attributes:
        settings: the gate.
        before: what the old weights and threshold reach on the new backend.
        after: what the new ones reach, each draft judged by a fit without it.
        threshold: where the new threshold comes from.
        values: signal → value, of each draft, by the new backend.
        drafts: these drafts.
    """

    settings: GateSettings
    before: Reached
    after: Reached
    threshold: Threshold
    values: tuple[Mapping[str, float], ...]
    drafts: tuple[LabeledDraft, ...]


def recalibrate(
    program: Conscience,
    cases: Sequence[Case],
    runtime: Runtime,
    *,
    target_fpr: float,
    oracle: Oracle | None = None,
    seed: int = 0,
) -> Recalibrated:
    """Refits a program's gate for the models of a bench.

    Args:
        program: compiled for another backend; its models are the runtime's now.
        cases: with labels or oracles; those without a response are answered by the new backend first.
        bench: pays.
        target_fpr: the highest false positive rate wanted.
        oracle: decides in place of each case's own.
        seed: of the drafts set aside for the threshold.

    Raises:
        InputError: too few labels.
    """
    runtime.stage("drafts")
    oracle = runtime.judge(oracle)
    answered = collect(program, cases, runtime, oracle)
    settings = program.gate_settings
    drafts, values = signals_of(program, answered, runtime)
    labels = np.array([float(draft.misaligned) for draft in drafts])
    keys = [draft.cluster for draft in drafts]
    check_enough(labels, keys)
    signals = [signal for stage in settings.stages for signal in stage.signals]
    weights = [settings.stages[-1].weights.get(signal.name, 0.0) or FAINT for signal in signals]
    # In units of what each was worth: where the new model agrees with the old one, all slopes are the same.
    worth = np.array([[weight * row[s.name] for s, weight in zip(signals, weights, strict=True)] for row in values])
    held_out = {draft.case.id for draft in hold_out_for_threshold(drafts, target_fpr, seed)}
    learn = np.array([i for i, draft in enumerate(drafts) if draft.case.id not in held_out], dtype=int)
    ones = np.ones(len(learn))
    classes = [number for number, stage in enumerate(settings.stages) for _ in stage.signals]
    cascade = Cascade(worth[learn], labels[learn], ones, classes)
    held = sigmoid(_held(worth[learn], labels[learn], [keys[i] for i in learn]))
    good = labels[learn] == 0
    threshold = estimated(list(held[good]), target_fpr, pairs=[keys[i] for i in learn[good]])
    cascade.set_bands(threshold.value)
    aligned = list(map(float, held[good]))
    calibrating = [i for i, draft in enumerate(drafts) if draft.case.id in held_out and not draft.misaligned]
    if calibrating:
        aligned = list(map(float, cascade.probabilities(worth[calibrating])[0]))
        threshold = certified(aligned, target_fpr, pairs=[keys[i] for i in calibrating])
    threshold = without_idle_alarms(threshold, aligned, list(map(float, held[~good])))
    reads = [FittedEstimator(_no_score, ((signal, weight),)) for signal, weight in zip(signals, weights, strict=True)]
    changed = {
        "stages": cascade.stages(reads),
        "threshold": min(1.0, threshold.value),
        "override_threshold": 1.0
        if settings.override_threshold == 1.0
        else max(settings.override_threshold, min(1.0, threshold.value)),
        "backend": program.roles.backend("review").name,
    }
    new = settings.model_copy(update=changed)
    return Recalibrated(
        settings=new,
        before=reached([settings.probability(row) for row in values], labels, settings.threshold),
        after=reached(list(held), labels[learn], new.threshold),
        threshold=threshold,
        values=tuple(values),
        drafts=tuple(drafts),
    )


def recalibrated(
    program: Conscience,
    cases: Sequence[Case],
    runtime: Runtime,
    *,
    target_fpr: float,
    oracle: Oracle | None = None,
    seed: int = 0,
) -> tuple[Conscience, Recalibrated]:
    """A program with a gate refitted for its own models, beside the gates that it had; and what was found.

    Args:
        program: loaded for the new backend.
        cases, bench, target_fpr, oracle, seed: see ``recalibrate``.
    """
    found = recalibrate(runtime.own(program), cases, runtime, target_fpr=target_fpr, oracle=oracle, seed=seed)
    new = copy.deepcopy(program)
    new.review.gate_settings = found.settings
    old = program.gate_settings
    kept = [other for other in (*program.calibrations, old) if other.backend != found.settings.backend]
    new.calibrations = tuple({other.backend: other for other in kept}.values())
    figures = {"before": vars(found.before), "after": vars(found.after), "threshold": vars(found.threshold)}
    told = program.provenance or Provenance()
    new.provenance = told.model_copy(
        update={"figures": {**told.figures, f"recalibrated for {found.settings.backend}": _rounded(figures)}}
    )
    return new, found


def matrix(program: Conscience, found: Recalibrated, old: Conscience | None, runtime: Runtime) -> dict[str, Any]:
    """Old and new backend × before and after, as JSON types.

    Args:
        program: as it was before, on the new backend.
        found: the recalibration.
        old: the same on the old backend, to be measured on the same drafts; None shows what was recorded when it was
            compiled.
        bench: pays for that.
    """
    before = program.gate_settings
    rows: dict[str, Any] = {found.settings.backend: {"before": vars(found.before), "after": vars(found.after)}}
    if old is not None:
        mine = runtime.own(old)
        drafts, values = signals_of(mine, found.drafts, runtime)
        labels = np.array([float(draft.misaligned) for draft in drafts])
        for name, settings in (("before", before), ("after", found.settings)):
            scores = [settings.probability(row) for row in values]
            rows.setdefault(before.backend or "old", {})[name] = vars(reached(scores, labels, settings.threshold))
    elif program.provenance is not None:
        gate = program.provenance.figures.get("gate")
        recorded = gate.get("cross_validated_auroc") if isinstance(gate, dict) else None
        rows[before.backend or "old"] = {"before": {"auroc": recorded, "as recorded when it was compiled": True}}
    return {"backends": _rounded(rows), "threshold": _rounded(vars(found.threshold))}


def _rounded(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {name: _rounded(one) for name, one in entry.items()}
    return round(entry, 4) if isinstance(entry, float) else entry


def signals_of(
    program: Conscience, drafts: Sequence[LabeledDraft], runtime: Runtime
) -> tuple[list[LabeledDraft], list[dict[str, float]]]:
    """Every signal of a program's gate for each draft; drafts for which one could not be had are left out."""
    runtime.stage("questions")
    signals = [signal for stage in program.gate_settings.stages for signal in stage.signals]

    def one(labeled: LabeledDraft) -> dict[str, float] | None:
        found: dict[str, float] = {}
        for signal in signals:
            value, _ = run_sync(signal_value(signal, labeled.draft, runtime.bind(program, "review")))
            if value is None:
                return None
            found[signal.name] = value
        return found

    done = runtime.each(drafts, one, most_calls=len(signals))
    kept = [(draft, values) for draft, values in zip(drafts, done, strict=False) if values is not None]
    return [draft for draft, _ in kept], [values for _, values in kept]


def reached(scores: Sequence[float], labels: Array, threshold: float) -> Reached:
    """AUROC, recall and false positive rate of some scores."""
    bad = [score for score, label in zip(scores, labels, strict=True) if label]
    good = [score for score, label in zip(scores, labels, strict=True) if not label]

    def share(some: Sequence[float]) -> float | None:
        return sum(score >= threshold for score in some) / len(some) if some else None

    return Reached(auroc(bad, good), share(bad), share(good), len(scores))


def _held(worth: Array, labels: Array, keys: Sequence[str]) -> Array:
    def fit(rows: Indices) -> Score:
        blend = Blend.fit(worth[rows], labels[rows], np.ones(len(rows)))
        return lambda wanted: blend.score(worth[wanted])

    return cross_val_predict(fit, labels, group_folds(keys, FOLDS, 0))[0]


def _no_score(rows: Indices) -> Array:
    raise AssertionError("a signal that is carried over has no reader")
