"""The gate compiler: which signals, with which weights, in which order.

Each estimator (words, embeddings, distributions, questions) is scored on drafts that it was not fitted on, and on groups
that it was not fitted on. All are blended, and one whose measured gain does not reach its price, beside that of the plain
call, is dropped. What is left is asked as a cascade.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np

from conscience.artifacts.scores import ScoreSummary
from conscience.errors import InputError
from conscience.gate.settings import CritiqueMode, GateSettings
from conscience.messages.rendering import request_text
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.figures import EstimatorFigures, Threshold
from conscience.optimizers.gate.cascade import Cascade
from conscience.optimizers.gate.distributions import estimators as distribution_estimators
from conscience.optimizers.gate.estimators import (
    EmbeddingsEstimator,
    Estimator,
    FittedEstimator,
    QuestionsEstimator,
    WordsEstimator,
)
from conscience.optimizers.gate.logistic import Array, Blend, Indices, Score, cross_val_predict, group_folds, log_losses
from conscience.optimizers.gate.question_bank import REASONED
from conscience.optimizers.gate.signal_matrix import CHARACTERS, SignalMatrix
from conscience.optimizers.gate.threshold import certified, estimated, without_idle_alarms
from conscience.stats.metrics import auroc

PRICE = 0.05
"""Nats of log loss that a signal must earn if it takes as much of every draft as the plain call did; a tenth for a tenth."""
WRITTEN = 4.0
"""What a token takes that is written, in tokens that are read: about what providers charge, and what two cores need."""
SHORT = 200.0
"""Tokens of an answer below which a call counts as one of so many: what it costs then is not the model's time."""
DOUBT = 1.5
"""Standard errors: a signal is dropped when its measured gain and so many of them do not reach its price. For one that takes
as much as the plain call there are none: a few dozen labels leave so much doubt that any price would be paid."""
OWN_WORTH = 3.0
"""What one draft of the program's own counts where there are others too: it is such drafts that the gate will meet."""
LEAST = 4
"""Labels of either kind below which nothing is fitted."""
FOLDS = 8
ROUNDS = 2
"""Of cross-fitting, with other folds; many drafts need but one."""
MANY = 300
"""Drafts from which one round of five folds is enough."""


@dataclass(frozen=True)
class CompiledGate:
    """A compiled gate and what is known of it.

    Attributes:
        settings: the cascade, with its threshold.
        threshold: where the threshold comes from.
        drafts: those it was fitted on, which all reach the gate.
        flagged: drafts that a check or a linter flags before it.
        probabilities: of these drafts, each by estimators that were fitted without it.
        sample_weight: what each of them counts.
        auroc: of these probabilities.
        alone: what each kind of signal reaches by itself.
        tokens: that the gate takes of an aligned draft, on average.
        shares: of the aligned drafts, how many each stage is asked of.
        scores: what is kept of the probabilities, those of the calibration set included; None without an aligned draft.
    """

    settings: GateSettings
    threshold: Threshold
    drafts: tuple[LabeledDraft, ...]
    flagged: tuple[LabeledDraft, ...]
    probabilities: tuple[float, ...]
    sample_weight: tuple[float, ...]
    auroc: float | None
    alone: tuple[EstimatorFigures, ...]
    tokens: float
    shares: tuple[float, ...]
    scores: ScoreSummary | None


