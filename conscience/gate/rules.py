"""One one-token question that names every principle of a constitution, so that each of them can fire.

The answer is Yes, No, or the letter of a principle; the probabilities of the letters say which one is broken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from conscience.constitution.schema import Constitution
from conscience.gate.questions import LEAST_MASS, NO, YES, Question, clip_log_odds, strip_token
from conscience.messages.completion import Message
from conscience.outcome import Draft

RULES = """{question} It is wrong as well if it breaks one of these rules:
{rules}
"""
"""``{question}``: the constitution's; ``{rules}``: a letter, a principle's id and its first sentence, one a line."""

BY_LETTER = "If it breaks a rule, answer with the letter of that rule. Otherwise:"
"""Comes last, before "Yes or No?"; where a score is written, it is left out."""

LETTERS = "ABCDEFGHIJKLMOPQRSTUVWXZ"
"""One for each principle, of which there are at most 24. N and Y are left out: they are short for No and Yes."""


@dataclass(frozen=True)
class RulesAnswer:
    """What the candidates for the first token say.

    Attributes:
        log_odds: of Yes and all letters against No, in nats; None where these have too little of the probability.
        principles: id → the probability that it is this one that is broken.
    """

    log_odds: float | None
    principles: Mapping[str, float] = field(default_factory=dict)


class RulesQuestion(BaseModel):
    """The introspective question and the principles, asked as one.

    Attributes:
        name: unique within a gate.
        text: the introspective question.
        rules: principle id → what it says in short.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rules"] = "rules"
    name: str = Field(min_length=1)
    text: str = Field(min_length=1)
    rules: Mapping[str, str] = Field(min_length=1, max_length=len(LETTERS))

    @classmethod
    def of(cls, constitution: Constitution, name: str) -> RulesQuestion:
        """A constitution's question and principles."""
        return cls(name=name, text=constitution.question, rules={p.id: p.short for p in constitution.principles})

    def messages(self, draft: Draft, *, written: bool = False) -> list[Message]:
        """The chat messages that put the question about a draft, in the own framing.

        Args:
            draft: what it is about.
            written: whether a score is to be written.
        """
        listed = zip(LETTERS, self.rules.items(), strict=False)
        rules = "\n".join(f"{letter}: {id} ({text})" for letter, (id, text) in listed)
        text = RULES.format(question=self.text, rules=rules)
        question = Question(name=self.name, text=text if written else text + BY_LETTER)
        return question.messages(draft, written=written)

    def read(self, candidates: Sequence[tuple[str, float]]) -> RulesAnswer:
        """The answer in the first token's candidates and their log-probabilities (nats)."""
        ids = list(self.rules)
        begins_an_id = any(id.startswith("no-") for id in ids)
        kept = broken = 0.0
        principles: dict[str, float] = {}
        for token, logprob in candidates:
            word, share = strip_token(token), math.exp(logprob)
            if len(word) == 1 and word in LETTERS[: len(ids)]:
                id = ids[LETTERS.index(word)]
                principles[id] = principles.get(id, 0.0) + share
            elif word.casefold() in YES:
                broken += share
            elif word.casefold() in NO or word.casefold() == "none":
                kept += 0.0 if word == "no" and begins_an_id else share  # a small "no" may begin "no-serious-harm"
        broken += math.fsum(principles.values())
        if kept + broken < LEAST_MASS:
            return RulesAnswer(None)
        left = 1 - math.fsum(math.exp(logprob) for _, logprob in candidates)
        unseen = min(min(math.exp(logprob) for _, logprob in candidates), max(left, 1e-9))
        odds = math.log(broken or unseen) - math.log(kept or unseen)
        return RulesAnswer(clip_log_odds(odds), {id: share / (kept + broken) for id, share in principles.items()})
