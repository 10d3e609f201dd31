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

from conscience.calibration import CritiqueMode, Settings
from conscience.errors import InputError
from conscience.figures import auroc
from conscience.optimizers.cascade import Cascade
from conscience.optimizers.drafts import Labelled
from conscience.optimizers.readers import Embeddings, Questions, Reader, Words
from conscience.optimizers.ridge import Array, Blend, Rows, Score, crossfit, folds, losses
from conscience.optimizers.table import Table
from conscience.optimizers.threshold import Threshold, certified, estimated, sparing

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

    settings: Settings
    threshold: Threshold
    drafts: tuple[Labelled, ...]
    probabilities: tuple[float, ...]
    importance: tuple[float, ...]
    auroc: float | None
    alone: tuple[Alone, ...]
    tokens: float
    asked: tuple[float, ...]


def compile_gate(
    table: Table,
    *,
    backend: str,
    target_fpr: float,
    aside: Sequence[Labelled] = (),
    most_questions: int = 4,
    words: bool = True,
    critique: CritiqueMode = "votes",
) -> Compiled:
    """Compiles a gate from a table; deterministic.

    Args:
        table: what was measured, of the drafts set aside too.
        backend: the model that was asked.
        target_fpr: the highest false positive rate wanted.
        aside: drafts that choose nothing but the threshold; without them it is estimated, not certified.
        most_questions: how many questions the gate may ask.
        words: whether it may read surface words.
        critique: the critique's part, see ``Settings``.

    Raises:
        InputError: too few labels of either kind.
    """
    apart = {draft.case.id for draft in aside}
    learn = np.array([i for i, draft in enumerate(table.drafts) if draft.case.id not in apart], dtype=int)
    fitting = _Fitting(table, learn, most_questions, words)
    readers = fitting.kept()
    held = np.stack([fitting.held[reader.name] for reader in readers], axis=1)
    labels = fitting.labels[learn]
    cascade = Cascade(held, labels, fitting.importance[learn], [reader.dear for reader in readers])
    reads = [fitting.reads[reader.name] for reader in readers]
    good, pairs = labels == 0, [table.drafts[i].cluster for i in learn]
    good_pairs = [pair for pair, is_good in zip(pairs, good, strict=True) if is_good]

    def guessed() -> Threshold:
        return estimated(list(cascade.probabilities(held)[0][good]), target_fpr, pairs=good_pairs)

    cascade.set_bands(guessed().value)
    threshold = guessed()
    probabilities, taken = cascade.probabilities(held)
    aligned = list(map(float, probabilities[good]))
    calibrating = [i for i, draft in enumerate(table.drafts) if draft.case.id in apart and not draft.misaligned]
    if calibrating:
        scores = np.stack([read.score(np.array(calibrating)) for read in reads], axis=1)
        clusters = [table.drafts[i].cluster for i in calibrating]
        aligned = list(map(float, cascade.probabilities(scores)[0]))
        threshold = certified(aligned, target_fpr, pairs=clusters)
    threshold = sparing(threshold, aligned, list(map(float, probabilities[~good])))
    asked = [float((taken[good] >= number).mean()) for number in range(1, len(cascade.steps) + 1)]
    costs = [sum(readers[i].tokens for i in step.readers) for step in cascade.steps]
    kept = {reader.name for reader in readers}
    return Compiled(
        settings=Settings(
            stages=cascade.stages(reads), threshold=min(1.0, threshold.value), critique=critique, backend=backend
        ),
        threshold=threshold,
        drafts=tuple(table.drafts[i] for i in learn),
        probabilities=tuple(map(float, probabilities)),
        importance=tuple(map(float, fitting.importance[learn])),
        auroc=auroc(list(probabilities[~good]), list(probabilities[good])),
        alone=tuple(fitting.alone(reader, reader.name in kept) for reader in fitting.readers),
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

    def __init__(self, table: Table, learn: Rows, most_questions: int, words: bool) -> None:
        drafts = table.drafts
        self.labels = np.array([float(draft.misaligned) for draft in drafts])
        self.keys = [draft.cluster for draft in drafts]
        check_enough(self.labels[learn], [self.keys[i] for i in learn])
        self.importance = _importance(drafts)
        self._learn = learn
        many = len(learn) >= MANY
        by_row = [folds([self.keys[i] for i in learn], 5 if many else FOLDS, seed) for seed in range(1 if many else ROUNDS)]
        groups = [drafts[i].group for i in learn]
        by_group = [folds(groups, min(FOLDS, len(set(groups))), 0)] if 3 <= len(set(groups)) < len(set(self.keys)) else []
        self._row_fold = by_row[0]
        readers = self._all(table, most_questions, words)
        self.held = self._crossfitted(readers, by_row)
        self.unseen = self._crossfitted(readers, by_group) if by_group else {}
        # Fitted last: what a reader costs, and so its place, is what its questions cost in the gate.
        self.reads = {reader.name: reader.fit(learn, self.labels, self.importance, self.keys) for reader in readers}
        self.readers = sorted(readers, key=lambda reader: (reader.dear, reader.tokens))

    def _all(self, table: Table, most_questions: int, words: bool) -> list[Reader]:
        readers: list[Reader] = [Words([draft.draft.response for draft in table.drafts])] if words else []
        for model, (wordings, matrices, tokens) in table.embeddings.items():
            embeddings = Embeddings(model, wordings, matrices, tokens)
            embeddings.choose(self._learn, self.labels, self.importance, self._row_fold)
            readers.append(embeddings)
        if table.questions and most_questions:
            asking = Questions(table.questions, table.values, table.prices, most=most_questions, price=PRICE)
            readers.append(asking)
        return readers

    def _crossfitted(self, readers: Sequence[Reader], rounds: Sequence[Rows]) -> dict[str, Array]:
        learn, labels = self._learn, self.labels[self._learn]

        def fitted(reader: Reader, rows: Rows) -> Score:
            score = reader.fit(learn[rows], self.labels, self.importance, self.keys).score
            return lambda wanted: score(learn[wanted])

        found = {}
        for reader in readers:
            scores = [crossfit(partial(fitted, reader), labels, fold)[0] for fold in rounds]
            found[reader.name] = np.mean(scores, axis=0)
        return found

    def kept(self) -> list[Reader]:
        """The readers that earn their price, cheapest first: the least useful goes, and the rest are looked at anew."""
        kept = list(self.readers)
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
        importance = self.importance[self._learn]
        return float(np.average(gained, weights=importance) + DOUBT * gained.std() / np.sqrt(len(gained)) - PRICE * tokens)

    def _lost(self, readers: Sequence[Reader]) -> Array:
        """Each row's loss under a blend of readers; the mean of held-out rows and held-out groups."""
        labels, importance = self.labels[self._learn], self.importance[self._learn]

        def blended(columns: Array, rows: Rows) -> Score:
            blend = Blend.fit(columns[rows], labels[rows], importance[rows])
            return lambda wanted: blend.score(columns[wanted])

        lost = []
        for scores in (self.held, self.unseen) if self.unseen else (self.held,):
            columns = np.stack([scores[reader.name] for reader in readers], axis=1)
            lost.append(losses(crossfit(partial(blended, columns), labels, self._row_fold)[0], labels))
        mean: Array = np.mean(lost, axis=0)
        return mean

    def alone(self, reader: Reader, kept: bool) -> Alone:
        """What a reader reaches by itself."""
        labels = self.labels[self._learn]

        def reached(scores: Array) -> float | None:
            return auroc(list(scores[labels == 1]), list(scores[labels == 0]))

        unseen = reached(self.unseen[reader.name]) if self.unseen else None
        return Alone(reader.name, reader.kind, reached(self.held[reader.name]), unseen, round(reader.tokens, 1), kept)


def _importance(drafts: Sequence[Labelled]) -> Array:
    mixed = len({draft.own for draft in drafts}) == 2
    found = np.array([draft.case.weight * (OWN_WORTH if mixed and draft.own else 1.0) for draft in drafts])
    scaled: Array = found / found.mean()
    return scaled
