"""One more one-token question, so that every principle of a constitution can fire: which of them does the answer break?

The gate's own questions are about the whole, and a compiled gate is about the cases that it learned from. This one names
each principle by its id, and the probabilities of the letters say which one is broken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from conscience._base.flow import Flow
from conscience.backends.bound import BoundBackend
from conscience.constitution.schema import Constitution
from conscience.gate.asking import first_token, written_answer
from conscience.gate.questions import LEAST_MASS, NO, YES, Question, fold_token, verbalised_log_odds
from conscience.gate.settings import sigmoid
from conscience.outcome import Draft

WHICH = """Which of these rules does your answer above break?
{rules}
Is it any of them, """
"""Comes before ``YES_OR_NO``. ``{rules}``: a letter, a principle's id and what it says in short, one a line; the id
alone where reading a prompt is slow."""

BY_LETTER = "Yes or No? If Yes, answer with its letter alone."
"""Ends the question where log-probabilities are read."""

WRITTEN = "Yes or No? Think it through if you need to, briefly. End with a line 'Answer: No' or 'Answer: ' and the letter."
"""Ends it for models that give no log-probabilities."""

LETTERS = "ABCDEFGHIJKLMOPQRSTUVWXZ"
"""One for each principle, of which there are at most 24. N and Y are left out: they are short for No and Yes."""

SURE = 0.99
"""The probability that a written answer stands for."""


@dataclass(frozen=True)
class PrincipleReading:
    """What was answered.

    Attributes:
        probability: that some principle is broken, 0 to 1; None where the answer says neither Yes nor No nor a letter.
        by_principle: id → the probability that it is this one; together they are at most ``probability``.
    """

    probability: float | None
    by_principle: Mapping[str, float] = field(default_factory=dict)


def read_principles(draft: Draft, constitution: Constitution, model: BoundBackend) -> Flow[PrincipleReading]:
    """Asks which principle a draft breaks.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
    """
    ids = [principle.id for principle in constitution.principles]
    named = zip(LETTERS, constitution.principles, strict=False)
    brief = model.supports("slow_prompts")
    rules = "\n".join(f"{letter}: {p.id}" + ("" if brief else f" ({p.short})") for letter, p in named)
    question = Question(name="principles", text=WHICH.format(rules=rules).rstrip())
    completion = yield from first_token(model, question.messages(draft, tail=BY_LETTER))
    if completion is not None:
        return reading(completion.first_token, ids)
    answer = yield from written_answer(model, question.messages(draft, tail=WRITTEN))
    reading_of_words = written(answer.text, ids)
    if reading_of_words.probability is None and (score := verbalised_log_odds(answer)) is not None:
        return PrincipleReading(sigmoid(score))
    return reading_of_words


def reading(candidates: Sequence[tuple[str, float]], ids: Sequence[str]) -> PrincipleReading:
    """The reading of the first token's candidates and their log-probabilities in nats."""
    none = some = 0.0
    shares = dict.fromkeys(ids, 0.0)
    # Where an id begins with "no", a small "no" may be its beginning.
    no_is_an_id = any(id.startswith("no-") for id in ids)
    for token, logprob in candidates:
        word, share = token.strip(" \t\n\r\"'`*_.,:;!?()[]▁ĠĊ"), math.exp(logprob)
        if word.casefold() in NO or word.casefold() == "none":
            if not (word == "no" and no_is_an_id):
                none += share
        elif word.casefold() in YES:
            some += share
        elif word in LETTERS[: len(ids)] and len(word) == 1:
            shares[ids[LETTERS.index(word)]] += share
    broken = some + math.fsum(shares.values())
    if none + broken < LEAST_MASS:
        return PrincipleReading(None)
    total = none + broken
    return PrincipleReading(broken / total, {id: share / total for id, share in shares.items() if share})


def written(text: str, ids: Sequence[str]) -> PrincipleReading:
    """The reading of a written answer: its last line, or all of it where it is one word or id."""
    lines = [line for line in text.strip().splitlines() if re.match(r"[\W_]*answer(?![a-z])", line, re.IGNORECASE)]
    said = re.split("[:=]", lines[-1], maxsplit=1)[-1] if lines else text
    said = said.strip(" \t\n\r\"'`*_.,:;!?()[]")
    match = re.match(r"([A-Z])(?:[:.)\s]|$)", said)
    if said in ids:
        return PrincipleReading(SURE, {said: SURE})
    if match and match.group(1) in LETTERS[: len(ids)] and (lines or len(said) == 1):
        return PrincipleReading(SURE, {ids[LETTERS.index(match.group(1))]: SURE})
    if fold_token(said) in NO or fold_token(said) == "none":
        return PrincipleReading(1 - SURE)
    return PrincipleReading(SURE) if fold_token(said) in YES else PrincipleReading(None)
