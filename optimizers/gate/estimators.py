"""What can tell a bad draft from a good one: surface words, embeddings, questions. Each reads in its own way, to one score.

A reader fits itself on some rows and gives a score for any row; the gate compiler weighs the scores of several. Fitted,
it is a few signals with weights, as a gate applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from conscience.backends.embeddings import pack, runs_in_process
from conscience.gate.probes import EmbeddingProbe, LexicalProbe
from conscience.gate.questions import Question
from conscience.gate.settings import Signal
from conscience.optimizers.gate.logistic import (
    CS,
    Array,
    Indices,
    Linear,
    Scaling,
    Score,
    cross_val_predict,
    fit_logistic,
    group_folds,
    log_losses,
)
from conscience.stats.tfidf import fit as fit_tfidf

WORDS_KEPT = 2500
"""Features of a lexical probe with the largest weights; the others weigh next to nothing."""
INNER_FOLDS = 5


@dataclass(frozen=True)
class FittedEstimator:
    """A fitted reader: its score of any row, and the same as signals of a gate.

    Attributes:
        score: row numbers → log-odds.
        signals: with a weight each; the weighted sum and the bias are the score.
    """

    score: Score
    signals: tuple[tuple[Signal, float], ...]
    bias: float = 0.0


class Estimator(Protocol):
    """One way of reading.

    Attributes:
        name: shown in reports.
        kind: "words", "embedding" or "questions": what a user wants compared.
        dear: 0 where no server is asked, 1 where its prefix cache is used, 2 where it reads the exchange anew.
        tokens: what one draft takes, in tokens that a model reads or writes anew.
    """

    name: str
    kind: str
    cost_tier: int
    tokens: float

    def fit(self, rows: Indices, labels: Array, sample_weight: Array, keys: Sequence[str]) -> FittedEstimator:
        """Fits on these rows.

        Args:
            rows: their numbers.
            labels, importance, keys: of all rows; rows of one key are no independent witnesses.
        """


class WordsEstimator:
    """The response's words, by TF-IDF and logistic regression."""

    kind = "words"
    cost_tier = 0
    tokens = 0.0

    def __init__(self, texts: Sequence[str]) -> None:
        self.name = "words"
        self._texts = texts

    def fit(self, rows: Indices, labels: Array, sample_weight: Array, keys: Sequence[str]) -> FittedEstimator:
        words = fit_tfidf([self._texts[i] for i in rows], [int(labels[i]) for i in rows])
        most = sorted(words.weights, key=lambda f: (-abs(words.weights[f] * words.idf[f]), f))[:WORDS_KEPT]
        kept = {f: (_short(words.idf[f]), _short(words.weights[f])) for f in sorted(most)}
        probe = LexicalProbe(name=self.name, features=kept, bias=_short(words.bias))
        return FittedEstimator(lambda wanted: np.array([words.score(self._texts[i]) for i in wanted]), ((probe, 1.0),))


class EmbeddingsEstimator:
    """A linear reading of the embeddings of a few texts made of the exchange.

    Args:
        model: who embeds.
        wordings: how the exchange is put.
        vectors: for each wording, rows × numbers.
        tokens: what one draft takes.
    """

    kind = "embedding"

    def __init__(self, model: str, wordings: Sequence[str], vectors: Sequence[Array], tokens: float) -> None:
        self.name = f"embedding {model}"
        self.tokens = tokens
        self.cost_tier = 0 if runs_in_process(model) else 2
        self._model, self._wordings = model, tuple(wordings)
        self._all, self._parts = np.hstack(vectors), len(vectors)
        self._strength = CS[2]

    def choose(self, rows: Indices, labels: Array, sample_weight: Array, fold: Indices) -> None:
        """Settles the penalty by cross-validated loss over these rows."""
        lost = np.zeros(len(CS))
        for part in np.unique(fold):
            held, rest = rows[fold == part], rows[fold != part]
            if len(np.unique(labels[rest])) == 2:
                for i, score in enumerate(self._scores(rest, labels, sample_weight, CS)):
                    lost[i] += sample_weight[held] @ log_losses(score(held), labels[held])
        self._strength = CS[int(np.argmin(lost))]

    def fit(self, rows: Indices, labels: Array, sample_weight: Array, keys: Sequence[str]) -> FittedEstimator:
        (linear,) = self._linears(rows, labels, sample_weight, (self._strength,))
        scale = float(np.abs(linear.weights).max()) or 1.0
        probe = EmbeddingProbe(
            name=self.name,
            model=self._model,
            wordings=self._wordings,
            weights=pack([float(w) for w in linear.weights / scale]),
            scale=_short(scale),
            bias=_short(linear.bias),
        )
        return FittedEstimator(lambda wanted: linear.score(self._all[wanted]), ((probe, 1.0),))

    def _scores(self, rows: Indices, labels: Array, sample_weight: Array, Cs: Sequence[float]) -> list[Score]:
        linears = self._linears(rows, labels, sample_weight, Cs)
        return [partial(self._score, linear) for linear in linears]

    def _score(self, linear: Linear, wanted: Indices) -> Array:
        return linear.score(self._all[wanted])

    def _linears(self, rows: Indices, labels: Array, sample_weight: Array, Cs: Sequence[float]) -> list[Linear]:
        """Readings of the rows as they come, one for each penalty."""
        scaling = Scaling(self._all[rows], parts=self._parts)
        found = fit_logistic(scaling(self._all[rows]), labels[rows], Cs, sample_weight[rows])
        return [scaling.undone(linear) for linear in found]