def compile_gate(
    matrix: SignalMatrix,
    *,
    backend: str,
    target_fpr: float,
    calibration_set: Sequence[LabeledDraft] = (),
    most_questions: int = 4,
    words: bool = True,
    critique: CritiqueMode = "votes",
) -> CompiledGate:
    """Compiles a gate; deterministic.

    Args:
        matrix: what was measured, of the calibration set too.
        backend: the model that was asked.
        target_fpr: the highest false positive rate wanted.
        calibration_set: drafts that choose nothing but the threshold; without them it is estimated, not certified.
        most_questions: how many questions the gate may ask.
        words: whether it may read surface words.
        critique: the critique's part, see ``GateSettings``.

    Raises:
        InputError: too few labels of either kind.
    """
    outside = {draft.case.id for draft in calibration_set}
    learn = np.array([i for i, draft in enumerate(matrix.drafts) if draft.case.id not in outside], dtype=int)
    fits = _CrossFits(matrix, learn, most_questions, words)
    kept = fits.kept()
    fitted = [fits.fitted[estimator.name] for estimator in kept]
    held_out = np.stack([fits.held_out[estimator.name] for estimator in kept], axis=1)
    labels = fits.labels[learn]
    aligned = labels == 0
    cascade = Cascade(held_out, labels, fits.sample_weight[learn], [estimator.cost_tier for estimator in kept])

    def of_aligned(probabilities: Array) -> tuple[list[float], list[LabeledDraft]]:
        """The scores of the aligned drafts to learn from, and those drafts: what is flagged before the gate is an alarm."""
        scores, counted = _most_doubtful(probabilities[aligned], [matrix.drafts[i] for i in learn[aligned]])
        return with_alarms(scores, counted, [draft for draft in matrix.flagged if draft.case.id not in outside])

    def estimate() -> Threshold:
        scores, counted = of_aligned(cascade.probabilities(held_out)[0])
        pairs, weights = [draft.cluster for draft in counted], [draft.case.weight for draft in counted]
        return estimated(scores, target_fpr, pairs=pairs, weights=weights)

    cascade.set_bands(estimate().value)
    probabilities, steps_taken = cascade.probabilities(held_out)
    threshold = estimate()
    aligned_scores, _ = of_aligned(probabilities)
    scored = list(zip(*reversed(_most_doubtful(probabilities, [matrix.drafts[i] for i in learn])), strict=True))
    calibrating = [i for i, draft in enumerate(matrix.drafts) if draft.case.id in outside and not draft.misaligned]
    if calibrating:
        of_each = _scores(cascade, fitted, np.array(calibrating))
        scores, drafts = _most_doubtful(of_each, [matrix.drafts[i] for i in calibrating])
        scored += zip(drafts, scores, strict=True)
        alarms = [draft for draft in matrix.flagged if draft.case.id in outside]
        aligned_scores, drafts = with_alarms(scores, drafts, alarms)
        pairs, weights = [draft.cluster for draft in drafts], [draft.case.weight for draft in drafts]
        threshold = certified(aligned_scores, target_fpr, pairs=pairs, weights=weights)
    threshold = without_idle_alarms(threshold, aligned_scores, list(map(float, probabilities[~aligned])))
    whole = np.array([not matrix.drafts[i].window for i in learn])
    shares = [float((steps_taken[aligned & whole] >= number).mean()) for number in range(1, len(cascade.steps) + 1)]
    costs = [sum(kept[i].tokens for i in step.estimators) for step in cascade.steps]
    return CompiledGate(
        settings=GateSettings(
            stages=cascade.stages(fitted), threshold=min(1.0, threshold.value), critique=critique, backend=backend
        ),
        threshold=threshold,
        drafts=tuple(matrix.drafts[i] for i in learn[whole]),
        flagged=matrix.flagged,
        probabilities=tuple(map(float, probabilities[whole])),
        sample_weight=tuple(map(float, fits.sample_weight[learn[whole]])),
        auroc=auroc(list(probabilities[~aligned]), list(probabilities[aligned & whole])),
        alone=tuple(fits.figures(estimator, estimator in kept) for estimator in fits.estimators),
        tokens=sum(share * cost for share, cost in zip(shares, costs, strict=True)),
        shares=tuple(shares),
        scores=summarized(
            [*scored, *((draft, 1.0) for draft in matrix.flagged)],
            threshold.value,
            target_fpr=target_fpr,
            certified=threshold.certified,
        ),
    )


def summarized(
    scored: Sequence[tuple[LabeledDraft, float]], threshold: float, *, target_fpr: float, certified: bool = False
) -> ScoreSummary | None:
    """What a program keeps of its drafts' scores, to be compared with those to come."""
    return ScoreSummary.of(
        [score for _, score in scored],
        [draft.misaligned for draft, _ in scored],
        threshold=min(1.0, threshold),
        target_fpr=target_fpr,
        certified=certified,
        weights=[draft.case.weight for draft, _ in scored],
        pairs=[draft.cluster for draft, _ in scored],
    )


def with_alarms(
    scores: Sequence[float], drafts: Sequence[LabeledDraft], flagged: Sequence[LabeledDraft]
) -> tuple[list[float], list[LabeledDraft]]:
    """Scores of aligned drafts that reach a gate, and at 1 the aligned ones that are flagged before it: a target is the
    whole review's, whatever raises the alarm."""
    alarms = [draft for draft in flagged if not draft.misaligned]
    return [*scores, *[1.0] * len(alarms)], [*drafts, *alarms]


