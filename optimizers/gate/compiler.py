"""The gate compiler: which signals, with which weights, in which order.

Each reader (words, embeddings, questions) is scored on rows that it was not fitted on, and on groups that it has not seen.
All are blended, and one whose measured gain does not reach the price of its tokens is dropped. What is left is asked as a
cascade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from conscience.errors import InputError
from conscience.gate.settings import CritiqueMode, GateSettings
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.gate.cascade import Cascade
from conscience.optimizers.gate.estimators import EmbeddingsEstimator, Estimator, QuestionsEstimator, WordsEstimator
from conscience.optimizers.gate.logistic import Array, Blend, Indices, Score, cross_val_predict, group_folds, log_losses
from conscience.optimizers.gate.signal_matrix import SignalMatrix
from conscience.optimizers.gate.threshold import Threshold, certified, estimated, without_idle_alarms
from conscience.stats.metrics import auroc

PRICE = 2e-5
"""Nats of log loss that a signal must earn for each token that it takes of every draft."""
DOUBT = 1.5
"""Standard errors: a signal is dropped when its measured gain and so many of them do not reach its price."""
OWN_WORTH = 3.0
"""What one draft of the program's own counts where there are others too: it is such drafts that the gate will meet."""
LEAST = 4
"""Labels of either kind below which nothing is fitted."""
FOLDS = 8
ROUNDS = 2
"""Of cross-fitting, with other folds; many rows need but one."""
MANY = 300
"""Rows from which one round of five folds is enough."""


@dataclass(frozen=True)
class Alone:
    """What one reader reaches by itself.

    Attributes:
        name, kind: of the reader.
        auroc: on rows that it was not fitted on; None with labels of one kind.
        unseen: the same on groups that it has not seen; None where there are fewer than three.
        tokens: that it takes of a draft.
        kept: whether the gate asks it.
    """

    name: str
    kind: str
    auroc: float | None
    unseen: float | None
    tokens: float
    kept: bool


@dataclass(frozen=True)
class Compiled:
    """A compiled gate and what is known of it.

    Attributes:
        settings: the cascade, with its threshold.
        threshold: where the threshold comes from.
        drafts: those it was fitted on.
        probabilities: of these drafts, each by readers that were fitted without it.
        importance: what each of them counts.
        auroc: of these probabilities.
        alone: what each kind of signal reaches by itself.
        tokens: that the gate takes of an aligned draft, on average.
        asked: the share of aligned drafts that each stage is asked of.
    """

    settings: GateSettings
    threshold: Threshold
    drafts: tuple[LabeledDraft, ...]
    probabilities: tuple[float, ...]
    sample_weight: tuple[float, ...]
    auroc: float | None
    alone: tuple[Alone, ...]
    tokens: float
    asked: tuple[float, ...]


