"""A linear reading of a whole answer: the log-probabilities of all candidates for the first token of a one-token question.

Yes against No are two words of it. A small model says Yes out of politeness, but which other words it thought of tells what
it read: "Stealing", "Please", "Police". It costs what the question costs; the embedded engine shows thousands of candidates,
most providers twenty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from conscience.gate.parts import OfAPart
from conscience.gate.questions import ONE_TOKEN_SAMPLING, Framing, OpenQuestion, Question
from conscience.messages.completion import Message
from conscience.outcome import Draft

FEW_CANDIDATES: int = ONE_TOKEN_SAMPLING["top_logprobs"]
"""What providers show at most. So many are asked for by any other one-token question too: asked for the same, the answer is
the same one, and a cache or a journal has it."""

MANY_CANDIDATES = 2000
"""What a model is asked for that shows any number."""

LARGEST_VOCABULARY = 10_000


class DistributionProbe(OfAPart):
    """A question of which the whole first token is read.

    It has no written form: where a model shows no log-probabilities, or does not go on with an answer that was begun, it has
    no value, as a question that is answered neither Yes nor No has none.

    Attributes:
        name: unique within a gate.
        text: what is asked: a question to answer with Yes or No, or, where the answer is begun, anything.
        framing: own or foreign.
        begin: how the answer is begun for the model, see ``OpenQuestion``; empty where it is not.
        candidates: how many are asked for, where the model shows as many.
        weights: token, as the server writes it → weight of its log-probability, in nats for each nat.
        floor: nats; what counts for a token that is not shown or less likely than this.
        bias: the constant, in nats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distribution"] = "distribution"
    name: str = Field(min_length=1)
    text: str = Field(min_length=1)
    framing: Framing = "own"
    begin: str = ""
    candidates: int = Field(default=FEW_CANDIDATES, ge=2, le=LARGEST_VOCABULARY)
    weights: Mapping[str, float] = Field(min_length=1, max_length=LARGEST_VOCABULARY)
    floor: float = Field(le=0, allow_inf_nan=False)
    bias: float = Field(default=0.0, allow_inf_nan=False)

    _added: ClassVar[frozenset[str]] = OfAPart._added | {"begin"}

    @field_validator("weights")
    @classmethod
    def _finite(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        for token, weight in weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {token!r} is not a finite number")
        return weights

    @property
    def question(self) -> Question:
        """What is asked."""
        if self.begin:
            return OpenQuestion(name=self.name, text=self.text, framing=self.framing, begin=self.begin)
        return Question(name=self.name, text=self.text, framing=self.framing)

    def messages(self, draft: Draft) -> list[Message]:
        """The chat messages that put the question about a draft."""
        return self.question.messages(draft)

    def value(self, candidates: Sequence[tuple[str, float]]) -> float:
        """Log-odds in nats from the candidates and their log-probabilities (nats)."""
        shown = dict(candidates)
        least = self.floor
        return self.bias + math.fsum(w * max(least, shown.get(token, least)) for token, w in self.weights.items())


def candidates_sampling(wanted: int, *, many: bool) -> Mapping[str, Any]:
    """Parameters of a one-token question whose candidates are read.

    Args:
        wanted: how many candidates.
        many: whether the model shows any number.
    """
    return {**ONE_TOKEN_SAMPLING, "top_logprobs": wanted if many else min(wanted, FEW_CANDIDATES)}
