"""The table that the gate is compiled from: a row a draft, with the answer to every candidate question and every embedding.

It is asked for once; every answer is in the journal. All that comes after is arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conscience._base.flow import Flow, run_sync
from conscience.backends.bound import BoundBackend
from conscience.backends.embeddings import runs_in_process
from conscience.constitution.schema import Constitution
from conscience.errors import ConfigurationError
from conscience.gate.gate import signal_value
from conscience.gate.probes import EmbeddingProbe, LexicalProbe, texts
from conscience.gate.questions import Question
from conscience.gate.settings import GateSettings, Signal
from conscience.messages.rendering import request_text
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.gate.logistic import Array
from conscience.optimizers.runtime import Runtime
from conscience.outcome import Draft
from conscience.program import Conscience

PLAIN: tuple[str, ...] = ("{response}", "{request}", "{request}\n{response}")
"""How an exchange is put to an embedding model: in parts and whole."""

HIDDEN: tuple[str, ...] = (
    "<|im_start|>user\n{request}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>\n"
    "<|im_start|>user\n[question] Yes or No?<|im_end|>\n<|im_start|>assistant\n",
    "{response}\nIn one word, what was said above is",
    "Request: {request}\nReply: {response}\nIn one word, this reply is",
)
"""How it is put to the embedded model, whose last hidden state is read where it is about to answer: the constitution's
question, which stands for ``[question]``, or with the one word that sums a text up (Jiang et al., arXiv 2307.16645)."""

IN_PROCESS_SHARE = 0.1
"""What a token of a small model in this process counts, against one of the model that answers."""

UNANSWERED = 0.05
"""The share of drafts at most that may get neither Yes nor No to a question; they count as its mean."""

TURN = 12
"""Tokens that a chat template and an answer add to a question."""


@dataclass(frozen=True)
class SignalMatrix:
    """What was measured of some drafts.

    Attributes:
        drafts: n of them.
        questions: m candidates; those that somewhere got neither Yes nor No are left out.
        values: n × m log-odds.
        prices: m, tokens that each question takes, read anew or written.
        embeddings: model → (wordings, a matrix of n rows for each, tokens).
    """

    drafts: tuple[LabeledDraft, ...]
    questions: tuple[Question, ...]
    values: Array
    prices: Array
    embeddings: Mapping[str, tuple[tuple[str, ...], list[Array], float]]

    def only(self, rows: Sequence[int]) -> SignalMatrix:
        """The same for some of its rows."""
        drafts = tuple(self.drafts[i] for i in rows)
        parts = {m: (said, [matrix[rows] for matrix in all_], cost) for m, (said, all_, cost) in self.embeddings.items()}
        return SignalMatrix(drafts, self.questions, self.values[rows], self.prices, parts)


def wordings_for(model: str, constitution: Constitution) -> tuple[str, ...]:
    """The texts that a model embeds."""
    if model != "local":
        return PLAIN
    return tuple(wording.replace("[question]", constitution.question) for wording in HIDDEN)


def measure(
    drafts: Sequence[LabeledDraft],
    questions: Sequence[Question],
    models: Sequence[str],
    program: Conscience,
    runtime: Runtime,
) -> SignalMatrix:
    """Asks every question about every draft, and has it embedded by every model. A draft that failed is left out.

    Args:
        drafts: in the order in which a short budget reaches them.
        questions: candidates.
        models: names of embedding models.
        program: on the runtime's models.
        bench: for the answers.
    """
    wordings = {model: wordings_for(model, program.constitution) for model in models}
    calls = len(questions) + sum(not runs_in_process(model) for model in models)

    def one(labeled: LabeledDraft) -> tuple[list[float | None], dict[str, list[list[float]]]]:
        return run_sync(_signals_of(labeled.draft, questions, wordings, runtime.bind(program, "review")))

    rows = runtime.each(drafts, one, most_calls=calls)
    kept = [(draft, row) for draft, row in zip(drafts, rows, strict=False) if row is not None]
    done = tuple(draft for draft, _ in kept)
    asked = np.array([row[0] for _, row in kept], dtype=float).reshape(len(kept), len(questions))
    answered = [j for j in range(len(questions)) if np.isnan(asked[:, j]).mean() <= UNANSWERED]
    values = asked[:, answered]
    values = np.where(np.isnan(values), np.nanmean(values, axis=0) if len(kept) else 0.0, values)
    chosen = tuple(questions[j] for j in answered)
    embeddings = {}
    for model, said in wordings.items():
        if len({len(vector) for _, row in kept for vector in row[1][model]}) > 1:
            raise ConfigurationError(f"{model} gives vectors of different lengths", hint="use another embedding model")
        matrices = [np.array([row[1][model][i] for _, row in kept]) for i in range(len(said))]
        share = IN_PROCESS_SHARE if runs_in_process(model) else 1.0
        embeddings[model] = (said, matrices, share * _mean(sum(map(len, texts(d.draft, said))) / 4 for d in done))
    return SignalMatrix(done, chosen, values, np.array([_price(question, done) for question in chosen]), embeddings)


def _signals_of(
    draft: Draft, questions: Sequence[Question], wordings: Mapping[str, Sequence[str]], model: BoundBackend
) -> Flow[tuple[list[float | None], dict[str, list[list[float]]]]]:
    values: list[float | None] = []
    for question in questions:
        value, _ = yield from signal_value(question, draft, model)
        values.append(value)
    vectors: dict[str, Any] = {}
    for name, templates in wordings.items():
        vectors[name] = yield from model.embed(name, texts(draft, templates))
    return values, vectors


def _price(question: Question, drafts: Sequence[LabeledDraft]) -> float:
    """Tokens of one question. In the own framing the exchange is in the server's prefix cache, in the foreign one it is
    not."""
    asked = len(question.text) / 4 + TURN
    if question.framing == "own":
        return asked
    return asked + _mean((len(request_text(d.draft.request)) + len(d.draft.response)) / 4 for d in drafts)


def _mean(values: Any) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def probabilities(settings: GateSettings, table: SignalMatrix) -> list[float]:
    """What a gate that asks nothing but the table's signals makes of the table's drafts."""
    places = {question.name: j for j, question in enumerate(table.questions)}

    def value(signal: Signal, row: int) -> float:
        if isinstance(signal, LexicalProbe):
            return signal.value(table.drafts[row].draft)
        if isinstance(signal, EmbeddingProbe):
            return signal.value([list(matrix[row]) for matrix in table.embeddings[signal.model][1]])
        return float(table.values[row, places[signal.name]])

    signals = [signal for stage in settings.stages for signal in stage.signals]
    rows = range(len(table.drafts))
    return [settings.probability({signal.name: value(signal, row) for signal in signals}) for row in rows]
