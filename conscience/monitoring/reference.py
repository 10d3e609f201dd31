"""What a program says about its scores: the gate and the summary of scores for each model that it was fitted for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conscience.artifacts.schema import Artifact
from conscience.artifacts.scores import ScoreSummary
from conscience.gate.settings import GateSettings
from conscience.observability.record import VerdictRecord
from conscience.outcome import WITHOUT_A_MODEL

NOT_THE_GATE = WITHOUT_A_MODEL | {"critique", "none"}
"""How a verdict may be reached without the cascade's score."""


@dataclass(frozen=True)
class FittedGate:
    """A gate, and what its scores were like when it was fitted.

    Attributes:
        settings: signals, weights and threshold.
        scores: None where the program does not say: nobody compiled it, or an early version did.
    """

    settings: GateSettings
    scores: ScoreSummary | None = None

    def score(self, record: VerdictRecord) -> float | None:
        """The probability that this gate gives a logged draft, by the signals in the record where all that it needs are
        there: so a log goes on when a gate is refitted. Otherwise the one that was logged; None where no gate gave any."""
        value = record.probability
        if value is None or not 0 <= value <= 1 or record.method in NOT_THE_GATE:
            return None
        try:
            return self.settings.probability(record.signals)
        except KeyError:
            return value

    @property
    def threshold(self) -> float:
        """The one that the figures of compile time are about, whatever the program uses now."""
        return self.settings.threshold if self.scores is None else self.scores.threshold

    def flags(self, record: VerdictRecord, score: float) -> bool:
        """Whether this gate flags a draft; a gate flags for more than its score where it asks about principles."""
        return score >= self.threshold or (record.gated and self.has_threshold(record.threshold))

    def has_threshold(self, threshold: float) -> bool:
        """Whether a threshold is this gate's: what was flagged by another one says nothing about this."""
        return math.isclose(threshold, self.threshold, abs_tol=1e-9)


def fitted_gates(program: Any) -> Mapping[str, FittedGate]:
    """Model → gate, of a program, its file or its artifact.

    Args:
        program: a path, an ``Artifact``, or a ``Conscience``.

    Raises:
        ArtifactError: the file is not a program.
    """
    if isinstance(program, str | Path):
        program = Artifact.read(program)
    own = () if isinstance(program, Artifact) else (program.gate_settings,)
    scores = program.provenance.scores if program.provenance is not None else {}
    by_backend: dict[str, FittedGate] = {}
    for settings in (*own, *program.calibrations):
        by_backend.setdefault(settings.backend, FittedGate(settings, scores.get(settings.backend)))
    return by_backend
