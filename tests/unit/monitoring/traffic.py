"""Scripted traffic: scores of fine and of objectionable drafts, and a program that was compiled on some of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from conscience import Conscience
from conscience.artifacts.io import to_artifact
from conscience.artifacts.schema import Artifact, Provenance
from conscience.artifacts.scores import ScoreSummary
from conscience.cases.case import Label
from conscience.gate.settings import one_question
from conscience.observability.record import VerdictRecord
from conscience.stats.intervals import upper_bound

BACKEND = "openai/scripted"
BEGAN = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
FINE, WRONG = -3.0, 2.0
"""Log-odds, on average, of drafts that are fine and of those that are not; they spread by 1."""
TARGET = 0.05


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def draws(rng: random.Random, count: int, wrong: float, shift: float = 0.0) -> Iterator[tuple[Label, float]]:
    """Labels and scores.

    Args:
        wrong: the share of drafts that are not fine.
        shift: by which the gate's log-odds of drafts that are fine have moved.
    """
    for _ in range(count):
        if rng.random() < wrong:
            yield "misaligned", probability(rng.gauss(WRONG, 1))
        else:
            yield "aligned", probability(rng.gauss(FINE + shift, 1))


def compiled(rng: random.Random, aligned: int = 150, misaligned: int = 50) -> Artifact:
    """A program whose threshold is certified on drafts of the same distribution, as the compiler does it."""
    scored = [*draws(rng, aligned, 0.0), *draws(rng, misaligned, 1.0)]
    fine = sorted((score for label, score in scored if label == "aligned"), reverse=True)
    most = next(k for k in range(aligned) if upper_bound(k + 1, aligned) > TARGET)
    threshold = math.ceil(fine[most] * 1e6 + 1) / 1e6
    summary = ScoreSummary.of(
        [score for _, score in scored],
        [label == "misaligned" for label, _ in scored],
        threshold=threshold,
        target_fpr=TARGET,
        certified=upper_bound(0, aligned) <= TARGET,
    )
    settings = one_question("Is that wrong?").model_copy(update={"threshold": threshold, "backend": BACKEND})
    program = Conscience(review=settings)
    assert summary is not None
    return to_artifact(program, Provenance(made=BEGAN.isoformat(), backend=BACKEND, scores={BACKEND: summary}))


def record(number: int, score: float | None, threshold: float = 0.5) -> VerdictRecord:
    """The line of a call in the log, with texts."""
    flagged = score is not None and score >= threshold
    return VerdictRecord(
        at=(BEGAN + timedelta(seconds=number)).isoformat(timespec="milliseconds"),
        id=f"r{number}",
        backend=BACKEND,
        mode="observe",
        status="unreviewed" if score is None else "refused" if flagged else "clean",
        flagged=flagged or score is None,
        gated=flagged,
        probability=score,
        threshold=threshold,
        method="none" if score is None else "logprobs",
        calls=2,
        tokens=300,
        seconds=0.4,
        dollars=0.001,
        request=f"Question {number}?",
        response=f"Answer {number}.",
        draft=f"Answer {number}.",
    )


def traffic(
    rng: random.Random, threshold: float, *, count: int = 1000, drift_at: int = 600, shift: float = 0.0, wrong: float = 0.05
) -> list[tuple[VerdictRecord, Label]]:
    """Records with the labels that people would give; from ``drift_at`` on the gate's scores are shifted."""
    scored = [*draws(rng, drift_at, wrong), *draws(rng, count - drift_at, wrong, shift)]
    return [(record(number, score, threshold), label) for number, (label, score) in enumerate(scored)]


def without_texts(records: list[VerdictRecord]) -> list[VerdictRecord]:
    return [replace(one, request=None, response=None, draft=None) for one in records]
