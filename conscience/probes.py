"""Signals that read rather than ask: surface words, and a linear reading of an embedding. Applied in plain Python."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from conscience.embedding import unpack
from conscience.lexical import Words
from conscience.rendering import request_text
from conscience.verdict import Draft

Part = Literal["request", "response", "product", "joint"]
"""What is read of an exchange: the embedding of the request, of the response, their product by number, that of both as one."""

PARTS: tuple[Part, ...] = ("request", "response", "product", "joint")
LONGEST = 2000
"""Characters of each text that are embedded; servers refuse what is too long for their context."""


class LexicalProbe(BaseModel):
    """Surface words as a signal: no model is asked.

    Attributes:
        name: unique within a gate.
        features: word or word pair → (idf, weight).
        bias: the constant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lexical"] = "lexical"
    name: str = Field(min_length=1)
    features: Mapping[str, tuple[float, float]]
    bias: float = 0.0

    @classmethod
    def of(cls, name: str, words: Words, *, most: int = 4000) -> LexicalProbe:
        """From fitted words; those with the smallest weights are left out beyond ``most``, the digits beyond four too."""
        kept = sorted(words.weights, key=lambda feature: -abs(words.weights[feature]))[:most]
        rounded = {f: (float(f"{words.idf[f]:.4g}"), float(f"{words.weights[f]:.4g}")) for f in sorted(kept)}
        return cls(name=name, features=rounded, bias=float(f"{words.bias:.4g}"))

    def value(self, draft: Draft) -> float:
        """Log-odds in nats, as far as words tell."""
        idf = {feature: pair[0] for feature, pair in self.features.items()}
        weights = {feature: pair[1] for feature, pair in self.features.items()}
        return Words(idf, weights, self.bias).score(exchange_text(draft))


class EmbeddingProbe(BaseModel):
    """A linear reading of an embedding of the exchange.

    Attributes:
        name: unique within a gate.
        model: who embeds: "local" (the embedded model's own last hidden state), "e5" (a small CPU model, extra ``e5``) or a
            LiteLLM embedding model.
        parts: what is embedded, in the order of the weights.
        wording: how the joint text is put; ``{request}`` and ``{response}`` stand in it.
        weights: one for each number, as base64 of little-endian float32; standardisation is folded in.
        bias: the constant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["embedding"] = "embedding"
    name: str = Field(min_length=1)
    model: str = Field(min_length=1)
    parts: tuple[Part, ...] = PARTS
    wording: str = "{request} {response}"
    weights: str
    bias: float = 0.0

    @model_validator(mode="after")
    def _readable(self) -> EmbeddingProbe:
        values = unpack(self.weights)
        if len(values) % len(self.parts) or not values:
            raise ValueError(f"{len(values)} weights do not divide into {len(self.parts)} parts")
        if not all(map(math.isfinite, values)):
            raise ValueError("a weight is not a finite number")
        return self

    def texts(self, draft: Draft) -> list[str]:
        """The texts to embed for a draft, see ``part_texts``."""
        return part_texts(draft, self.parts, self.wording)

    def value(self, vectors: Sequence[Sequence[float]]) -> float:
        """Log-odds in nats from the texts' embeddings, in the order of ``texts``.

        Raises:
            ValueError: the embeddings are not of the size that the probe was fitted on.
        """
        features = part_features(vectors, self.parts)
        weights = unpack(self.weights)
        if len(features) != len(weights):
            raise ValueError(f"{self.model} gives {len(features)} numbers, the probe {self.name!r} reads {len(weights)}")
        return self.bias + math.fsum(w * x for w, x in zip(weights, features, strict=True))


def exchange_text(draft: Draft) -> str:
    """Request and response as one text, as the lexical probe reads it."""
    return f"{request_text(draft.request)}\n{draft.response}"


def part_texts(draft: Draft, parts: Sequence[Part], wording: str) -> list[str]:
    """Request, response and joint text, as far as the parts need them; an empty one is a blank."""
    request, response = request_text(draft.request)[-LONGEST:], draft.response[:LONGEST]
    wanted = {
        "request": request if {"request", "product"} & set(parts) else None,
        "response": response if {"response", "product"} & set(parts) else None,
        "joint": wording.format(request=request, response=response) if "joint" in parts else None,
    }
    return [text.strip() or " " for text in wanted.values() if text is not None]


def part_features(vectors: Sequence[Sequence[float]], parts: Sequence[Part]) -> list[float]:
    """The numbers that the weights are for, from the embeddings of ``part_texts``."""
    names = [n for n in ("request", "response", "joint") if n in parts or (n != "joint" and "product" in parts)]
    found = dict(zip(names, vectors, strict=True))
    features: list[float] = []
    for part in parts:
        if part == "product":
            features += [a * b for a, b in zip(found["request"], found["response"], strict=True)]
        else:
            features += found[part]
    return features
