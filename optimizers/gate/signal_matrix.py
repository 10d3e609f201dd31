"""The signal matrix that a gate is compiled from: the answers about each draft to every question, and its embeddings.

It is asked for once; every answer is in the journal. All that comes after is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conscience.backends.embedded.catalogue import is_local
from conscience.backends.embeddings import runs_in_process
from conscience.constitution.schema import Constitution
from conscience.errors import ConfigurationError
from conscience.gate.distribution import FEW_CANDIDATES, MANY_CANDIDATES, DistributionProbe
from conscience.gate.gate import calls_to_read
from conscience.gate.probes import EmbeddingProbe, LexicalProbe, exchange_texts
from conscience.gate.questions import OpenQuestion, Question
from conscience.gate.settings import GateSettings, Signal
from conscience.gate.windows import windows
from conscience.optimizers.data.labeled_drafts import LabeledDraft, divided
from conscience.optimizers.gate.distributions import Distribution, Shown
from conscience.optimizers.gate.logistic import Array
from conscience.optimizers.gate.readings import ReadDraft, Vectors
from conscience.optimizers.runtime import Runtime
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

CHARACTERS = 4
"""Of a token, about."""

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
        embeddings: model → (wordings, vectors of the n drafts for each, tokens).
        distributions: one for each question whose candidates are read.
        flagged: drafts that a check or a linter flags before the gate: nothing was measured of them.
    """

    drafts: tuple[LabeledDraft, ...]
    questions: tuple[Question, ...]
    values: Array
    prices: Array
    embeddings: Mapping[str, tuple[tuple[str, ...], list[Array], float]]
    distributions: tuple[Distribution, ...] = ()
    flagged: tuple[LabeledDraft, ...] = ()

    def only(self, indices: Sequence[int]) -> SignalMatrix:
        """The same for some of its drafts, and all that are flagged before the gate."""
        drafts = tuple(self.drafts[i] for i in indices)
        embeddings = {
            model: (wordings, [block[indices] for block in vectors], tokens)
            for model, (wordings, vectors, tokens) in self.embeddings.items()
        }
        distributions = tuple(distribution.only(indices) for distribution in self.distributions)
        values = self.values[indices]
        return SignalMatrix(drafts, self.questions, values, self.prices, embeddings, distributions, self.flagged)


def wordings_for(model: str, constitution: Constitution) -> tuple[str, ...]:
    """The texts that a model embeds."""
    if not is_local(model):
        return PLAIN
    return tuple(wording.replace("[question]", constitution.question) for wording in HIDDEN)


def measure(
    drafts: Sequence[LabeledDraft],
    questions: Sequence[Question],
    models: Sequence[str],
    program: Conscience,
    runtime: Runtime,
    *,
    distributions: Sequence[Question] = (),
) -> SignalMatrix:
    """Asks every question about every draft that reaches the gate, and has it embedded by every model. Left out is a draft
    that failed.

    The windows of a long aligned draft are measured like drafts: each is aligned, and the most doubtful one is what will
    raise a false alarm. Which window of a misaligned draft is at fault, nobody has said.

    Args:
        drafts: in the order in which a short budget reaches them.
        questions: candidates.
        models: names of embedding models.
        program: on the runtime's models.
        runtime: pays for the answers.
        distributions: questions whose candidates are read, where the reviewing model shows any.
    """
    wordings = {model: wordings_for(model, program.constitution) for model in models}
    reviewer = program.roles.backend("review")
    if reviewer.decides or not reviewer.supports("logprobs"):
        distributions = ()
    wanted = MANY_CANDIDATES if reviewer.supports("many_candidates") else FEW_CANDIDATES
    calls = calls_to_read(questions, reviewer) + sum(not runs_in_process(model) for model in models) + len(distributions)

    reading = ReadDraft(program, questions, distributions, wanted, wordings)
    reaching, flagged = divided(drafts, program)
    apart = any(question.about == "reasoning" for question in (*questions, *distributions))
    parts = (
        part for draft in reaching if not draft.misaligned for part in _windows(draft, embedded=bool(models), apart=apart)
    )
    asked = [*reaching, *parts]
    results = runtime.each([labeled.draft for labeled in asked], reading, most_calls=calls)
    if len(results) < len(reaching):  # the budget ended: of those that are not asked about, as many as it would have reached
        before = {draft.case.id for draft in drafts[: drafts.index(reaching[len(results)])]}
        flagged = tuple(draft for draft in flagged if draft.case.id in before)
    measured = [(draft, read) for draft, read in zip(asked, results, strict=False) if read is not None]
    kept = tuple(draft for draft, _ in measured)
    chosen, values = _answered(questions, [read.values for _, read in measured])
    prices = np.array([_price(question, kept, together=reviewer.decides) for question in chosen])
    embeddings = {
        model: _embeddings(model, templates, kept, [read.vectors[model] for _, read in measured])
        for model, templates in wordings.items()
    }
    whole = [
        Distribution.of(question, wanted, answers, _price(question, kept, together=False))
        for j, question in enumerate(distributions)
        if _is_shown(answers := [read.shown[j] for _, read in measured])
    ]
    return SignalMatrix(kept, chosen, values, prices, embeddings, tuple(whole), flagged)