def compile_gate(
    table: SignalMatrix,
    *,
    backend: str,
    target_fpr: float,
    calibration_set: Sequence[LabeledDraft] = (),
    most_questions: int = 4,
    words: bool = True,
    critique: CritiqueMode = "votes",
) -> Compiled:
    """Compiles a gate from a table; deterministic.

    Args:
        table: what was measured, of the drafts set aside too.
        backend: the model that was asked.
        target_fpr: the highest false positive rate wanted.
        calibration_set: drafts that choose nothing but the threshold; without them it is estimated, not certified.
        most_questions: how many questions the gate may ask.
        words: whether it may read surface words.
        critique: the critique's part, see ``GateSettings``.

    Raises:
        InputError: too few labels of either kind.
    """
    held_out = {draft.case.id for draft in calibration_set}
    learn = np.array([i for i, draft in enumerate(table.drafts) if draft.case.id not in held_out], dtype=int)
    fitting = _Fitting(table, learn, most_questions, words)
    estimators = fitting.kept()
    held = np.stack([fitting.held[reader.name] for reader in estimators], axis=1)
    labels = fitting.labels[learn]
    cascade = Cascade(held, labels, fitting.sample_weight[learn], [reader.cost_tier for reader in estimators])
    reads = [fitting.reads[reader.name] for reader in estimators]
    good, pairs = labels == 0, [table.drafts[i].cluster for i in learn]
    good_pairs = [pair for pair, is_good in zip(pairs, good, strict=True) if is_good]

    def guessed() -> Threshold:
        return estimated(list(cascade.probabilities(held)[0][good]), target_fpr, pairs=good_pairs)

    cascade.set_bands(guessed().value)
    threshold = guessed()
    probabilities, taken = cascade.probabilities(held)
    aligned = list(map(float, probabilities[good]))
    calibrating = [i for i, draft in enumerate(table.drafts) if draft.case.id in held_out and not draft.misaligned]
    if calibrating:
        scores = np.stack([read.score(np.array(calibrating)) for read in reads], axis=1)
        clusters = [table.drafts[i].cluster for i in calibrating]
        aligned = list(map(float, cascade.probabilities(scores)[0]))
        threshold = certified(aligned, target_fpr, pairs=clusters)
    threshold = without_idle_alarms(threshold, aligned, list(map(float, probabilities[~good])))
    asked = [float((taken[good] >= number).mean()) for number in range(1, len(cascade.steps) + 1)]
    costs = [sum(estimators[i].tokens for i in step.estimators) for step in cascade.steps]
    kept = {reader.name for reader in estimators}
    return Compiled(
        settings=GateSettings(
            stages=cascade.stages(reads), threshold=min(1.0, threshold.value), critique=critique, backend=backend
        ),
        threshold=threshold,
        drafts=tuple(table.drafts[i] for i in learn),
        probabilities=tuple(map(float, probabilities)),
        sample_weight=tuple(map(float, fitting.sample_weight[learn])),
        auroc=auroc(list(probabilities[~good]), list(probabilities[good])),
        alone=tuple(fitting.alone(reader, reader.name in kept) for reader in fitting.estimators),
        tokens=sum(share * cost for share, cost in zip(asked, costs, strict=True)),
        asked=tuple(asked),
    )


def check_enough(labels: Array, keys: Sequence[str]) -> None:
    """Refuses to fit on next to nothing.

    Raises:
        InputError: fewer than ``LEAST`` labels of either kind, or twice as many independent cases.
    """
    bad = int(labels.sum())
    if min(bad, len(labels) - bad) < LEAST:
        raise InputError(
            f"{bad} misaligned and {len(labels) - bad} aligned drafts are too few to learn from",
            hint=f"give at least {LEAST} of either kind",
        )
    if len(set(keys)) < 2 * LEAST:
        raise InputError(
            f"the drafts are of {len(set(keys))} pairs or single cases, too few to learn from",
            hint=f"give at least {2 * LEAST}",
        )


