"""A program as a compiler would leave it: every kind of signal, prompts, demos and a provenance."""

from __future__ import annotations

from typing import Any

import dspy

from conscience import CascadeStage, Conscience, EmbeddingProbe, GateSettings, LexicalProbe, Question
from conscience.artifacts.schema import Provenance
from conscience.backends.embeddings import pack
from conscience.testing import ScriptedLM


def compiled_program(**options: Any) -> Conscience:
    program = Conscience("question -> answer", constitution="medical", lm=ScriptedLM({"": "x"}), **options)
    program.review.critique.predict.demos = [dspy.Example(principles="p", exchange="e", findings="[]")]
    program.revise.predict.signature = program.revise.predict.signature.with_instructions("Correct it.")
    signals = (
        Question(name="q", text="Is it bad?"),
        LexicalProbe(name="words", features={"bad": (1.5, 2.0)}),
        EmbeddingProbe(name="e", model="e5", wordings=("{response}",), weights=pack([0.5, -0.25]), scale=3.0),
    )
    program.review.gate_settings = GateSettings(
        stages=(CascadeStage(signals=signals[1:2], weights={"words": 1.0}, undecided_band=(0.1, 0.9)),
                CascadeStage(signals=(signals[0], signals[2]), weights={"words": 1.0, "q": -0.5, "e": 1.0}, bias=-0.2)),
        threshold=0.625, critique="votes", override_threshold=0.9, backend="scripted/lm",
    )  # fmt: skip
    program.provenance = Provenance(backend="scripted/lm", seed=3, notes=("a note",))
    return program
