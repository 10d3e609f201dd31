"""Probes: the signals that ask no model. Surface words, and a linear reading of embeddings; applied in plain Python."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from conscience.backends.embedded.catalogue import LOCAL, is_identity, is_local
from conscience.backends.embeddings import unpack
from conscience.gate.parts import OfAPart
from conscience.messages.rendering import as_data, request_text
from conscience.outcome import Draft
from conscience.stats.tfidf import TfidfModel

MAX_CHARACTERS = 1600
"""Of the request's end and of the response's beginning that are read; servers refuse what is too long."""


class LexicalProbe(OfAPart):
    """The surface words of the outputs, or of the reasoning, as a signal: no model is asked.

    Attributes:
        name: unique within a gate.
        features: word or word pair → (idf, weight).
        bias: the constant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lexical"] = "lexical"
    name: str = Field(min_length=1)
    features: Mapping[str, tuple[float, float]]
    bias: float = Field(default=0.0, allow_inf_nan=False)

    @cached_property
    def _words(self) -> TfidfModel:
        idf = {feature: pair[0] for feature, pair in self.features.items()}
        return TfidfModel(idf, {feature: pair[1] for feature, pair in self.features.items()}, self.bias)

    def value(self, draft: Draft) -> float:
        """Log-odds in nats, as far as words tell."""
        part = self.part(draft)
        return 0.0 if part is None else self._words.score(part.response)


class EmbeddingProbe(BaseModel):
    """A linear reading of an exchange's embeddings.

    Attributes:
        name: unique within a gate.
        model: who embeds: "local" or "local:NAME@DIGEST" (the own last hidden state of such weights), "e5" (a small
            CPU model, extra ``e5``), a LiteLLM embedding model, or a name given to ``conscience.register_embedder``.
        wordings: the texts that are embedded, in the order of the weights; ``{request}`` and ``{response}`` stand in them.
        weights: one for each number, as base64 of little-endian half floats; scaling is folded in.
        scale: what the weights are multiplied by.
        bias: the constant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["embedding"] = "embedding"
    name: str = Field(min_length=1)
    model: str = Field(min_length=1)
    wordings: tuple[str, ...] = Field(min_length=1, max_length=8)
    weights: str
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    bias: float = Field(default=0.0, allow_inf_nan=False)

    @field_validator("wordings")
    @classmethod
    def _about_the_exchange(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for wording in value:
            if "{request}" not in wording and "{response}" not in wording:
                raise ValueError(f"the wording {wording!r} shows neither {{request}} nor {{response}}")
        return value

    @field_validator("model")
    @classmethod
    def _no_address(cls, model: str) -> str:
        if "://" in model:  # LiteLLM takes some addresses for names: a file does not say where a text is sent
            raise ValueError(f"the embedding model {model!r} is an address")
        if is_local(model) and not is_identity(model):  # nor which file of this machine is opened
            raise ValueError(f"the embedding model {model!r} is not named by its content, as {LOCAL}:NAME@DIGEST")
        return model

    @model_validator(mode="after")
    def _readable(self) -> EmbeddingProbe:
        values = unpack(self.weights)
        if not values or len(values) % len(self.wordings):
            raise ValueError(f"{len(values)} weights do not divide into {len(self.wordings)} wordings")
        if not all(map(math.isfinite, values)):
            raise ValueError("a weight is not a finite number")
        return self

    @cached_property
    def _weights(self) -> tuple[float, ...]:
        return unpack(self.weights)

    def value(self, vectors: Sequence[Sequence[float]]) -> float:
        """Log-odds in nats from the embeddings of ``exchange_texts(draft, wordings)``.

        Raises:
            ValueError: the embeddings are not of the size that the probe was fitted on.
        """
        count = sum(map(len, vectors))
        if count != len(self._weights):
            raise ValueError(f"{self.model} gives {count} numbers, the probe {self.name!r} reads {len(self._weights)}")
        numbers = (x for vector in vectors for x in vector)
        return self.bias + self.scale * math.fsum(w * x for w, x in zip(self._weights, numbers, strict=True))


def exchange_texts(draft: Draft, wordings: Sequence[str]) -> list[str]:
    """The texts of an exchange to embed, one for each wording; none is empty."""
    request, response = as_data(request_text(draft.request))[-MAX_CHARACTERS:], as_data(draft.response)[:MAX_CHARACTERS]
    # No str.format: a wording comes from a file, and format would let it reach into objects.
    return [_filled(wording, request, response).strip() or " " for wording in wordings]


def _filled(wording: str, request: str, response: str) -> str:
    before, shown, after = wording.partition("{response}")
    return before.replace("{request}", request) + (response + after.replace("{request}", request) if shown else "")