class _Fitting:
    """All readers over the rows to learn from, cross-fitted by cluster and by group.

    Attributes:
        held: reader → score of each row to learn from, by fits without the row's cluster.
        unseen: the same without the row's group; empty where there are fewer than three groups.
        reads: reader → fitted on all rows to learn from.
    """

    def __init__(self, table: SignalMatrix, learn: Indices, most_questions: int, words: bool) -> None:
        drafts = table.drafts
        self.labels = np.array([float(draft.misaligned) for draft in drafts])
        self.keys = [draft.cluster for draft in drafts]
        check_enough(self.labels[learn], [self.keys[i] for i in learn])
        self.sample_weight = _importance(drafts)
        self._learn = learn
        many = len(learn) >= MANY
        by_row = [
            group_folds([self.keys[i] for i in learn], 5 if many else FOLDS, seed) for seed in range(1 if many else ROUNDS)
        ]
        groups = [drafts[i].group for i in learn]
        by_group = (
            [group_folds(groups, min(FOLDS, len(set(groups))), 0)] if 3 <= len(set(groups)) < len(set(self.keys)) else []
        )
        self._row_fold = by_row[0]
        estimators = self._all(table, most_questions, words)
        self.held = self._crossfitted(estimators, by_row)
        self.unseen = self._crossfitted(estimators, by_group) if by_group else {}
        # Fitted last: what a reader costs, and so its place, is what its questions cost in the gate.
        self.reads = {reader.name: reader.fit(learn, self.labels, self.sample_weight, self.keys) for reader in estimators}
        self.estimators = sorted(estimators, key=lambda reader: (reader.cost_tier, reader.tokens))

    def _all(self, table: SignalMatrix, most_questions: int, words: bool) -> list[Estimator]:
        estimators: list[Estimator] = [WordsEstimator([draft.draft.response for draft in table.drafts])] if words else []
        for model, (wordings, matrices, tokens) in table.embeddings.items():
            embeddings = EmbeddingsEstimator(model, wordings, matrices, tokens)
            embeddings.choose(self._learn, self.labels, self.sample_weight, self._row_fold)
            estimators.append(embeddings)
        if table.questions and most_questions:
            asking = QuestionsEstimator(table.questions, table.values, table.prices, most=most_questions, price=PRICE)
            estimators.append(asking)
        return estimators

    def _crossfitted(self, estimators: Sequence[Estimator], rounds: Sequence[Indices]) -> dict[str, Array]:
        learn, labels = self._learn, self.labels[self._learn]

        def fitted(reader: Estimator, rows: Indices) -> Score:
            score = reader.fit(learn[rows], self.labels, self.sample_weight, self.keys).score
            return lambda wanted: score(learn[wanted])

        found = {}
        for reader in estimators:
            scores = [cross_val_predict(partial(fitted, reader), labels, fold)[0] for fold in rounds]
            found[reader.name] = np.mean(scores, axis=0)
        return found

    def kept(self) -> list[Estimator]:
        """The readers that earn their price, cheapest first: the least useful goes, and the rest are looked at anew."""
        kept = list(self.estimators)
        now = self._lost(kept)
        while len(kept) > 1:
            without = {reader.name: self._lost([r for r in kept if r is not reader]) for reader in kept}
            worths = {reader.name: self._worth(without[reader.name] - now, reader.tokens) for reader in kept}
            least = min(worths, key=lambda name: worths[name])
            if worths[least] >= 0:
                break
            kept = [reader for reader in kept if reader.name != least]
            now = without[least]
        return kept

    def _worth(self, gained: Array, tokens: float) -> float:
        """What a reader gains for a row, given the benefit of the doubt, above its price."""
        sample_weight = self.sample_weight[self._learn]
        return float(
            np.average(gained, weights=sample_weight) + DOUBT * gained.std() / np.sqrt(len(gained)) - PRICE * tokens
        )

    def _lost(self, estimators: Sequence[Estimator]) -> Array:
        """Each row's loss under a blend of readers; the mean of held-out rows and held-out groups."""
        labels, sample_weight = self.labels[self._learn], self.sample_weight[self._learn]

        def blended(columns: Array, rows: Indices) -> Score:
            blend = Blend.fit(columns[rows], labels[rows], sample_weight[rows])
            return lambda wanted: blend.score(columns[wanted])

        lost = []
        for scores in (self.held, self.unseen) if self.unseen else (self.held,):
            columns = np.stack([scores[reader.name] for reader in estimators], axis=1)
            lost.append(log_losses(cross_val_predict(partial(blended, columns), labels, self._row_fold)[0], labels))
        mean: Array = np.mean(lost, axis=0)
        return mean

    def alone(self, reader: Estimator, kept: bool) -> Alone:
        """What a reader reaches by itself."""
        labels = self.labels[self._learn]

        def reached(scores: Array) -> float | None:
            return auroc(list(scores[labels == 1]), list(scores[labels == 0]))

        unseen = reached(self.unseen[reader.name]) if self.unseen else None
        return Alone(reader.name, reader.kind, reached(self.held[reader.name]), unseen, round(reader.tokens, 1), kept)


def _importance(drafts: Sequence[LabeledDraft]) -> Array:
    mixed = len({draft.own for draft in drafts}) == 2
    found = np.array([draft.case.weight * (OWN_WORTH if mixed and draft.own else 1.0) for draft in drafts])
    scaled: Array = found / found.mean()
    return scaled
