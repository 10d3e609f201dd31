"""What can tell a misaligned draft from an aligned one: surface words, embeddings, questions. Each gives one score.

An estimator is fitted on some drafts and scores any; the gate compiler weighs the scores of several. Fitted, it is a few
signals with weights, as a gate applies them. Drafts are indices of the signal matrix, and go by their indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

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
    choose_C,
    cross_val_predict,
    fit_logistic,
    group_folds,
    log_losses,
    six_digits,
)
from conscience.outcome import Draft
from conscience.stats.tfidf import TfidfModel
from conscience.stats.tfidf import fit as fit_tfidf

WORDS_KEPT = 2500
"""Features of a lexical probe with the largest weights; the others weigh next to nothing."""
INNER_FOLDS = 5


@dataclass(frozen=True)
class FittedEstimator:
    """A fitted estimator: its score of any draft, and the same as signals of a gate.

    Attributes:
        score: indices → log-odds.
        signals: with a weight each; the weighted sum and the bias are the score.
    """

    score: Score
    signals: tuple[tuple[Signal, float], ...]
    bias: float = 0.0


class Estimator(Protocol):
    """One kind of evidence.

    Attributes:
        name: shown in reports.
        kind: "words", "embedding", "distribution" or "questions": what a user wants compared.
        cost_tier: 0 where no server is asked, 1 where its prefix cache is used, 2 where it reads the exchange anew.
        tokens: what one draft takes, in tokens that a model reads or writes anew.
    """

    name: str
    kind: str
    cost_tier: int
    tokens: float

    def fit(self, indices: Indices, labels: Array, sample_weight: Array, groups: Sequence[str]) -> FittedEstimator:
        """Fits on some drafts.

        Args:
            indices: which.
            labels, sample_weight, groups: of all drafts; those of one group are no independent witnesses.
        """


class WordsEstimator:
    """The words of the response, or of the reasoning, by TF-IDF and logistic regression."""

    kind = "words"
    cost_tier = 0
    tokens = 0.0

    def __init__(self, drafts: Sequence[Draft], about: Literal["draft", "reasoning"] = "draft") -> None:
        self.name = "words" if about == "draft" else "words of the reasoning"
        self._about = about
        self._texts = [draft.response if about == "draft" else draft.reasoning for draft in drafts]

    def fit(self, indices: Indices, labels: Array, sample_weight: Array, groups: Sequence[str]) -> FittedEstimator:
        words = fit_tfidf([self._texts[i] for i in indices], [int(labels[i]) for i in indices])
        heaviest = sorted(words.weights, key=lambda f: (-abs(words.weights[f] * words.idf[f]), f))[:WORDS_KEPT]
        kept = {f: (six_digits(words.idf[f]), six_digits(words.weights[f])) for f in sorted(heaviest)}
        probe = LexicalProbe(name=self.name, features=kept, bias=six_digits(words.bias), about=self._about)
        return FittedEstimator(lambda wanted: np.array([self._score(words, i) for i in wanted]), ((probe, 1.0),))

    def _score(self, words: TfidfModel, index: int) -> float:
        """As the probe has it: nothing of a reasoning that is not there."""
        text = self._texts[index]
        return words.score(text) if self._about == "draft" or text.strip() else 0.0


class EmbeddingsEstimator:
    """A linear model of the embeddings of a few texts made of the exchange.

    Args:
        model: who embeds.
        wordings: how the exchange is put.
        vectors: for each wording, drafts × numbers.
        tokens: what one draft takes.
    """

    kind = "embedding"

    def __init__(self, model: str, wordings: Sequence[str], vectors: Sequence[Array], tokens: float) -> None:
        self.name = f"embedding {model}"
        self.tokens = tokens
        self.cost_tier = 0 if runs_in_process(model) else 2
        self._model, self._wordings = model, tuple(wordings)
        self._columns, self._parts = np.hstack(vectors), len(vectors)
        self._C = CS[2]

    def choose_penalty(self, indices: Indices, labels: Array, sample_weight: Array, folds: Indices) -> None:
        """Sets the penalty by cross-validated loss over these drafts."""

        def scores(rest: Indices, held_out: Indices) -> list[Array]:
            linears = self._linears(rest, labels, sample_weight, CS)
            return [linear.score(self._columns[held_out]) for linear in linears]

        self._C = choose_C(scores, indices, labels, sample_weight, folds)

    def fit(self, indices: Indices, labels: Array, sample_weight: Array, groups: Sequence[str]) -> FittedEstimator:
        (linear,) = self._linears(indices, labels, sample_weight, (self._C,))
        scale = float(np.abs(linear.weights).max()) or 1.0
        probe = EmbeddingProbe(
            name=self.name,
            model=self._model,
            wordings=self._wordings,
            weights=pack([float(w) for w in linear.weights / scale]),
            scale=six_digits(scale),
            bias=six_digits(linear.bias),
        )
        return FittedEstimator(lambda wanted: linear.score(self._columns[wanted]), ((probe, 1.0),))

    def _linears(self, indices: Indices, labels: Array, sample_weight: Array, Cs: Sequence[float]) -> list[Linear]:
        """A model of the unscaled columns for each penalty."""
        scaling = Scaling(self._columns[indices], parts=self._parts)
        linears = fit_logistic(scaling(self._columns[indices]), labels[indices], Cs, sample_weight[indices])
        return [scaling.undone(linear) for linear in linears]


class QuestionsEstimator:
    """A few questions, chosen from many: by how well each explains what the ones before it left, and how many by their
    loss.

    Args:
        questions: m candidates.
        values: drafts × m log-odds.
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

    def fit(self, indices: Indices, labels: Array, sample_weight: Array, groups: Sequence[str]) -> FittedEstimator:
        chosen = self._best(indices, labels, sample_weight, groups)
        self.tokens = float(self._prices[chosen].sum())
        self.cost_tier = 2 if any(self._questions[j].framing == "foreign" for j in chosen) else 1
        linear = self._linear(chosen, indices, labels, sample_weight)
        signals = tuple((self._questions[j], six_digits(w)) for j, w in zip(chosen, linear.weights, strict=True))
        return FittedEstimator(
            lambda wanted: linear.score(self._values[wanted][:, chosen]), signals, six_digits(linear.bias)
        )

    def _best(self, indices: Indices, labels: Array, sample_weight: Array, groups: Sequence[str]) -> list[int]:
        path = self._path(indices, labels, sample_weight)
        folds = group_folds([groups[i] for i in indices], INNER_FOLDS, 0)
        losses, prices = [], []
        for length in range(1, len(path) + 1):
            chosen = path[:length]
            fit = partial(self._fit_within, indices, chosen, labels, sample_weight)
            scores, known = cross_val_predict(fit, labels[indices], folds)
            losses.append(np.where(known, log_losses(scores, labels[indices]), np.log(2)) * sample_weight[indices])
            prices.append(self._price * self._prices[chosen].sum())
        costs = np.array([loss.mean() for loss in losses]) + prices
        best = int(np.argmin(costs))
        # One more question has to be worth it beyond chance: the shortest that is not clearly worse than the best.
        for length, loss in enumerate(losses):
            slack = (loss - losses[best]).std() / np.sqrt(len(indices))
            if costs[length] <= costs[best] + slack:
                return path[: length + 1]
        return path[: best + 1]

    def _fit_within(self, indices: Indices, chosen: list[int], labels: Array, sample_weight: Array, inner: Indices) -> Score:
        linear = self._linear(chosen, indices[inner], labels, sample_weight)
        return lambda wanted: linear.score(self._values[indices[wanted]][:, chosen])

    def _path(self, indices: Indices, labels: Array, sample_weight: Array) -> list[int]:
        """Candidates in the order in which each explains most of what is left, in standard units."""
        scaled = self._values[indices] - self._values[indices].mean(axis=0)
        scaled = scaled / (scaled.std(axis=0) + 1e-9)
        left = labels[indices] - np.average(labels[indices], weights=sample_weight[indices])
        path: list[int] = []
        while len(path) < min(self._most, scaled.shape[1]):
            explained = np.abs((sample_weight[indices] * left) @ scaled)
            explained[path] = -1.0
            path.append(int(np.argmax(np.round(explained, 9))))
            design = np.hstack([scaled[:, path], np.ones((len(indices), 1))])
            root = np.sqrt(sample_weight[indices])
            solution = np.linalg.lstsq(design * root[:, None], labels[indices] * root, rcond=None)[0]
            left = labels[indices] - design @ solution
        return path

    def _linear(self, chosen: list[int], indices: Indices, labels: Array, sample_weight: Array) -> Linear:
        scaling = Scaling(self._values[indices][:, chosen])
        (linear,) = fit_logistic(scaling(self._values[indices][:, chosen]), labels[indices], CS[1:2], sample_weight[indices])
        return scaling.undone(linear)