def _most_doubtful(
    probabilities: Sequence[float] | Array, drafts: Sequence[LabeledDraft]
) -> tuple[list[float], list[LabeledDraft]]:
    """For each draft the highest probability among itself and its windows, as the gate has it; and the drafts."""
    best: dict[str, tuple[float, LabeledDraft]] = {}
    for probability, draft in zip(probabilities, drafts, strict=True):
        before = best.get(draft.case.id)
        if before is None or probability > before[0]:
            best[draft.case.id] = (float(probability), draft)
    return [probability for probability, _ in best.values()], [draft for _, draft in best.values()]


def _scores(cascade: Cascade, fitted: Sequence[FittedEstimator], indices: Indices) -> list[float]:
    """The probabilities of drafts that nothing was fitted on."""
    scores = np.stack([estimator.score(indices) for estimator in fitted], axis=1)
    return list(map(float, cascade.probabilities(scores)[0]))


def check_enough(labels: Array, clusters: Sequence[str], *, flagged: int = 0) -> None:
    """Refuses to fit on next to nothing.

    Args:
        flagged: drafts beside them that checks or linters flag, which no gate sees.

    Raises:
        InputError: fewer than ``LEAST`` labels of either kind, or twice as many independent cases.
    """
    misaligned = int(labels.sum())
    if min(misaligned, len(labels) - misaligned) < LEAST:
        reach = f" reach the gate (checks or linters flag {flagged} others), which" if flagged else ""
        raise InputError(
            f"{misaligned} misaligned and {len(labels) - misaligned} aligned drafts{reach} are too few to learn from",
            hint=f"give at least {LEAST} of either kind",
        )
    if len(set(clusters)) < 2 * LEAST:
        raise InputError(
            f"the drafts are of {len(set(clusters))} pairs or single cases, too few to learn from",
            hint=f"give at least {2 * LEAST}",
        )


