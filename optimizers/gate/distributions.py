"""Distributions: what a model thought of saying first, for each draft and a question or two, and what reads it.

Few labels and thousands of columns: the columns are standardised and a ridge over all of them does what no choice of a few
could do. A token counts where most drafts show it; what is not shown lies below what is, and counts as a floor.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from conscience._base.text import text_fault
from conscience.constitution.schema import Constitution
from conscience.gate.distribution import DistributionProbe
from conscience.gate.questions import YES_OR_NO, Framing, OpenQuestion, Question
from conscience.optimizers.gate.estimators import FittedEstimator
from conscience.optimizers.gate.logistic import (
    CS,
    Array,
    Indices,
    Linear,
    choose_C,
    fit_logistic,
    six_digits,
)

READ: tuple[str, ...] = ("Is that harmful or wrong?",)
"""Questions whose distribution is read, beside the constitution's own."""

BEGUN: tuple[tuple[str, str], ...] = (
    (f"{READ[0]} {YES_OR_NO}", "It is"),
    ("Sum up what you just said in one word.", "In one word:"),
)
"""What is asked in place of those of a model that goes on with an answer that was begun, and the answer's beginning.
Together they tell more than either, and than the first word of one that is not (tests/bench/distribution.py)."""

SEEN = 0.75
"""The share of the drafts learned from that must show a token, or it is left out. Of thousands of candidates it hardly
matters; of twenty, .98 leaves ten tokens and loses .03 of AUROC, and so does .1."""

KEPT = 0.5
"""The share of all drafts that must show a token, or it is not even remembered."""

FEWEST = 5
"""Tokens below which a distribution tells no more than Yes against No."""

CONSTANT = 1e-3
"""Nats. A token whose log-probability spreads no wider is the same for every draft."""

Shown = tuple[tuple[str, ...], Array]
"""The candidates of one answer, and their log-probabilities in nats."""


def questions_read(constitution: Constitution, *, begun: bool = False) -> list[Question]:
    """The questions whose distributions are read, the cheap ones first: those to answer with Yes or No in both framings.

    Args:
        begun: whether the model goes on with an answer that was begun.
    """
    texts = list(dict.fromkeys([constitution.question, *READ]))
    framings: tuple[Framing, ...] = ("own", "foreign")
    own, foreign = ([Question(name=f"first token {framing} {i}", text=text, framing=framing)
                     for i, text in enumerate(texts, 1)] for framing in framings)  # fmt: skip
    if begun:
        own = [question for question in own if question.text not in READ]
        own += [OpenQuestion(name=f"begun token {i}", text=text, begin=begin) for i, (text, begin) in enumerate(BEGUN, 1)]
    return [*own, *foreign]


def shown(candidates: Sequence[tuple[str, float]]) -> Shown:
    """The candidates in a form that takes little room: thousands of them for every draft."""
    kept = {sys.intern(token): logprob for token, logprob in candidates if _is_plain(token)}
    return tuple(kept), np.array(list(kept.values()))


def _is_plain(token: str) -> bool:
    """Whether a token can be told by its text: one of half a character cannot."""
    return bool(token) and "\ufffd" not in token and text_fault(token) is None


@dataclass(frozen=True)
class Distribution:
    """The candidates for the first token of one question.

    Attributes:
        question: what was asked.
        candidates: how many were asked for.
        vocabulary: d tokens that half of the drafts show.
        logprobs: n × d, in nats; NaN where a token is not shown.
        least: n, the lowest log-probability that a draft shows.
        tokens: what one draft takes, in tokens read anew or written.
    """

    question: Question
    candidates: int
    vocabulary: tuple[str, ...]
    logprobs: Array
    least: Array
    tokens: float

    @classmethod
    def of(cls, question: Question, candidates: int, answers: Sequence[Shown], tokens: float) -> Self:
        """From each draft's answer."""
        counts = Counter(token for answer, _ in answers for token in answer)
        vocabulary = tuple(sorted(token for token, count in counts.items() if count >= KEPT * len(answers)))
        places = {token: place for place, token in enumerate(vocabulary)}
        logprobs = np.full((len(answers), len(vocabulary)), np.nan)
        for row, (answer, values) in enumerate(answers):
            known = [number for number, token in enumerate(answer) if token in places]
            logprobs[row, [places[answer[number]] for number in known]] = values[known]
        least = np.array([values.min() if len(values) else np.nan for _, values in answers])
        return cls(question, candidates, vocabulary, logprobs, least, tokens)

    def only(self, indices: Sequence[int]) -> Distribution:
        """The same for some drafts."""
        rows = list(indices)
        return Distribution(
            self.question, self.candidates, self.vocabulary, self.logprobs[rows], self.least[rows], self.tokens
        )

    def candidates_of(self, index: int) -> list[tuple[str, float]]:
        """What one draft shows of the vocabulary."""
        row = self.logprobs[index]
        return [(token, float(value)) for token, value in zip(self.vocabulary, row, strict=True) if not np.isnan(value)]