def _windows(labeled: LabeledDraft, *, embedded: bool, apart: bool) -> Iterator[LabeledDraft]:
    return (replace(labeled, draft=part, window=True) for part in windows(labeled.draft, embedded=embedded, apart=apart))


def _is_shown(answers: Sequence[Shown]) -> bool:
    """Whether nearly all drafts show candidates; of the others all are at the floor."""
    return bool(answers) and sum(not tokens for tokens, _ in answers) <= UNANSWERED * len(answers)


def _answered(
    questions: Sequence[Question], answers: Sequence[Sequence[float | None]]
) -> tuple[tuple[Question, ...], Array]:
    """The questions that nearly all drafts got an answer to, and their log-odds; what is missing is a question's mean."""
    asked = np.array(answers, dtype=float).reshape(len(answers), len(questions))
    answered = [j for j in range(len(questions)) if np.isnan(asked[:, j]).sum() <= UNANSWERED * len(answers)]
    values = asked[:, answered]
    values = np.where(np.isnan(values), np.nanmean(values, axis=0) if len(answers) else 0.0, values)
    return tuple(questions[j] for j in answered), values


def _embeddings(
    model: str, wordings: tuple[str, ...], drafts: Sequence[LabeledDraft], vectors: Sequence[Vectors]
) -> tuple[tuple[str, ...], list[Array], float]:
    """The wordings, the vectors of all drafts for each, and the tokens that a draft takes."""
    if len({len(vector) for of_draft in vectors for vector in of_draft}) > 1:
        raise ConfigurationError(f"{model} gives vectors of different lengths", hint="use another embedding model")
    blocks = [np.array([of_draft[i] for of_draft in vectors]) for i in range(len(wordings))]
    share = IN_PROCESS_SHARE if runs_in_process(model) else 1.0
    tokens = _mean(sum(map(len, exchange_texts(labeled.draft, wordings))) / CHARACTERS for labeled in drafts)
    return wordings, blocks, share * tokens


def _price(question: Question, drafts: Sequence[LabeledDraft], *, together: bool) -> float:
    """Tokens of one question. In the own framing the exchange is in the server's prefix cache, in the foreign one it is
    not, unless all questions are asked together: then it is read once, whatever is asked."""
    begun = question.begin if isinstance(question, OpenQuestion) else ""
    asked = len(question.text + begun) / CHARACTERS + TURN
    if question.about != "draft":  # which is shown by itself, and so read anew
        parts = (question.part(labeled.draft) for labeled in drafts)
        asked += _mean(len(part.response) / CHARACTERS if part else 0.0 for part in parts)
    if question.framing == "own" or together:
        return asked
    return TURN + _mean(len(str(question.messages(d.draft)[0]["content"])) / CHARACTERS for d in drafts)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def probabilities(settings: GateSettings, matrix: SignalMatrix) -> list[float]:
    """What a gate that asks nothing but the matrix's signals makes of its drafts."""
    columns = {question.name: j for j, question in enumerate(matrix.questions)}
    distributions = {_asked(each.question): each for each in matrix.distributions}

    def value(signal: Signal, index: int) -> float:
        if isinstance(signal, LexicalProbe):
            return signal.value(matrix.drafts[index].draft)
        if isinstance(signal, EmbeddingProbe):
            return signal.value([list(block[index]) for block in matrix.embeddings[signal.model][1]])
        if isinstance(signal, DistributionProbe):
            return signal.value(distributions[_asked(signal.question)].candidates_of(index))
        return float(matrix.values[index, columns[signal.name]])

    signals = settings.signals
    indices = range(len(matrix.drafts))
    return [settings.probability({signal.name: value(signal, index) for signal in signals}) for index in indices]


def _asked(question: Question) -> Question:
    """A question by what it asks, whatever it is called."""
    return question.model_copy(update={"name": "asked"})
