"""What is read of one draft, for any executor: the answers to questions, candidates for first words, embeddings; and what a
whole gate makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from pydantic import TypeAdapter

from conscience._base.flow import Flow, run_async
from conscience.backends.bound import BoundBackend
from conscience.backends.embeddings import is_registered
from conscience.distributed.drafts import draft_data, draft_from_data
from conscience.distributed.programs import program_data
from conscience.distributed.tasks import Codec, Shared, Task
from conscience.errors import ConfigurationError
from conscience.gate.asking import ask_candidates
from conscience.gate.gate import read_signals
from conscience.gate.probes import exchange_texts
from conscience.gate.questions import OpenQuestion, Question
from conscience.gate.settings import Signal
from conscience.optimizers.gate.distributions import Shown, shown
from conscience.outcome import Draft
from conscience.program import Conscience
from conscience.usage import CallContext, UsageTracker

_DRAFTS = Codec(draft_data, draft_from_data)
_SIGNALS: TypeAdapter[list[Signal]] = TypeAdapter(list[Signal])
_QUESTIONS: TypeAdapter[list[OpenQuestion | Question]] = TypeAdapter(list[OpenQuestion | Question])

Vectors = Sequence[Sequence[float]]
"""Of one draft, one for each wording."""


@dataclass(frozen=True)
class Reading:
    """What was read of one draft.

    Attributes:
        values: the value of each signal, in order; None where it has none, as where there was neither Yes nor No.
        shown: the candidates of each question that is read whole.
        vectors: by model.
    """

    values: list[float | None]
    shown: list[Shown] = field(default_factory=list)
    vectors: Mapping[str, Vectors] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """As JSON types."""
        shown = [[list(tokens), logprobs.tolist()] for tokens, logprobs in self.shown]
        return {"values": self.values, "shown": shown, "vectors": dict(self.vectors)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """What ``to_data`` wrote."""
        shown = [(tuple(tokens), np.array(logprobs)) for tokens, logprobs in data["shown"]]
        return cls(data["values"], shown, data["vectors"])


class ReadDraft(Task[Draft, Reading]):
    """Asks the model that reviews about a draft, one question after the other, and has it embedded.

    Args:
        program: on the runtime's models.
        signals: whose values are read.
        distributions: questions whose candidates are read.
        candidates: how many of them are asked for.
        wordings: embedding model → how the exchange is put to it.
    """

    items, results = _DRAFTS, Codec(Reading.to_data, Reading.from_data)

    def __init__(
        self,
        program: Conscience,
        signals: Sequence[Signal],
        distributions: Sequence[Question] = (),
        candidates: int = 0,
        wordings: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._program = program
        self._signals, self._distributions, self._candidates = list(signals), list(distributions), candidates
        self._wordings = {name: list(texts) for name, texts in (wordings or {}).items()}

    async def __call__(self, draft: Draft) -> Reading:
        return await run_async(self._read(draft, _reviewer(self._program)))

    def _read(self, draft: Draft, model: BoundBackend) -> Flow[Reading]:
        readings = yield from read_signals(self._signals, draft, model, in_turn=True)
        candidates: list[Shown] = []
        for question in self._distributions:
            answer = yield from ask_candidates(model, question.messages(draft), self._candidates)
            candidates.append(shown(() if answer is None else answer.first_token))
        vectors: dict[str, Vectors] = {}
        for name, templates in self._wordings.items():
            vectors[name] = yield from model.embed(name, exchange_texts(draft, templates))
        return Reading([readings[signal.name].value for signal in self._signals], candidates, vectors)

    def to_data(self) -> dict[str, Any]:
        for name in self._wordings:
            if is_registered(name):
                raise ConfigurationError(f"the embedding model {name!r} is a function of this process only")
        return {
            "program": program_data(self._program),
            "signals": _SIGNALS.dump_python(self._signals, mode="json"),
            "distributions": [question.model_dump(mode="json") for question in self._distributions],
            "candidates": self._candidates,
            "wordings": self._wordings,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Self:
        program, signals = shared.open(data["program"]), _SIGNALS.validate_python(data["signals"])
        distributions = _QUESTIONS.validate_python(data["distributions"])
        return cls(program, signals, distributions, data["candidates"], data["wordings"])


class GateProbability(Task[Draft, float | None]):
    """The probability that a program's gate gives a draft; None where it has none.

    Args:
        program: on the runtime's models.
    """

    items, results = _DRAFTS, Codec(lambda value: value, lambda value: value)

    def __init__(self, program: Conscience) -> None:
        self._program = program

    async def __call__(self, draft: Draft) -> float | None:
        verdict = await run_async(self._program.review.gate.score(draft, _reviewer(self._program)))
        return verdict.probability

    def to_data(self) -> dict[str, Any]:
        return {"program": program_data(self._program)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Self:
        return cls(shared.open(data["program"]))


def _reviewer(program: Conscience) -> BoundBackend:
    return program.roles.bound("review", CallContext(UsageTracker(), "review"))
