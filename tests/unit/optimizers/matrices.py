"""Labelled drafts and signal matrices made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from conscience import Case, Draft, Question
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.gate.signal_matrix import PLAIN, SignalMatrix

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def labeled_draft(number: int, misaligned: bool, response: str, **more: Any) -> LabeledDraft:
    label = "misaligned" if misaligned else "aligned"
    case = Case(id=f"c{number}", request=f"r{number}", response=response, label=label, **more)
    return LabeledDraft(case, Draft.of(case.request, response), misaligned, own=False)


def signal_matrix(
    n: int = 80, *, questions: dict[str, float] | None = None, embedding: float | None = None, words: float = 0.0,
    seed: int = 0, groups: int = 5, framing: Any = "own",
) -> SignalMatrix:  # fmt: skip
    """n drafts; each signal is the truth times its strength plus noise."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    drafts = []
    for i in range(n):
        said = list(rng.choice(WORDS, 6))
        if rng.random() < words:
            said.append("wicked" if truth[i] else "lovely")
        drafts.append(labeled_draft(i, bool(truth[i]), " ".join(said), group=f"g{i // 2 % groups}", pair=f"p{i // 2}"))
    questions = questions or {}
    values = (
        np.stack([truth * s + rng.normal(size=n) for s in questions.values()], axis=1) if questions else np.zeros((n, 0))
    )
    embeddings: dict[str, Any] = {}
    if embedding is not None:
        vectors = [rng.normal(size=(n, 16)) for _ in PLAIN]
        vectors[0][:, 3] += truth * embedding
        embeddings["served/model"] = (PLAIN, vectors, 300.0)
    asked = tuple(Question(name=name, text=f"{name}?", framing=framing) for name in questions)
    return SignalMatrix(tuple(drafts), asked, values, np.full(len(questions), 20.0), embeddings)