@dataclass(frozen=True)
class _Columns:
    """What is read of a distribution: which tokens, above which floor, and how they are scaled. What they all share is left
    out: it says how sure the model is, not of what."""

    chosen: Indices
    floor: float
    mean: Array
    scale: Array

    @classmethod
    def of(cls, distribution: Distribution, indices: Indices) -> _Columns:
        rows = distribution.logprobs[indices]
        seen = (~np.isnan(rows)).mean(axis=0) >= SEEN
        known = distribution.least[indices]
        known = known[~np.isnan(known)]
        floor = six_digits(float(np.median(known))) if len(known) else 0.0
        chosen = np.flatnonzero(seen & (_above(rows, floor).std(axis=0) > CONSTANT))
        centred = _centred(_above(rows[:, chosen], floor))
        return cls(chosen, floor, centred.mean(axis=0), np.maximum(centred.std(axis=0), CONSTANT))

    def scaled(self, rows: Array) -> Array:
        standard: Array = (_centred(_above(rows[:, self.chosen], self.floor)) - self.mean) / self.scale
        return standard

    def unscaled(self, weights: Array) -> tuple[Array, float]:
        """The same weights for log-probabilities as they are shown, and what is to be added."""
        apart = weights / self.scale
        return apart - (apart.mean() if len(apart) else 0.0), -float(apart @ self.mean)


def _above(rows: Array, floor: float) -> Array:
    above: Array = np.maximum(np.where(np.isnan(rows), floor, rows), floor)
    return above


def _centred(rows: Array) -> Array:
    centred: Array = rows - rows.mean(axis=1, keepdims=True) if rows.shape[1] else rows
    return centred


class DistributionsEstimator:
    """A linear model of the log-probabilities of the first token's candidates, for a few questions in one framing.

    Args:
        framing: of all of them.
        distributions: one for each question.
    """

    kind = "distribution"

    def __init__(self, framing: Framing, distributions: Sequence[Distribution]) -> None:
        self.name = "distribution" if framing == "own" else f"distribution ({framing})"
        self.tokens = sum(distribution.tokens for distribution in distributions)
        self.cost_tier = 1 if framing == "own" else 2
        self._distributions = distributions
        self._C = CS[2]

    def choose_penalty(self, indices: Indices, labels: Array, sample_weight: Array, folds: Indices) -> None:
        """Sets the penalty by cross-validated loss over these drafts."""

        def scores(rest: Indices, held_out: Indices) -> list[Array]:
            columns, linears = self._linears(rest, labels, sample_weight, CS)
            rows = self._rows(columns, held_out)
            return [linear.score(rows) for linear in linears]

        self._C = choose_C(scores, indices, labels, sample_weight, folds)

    def fit(self, indices: Indices, labels: Array, sample_weight: Array, groups: Sequence[str]) -> FittedEstimator:
        columns, (linear,) = self._linears(indices, labels, sample_weight, (self._C,))
        signals, start = [], 0
        for distribution, of_it in zip(self._distributions, columns, strict=True):
            part = linear.weights[start : start + len(of_it.chosen)] / np.sqrt(len(linear.weights))
            start += len(of_it.chosen)
            if (probe := _probe(self.name, distribution, of_it, part)) is not None:
                signals.append((probe, 1.0))
        bias = six_digits(linear.bias)
        return FittedEstimator(lambda wanted: linear.score(self._rows(columns, wanted)), tuple(signals), bias)

    def _linears(
        self, indices: Indices, labels: Array, sample_weight: Array, Cs: Sequence[float]
    ) -> tuple[list[_Columns], list[Linear]]:
        columns = [_Columns.of(distribution, indices) for distribution in self._distributions]
        rows = self._rows(columns, indices)
        if not rows.shape[1]:  # of these drafts, nothing that all show differs
            return columns, [Linear(np.zeros(0), 0.0)] * len(Cs)
        return columns, fit_logistic(rows, labels[indices], Cs, sample_weight[indices])

    def _rows(self, columns: Sequence[_Columns], wanted: Indices) -> Array:
        """Of mean squared length 1, whatever the number of tokens."""
        blocks = [each.scaled(d.logprobs[wanted]) for each, d in zip(columns, self._distributions, strict=True)]
        rows = np.hstack(blocks)
        scaled: Array = rows / np.sqrt(max(1, rows.shape[1]))
        return scaled


def _probe(name: str, distribution: Distribution, columns: _Columns, part: Array) -> DistributionProbe | None:
    """One question's part of the model; None where it says nothing."""
    weights, bias = columns.unscaled(part)
    told = {
        distribution.vocabulary[place]: rounded
        for place, weight in zip(columns.chosen, weights, strict=True)
        if (rounded := six_digits(weight))
    }
    if not told:
        return None
    question = distribution.question
    return DistributionProbe(
        name=f"{name}: {question.text}",
        text=question.text,
        framing=question.framing,
        begin=question.begin if isinstance(question, OpenQuestion) else "",
        candidates=distribution.candidates,
        weights=told,
        floor=columns.floor,
        bias=six_digits(bias),
    )


def estimators(distributions: Sequence[Distribution]) -> list[DistributionsEstimator]:
    """One for each framing: they differ in what they cost."""
    telling = [distribution for distribution in distributions if len(distribution.vocabulary) >= FEWEST]
    framings: tuple[Framing, ...] = ("own", "foreign")
    by_framing: Mapping[Framing, list[Distribution]] = {f: [d for d in telling if d.question.framing == f] for f in framings}
    return [DistributionsEstimator(framing, those) for framing, those in by_framing.items() if those]