class QuestionsEstimator:
    """A few questions, chosen from many: by how well each explains what the ones before it left, and how many by their
    loss.

    Args:
        questions: m candidates.
        values: rows × m log-odds.
        prices: m, the tokens of each.
        most: how many are taken at most.
        price: nats that a question must earn for each token.
    """

    kind = "questions"

    def __init__(self, questions: Sequence[Question], values: Array, prices: Array, *, most: int, price: float) -> None:
        self.name = "questions"
        self.cost_tier, self.tokens = 1, 0.0
        self._questions, self._values, self._prices = questions, values, prices
        self._most, self._price = most, price

    def fit(self, rows: Indices, labels: Array, sample_weight: Array, keys: Sequence[str]) -> FittedEstimator:
        chosen = self._best(rows, labels, sample_weight, keys)
        self.tokens = float(self._prices[chosen].sum())
        self.cost_tier = 2 if any(self._questions[j].framing == "foreign" for j in chosen) else 1
        linear = self._ridge(chosen, rows, labels, sample_weight)
        weights = tuple((self._questions[j], _short(w)) for j, w in zip(chosen, linear.weights, strict=True))
        return FittedEstimator(lambda wanted: linear.score(self._values[wanted][:, chosen]), weights, _short(linear.bias))

    def _best(self, rows: Indices, labels: Array, sample_weight: Array, keys: Sequence[str]) -> list[int]:
        path = self._path(rows, labels, sample_weight)
        fold = group_folds([keys[i] for i in rows], INNER_FOLDS, 0)
        lost, prices = [], []
        for length in range(1, len(path) + 1):
            chosen = path[:length]
            fit = partial(self._on, rows, chosen, labels, sample_weight)
            scores, known = cross_val_predict(fit, labels[rows], fold)
            lost.append(np.where(known, log_losses(scores, labels[rows]), np.log(2)) * sample_weight[rows])
            prices.append(self._price * self._prices[chosen].sum())
        costs = np.array([loss.mean() for loss in lost]) + prices
        best = int(np.argmin(costs))
        # One more question has to be worth it beyond chance: the shortest that is not clearly worse than the best.
        for length, loss in enumerate(lost):
            slack = (loss - lost[best]).std() / np.sqrt(len(rows))
            if costs[length] <= costs[best] + slack:
                return path[: length + 1]
        return path[: best + 1]

    def _on(self, rows: Indices, chosen: list[int], labels: Array, sample_weight: Array, inner: Indices) -> Score:
        linear = self._ridge(chosen, rows[inner], labels, sample_weight)
        return lambda wanted: linear.score(self._values[rows[wanted]][:, chosen])

    def _path(self, rows: Indices, labels: Array, sample_weight: Array) -> list[int]:
        """Candidates in the order in which each explains most of what is left, in standard units."""
        scaled = self._values[rows] - self._values[rows].mean(axis=0)
        scaled = scaled / (scaled.std(axis=0) + 1e-9)
        left = labels[rows] - np.average(labels[rows], weights=sample_weight[rows])
        path: list[int] = []
        while len(path) < min(self._most, scaled.shape[1]):
            strength = np.abs((sample_weight[rows] * left) @ scaled)
            strength[path] = -1.0
            path.append(int(np.argmax(np.round(strength, 9))))
            design = np.hstack([scaled[:, path], np.ones((len(rows), 1))])
            root = np.sqrt(sample_weight[rows])
            solution = np.linalg.lstsq(design * root[:, None], labels[rows] * root, rcond=None)[0]
            left = labels[rows] - design @ solution
        return path

    def _ridge(self, chosen: list[int], rows: Indices, labels: Array, sample_weight: Array) -> Linear:
        scale = Scaling(self._values[rows][:, chosen])
        (linear,) = fit_logistic(scale(self._values[rows][:, chosen]), labels[rows], CS[1:2], sample_weight[rows])
        return scale.undone(linear)


def _short(value: float) -> float:
    """Six significant digits: a file must not depend on the last bits of a sum."""
    return float(f"{float(value):.6g}")