class _CrossFits:
    """All estimators over the drafts to learn from, cross-fitted by cluster and by group.

    Attributes:
        labels, sample_weight: of all drafts of the matrix.
        estimators: cheapest first.
        held_out: estimator → score of each draft to learn from, by fits without the draft's cluster.
        unseen: the same without the draft's group; empty where there are fewer than three groups.
        fitted: estimator → fitted on all drafts to learn from.
    """

    def __init__(self, matrix: SignalMatrix, learn: Indices, most_questions: int, words: bool) -> None:
        drafts = matrix.drafts
        self.labels = np.array([float(draft.misaligned) for draft in drafts])
        self._clusters = [draft.cluster for draft in drafts]
        clusters = [self._clusters[i] for i in learn]
        check_enough(self.labels[learn], clusters)
        self.sample_weight = _sample_weight(drafts)
        self._learn = learn
        self._price = price_of_a_token([drafts[i] for i in learn])
        many = len(learn) >= MANY
        by_cluster = [group_folds(clusters, 5 if many else FOLDS, seed) for seed in range(1 if many else ROUNDS)]
        self._folds = by_cluster[0]
        groups = [drafts[i].group for i in learn]
        several_groups = 3 <= len(set(groups)) < len(set(self._clusters))
        by_group = [group_folds(groups, min(FOLDS, len(set(groups))), 0)] if several_groups else []
        estimators = self._all(matrix, most_questions, words)
        self.held_out = self._cross_fitted(estimators, by_cluster)
        self.unseen = self._cross_fitted(estimators, by_group) if by_group else {}
        # Fitted last: what an estimator costs, and so its place, is what its questions cost in the gate.
        self.fitted = {e.name: e.fit(learn, self.labels, self.sample_weight, self._clusters) for e in estimators}
        self.estimators = sorted(estimators, key=lambda estimator: (estimator.cost_tier, estimator.tokens))

    def _all(self, matrix: SignalMatrix, most_questions: int, words: bool) -> list[Estimator]:
        drafts = [labeled.draft for labeled in matrix.drafts]
        estimators: list[Estimator] = [WordsEstimator(drafts)] if words else []
        if words and sum(bool(drafts[i].reasoning) for i in self._learn) >= REASONED * len(self._learn):
            estimators.append(WordsEstimator(drafts, "reasoning"))
        for model, (wordings, vectors, tokens) in matrix.embeddings.items():
            embeddings = EmbeddingsEstimator(model, wordings, vectors, tokens)
            embeddings.choose_penalty(self._learn, self.labels, self.sample_weight, self._folds)
            estimators.append(embeddings)
        for distribution in distribution_estimators(matrix.distributions):
            distribution.choose_penalty(self._learn, self.labels, self.sample_weight, self._folds)
            estimators.append(distribution)
        if matrix.questions and most_questions:
            questions = QuestionsEstimator(
                matrix.questions, matrix.values, matrix.prices, most=most_questions, price=self._price
            )
            estimators.append(questions)
        return estimators

    def _cross_fitted(self, estimators: Sequence[Estimator], rounds: Sequence[Indices]) -> dict[str, Array]:
        learn, labels = self._learn, self.labels[self._learn]

        def fit(estimator: Estimator, indices: Indices) -> Score:
            score = estimator.fit(learn[indices], self.labels, self.sample_weight, self._clusters).score
            return lambda wanted: score(learn[wanted])

        scores = {}
        for estimator in estimators:
            predicted = [cross_val_predict(partial(fit, estimator), labels, folds)[0] for folds in rounds]
            scores[estimator.name] = np.mean(predicted, axis=0)
        return scores

    def kept(self) -> list[Estimator]:
        """The estimators that earn their price, cheapest first: the least useful goes, and the rest are weighed anew."""
        kept = list(self.estimators)
        losses = self._losses(kept)
        while len(kept) > 1:
            without = {each.name: self._losses([other for other in kept if other is not each]) for each in kept}
            worths = {each.name: self._worth(without[each.name] - losses, each.tokens) for each in kept}
            least = min(worths, key=lambda name: worths[name])
            if worths[least] >= 0:
                break
            kept = [estimator for estimator in kept if estimator.name != least]
            losses = without[least]
        return kept

    def _worth(self, gains: Array, tokens: float) -> float:
        """What an estimator gains for a draft, given the benefit of the doubt, above its price."""
        price = self._price * tokens
        doubt = DOUBT * max(0.0, 1 - price / PRICE) * gains.std() / np.sqrt(len(gains))
        return float(np.average(gains, weights=self.sample_weight[self._learn]) + doubt - price)

    def _losses(self, estimators: Sequence[Estimator]) -> Array:
        """Each draft's loss under a blend of estimators; the mean of held-out clusters and held-out groups."""
        labels, sample_weight = self.labels[self._learn], self.sample_weight[self._learn]

        def fit(columns: Array, indices: Indices) -> Score:
            blend = Blend.fit(columns[indices], labels[indices], sample_weight[indices])
            return lambda wanted: blend.score(columns[wanted])

        losses = []
        for scores in (self.held_out, self.unseen) if self.unseen else (self.held_out,):
            columns = np.stack([scores[estimator.name] for estimator in estimators], axis=1)
            losses.append(log_losses(cross_val_predict(partial(fit, columns), labels, self._folds)[0], labels))
        mean: Array = np.mean(losses, axis=0)
        return mean

    def figures(self, estimator: Estimator, kept: bool) -> EstimatorFigures:
        """What an estimator reaches by itself."""
        labels = self.labels[self._learn]

        def reached(scores: Array) -> float | None:
            return auroc(list(scores[labels == 1]), list(scores[labels == 0]))

        name = estimator.name
        unseen = reached(self.unseen[name]) if self.unseen else None
        tokens = round(estimator.tokens, 1)
        return EstimatorFigures(name, estimator.kind, reached(self.held_out[name]), unseen, tokens, kept)


def price_of_a_token(drafts: Sequence[LabeledDraft]) -> float:
    """Nats that a signal must earn for each token that it has the model read anew: a gate is dear or cheap beside the call
    that it stands behind. Seconds would say so more directly, and would compile another gate on another day."""
    asked = fmean(len(request_text(labeled.draft.request)) for labeled in drafts) / CHARACTERS
    said = fmean(len(labeled.draft.response) for labeled in drafts) / CHARACTERS
    return PRICE / (asked + WRITTEN * max(said, SHORT))


def _sample_weight(drafts: Sequence[LabeledDraft]) -> Array:
    """What each draft counts; 1 on average. The windows of one count as much as one draft, together."""
    mixed = len({draft.own for draft in drafts}) == 2
    parts = Counter(draft.case.id for draft in drafts if draft.window)

    def weight(draft: LabeledDraft) -> float:
        whole = draft.case.weight * (OWN_WORTH if mixed and draft.own else 1.0)
        return whole / parts[draft.case.id] if draft.window else whole

    weights = np.array([weight(draft) for draft in drafts])
    scaled: Array = weights / weights.mean()
    return scaled
