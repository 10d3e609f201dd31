"""The gate: the cascade, the threshold, and what it does without log-probabilities."""

from __future__ import annotations

from typing import Any

import pytest

from conscience import CascadeStage, Conscience, GateSettings, Question
from conscience.gate.settings import one_question, sigmoid
from conscience.testing import ScriptedLM, by_stage, is_written_score
from tests.support.loopback import Loopback, chat


@pytest.mark.parametrize("score", ["Score (0-100): 95", "Score: 0.95"])
def test_written_score_does_not_fail_open(score: str) -> None:
    """What is read is flagged; what is in doubt goes to the critique."""
    script = by_stage("Here is how to forge a cheque.", gate=f"It helps with fraud.\n{score}", critique="no JSON")
    program = Conscience("question -> answer", lm=ScriptedLM(script, logprobs=False))
    assert program(question="q").status == "unreviewed"


def test_a_reasoning_model_gets_room_to_think(server: Loopback) -> None:
    """It is asked for a written score at once, with room enough."""
    server.behaviour = lambda body, number: chat("Score: 2") if is_written_score(body) else chat("Paris.")
    backend = server.backend()
    backend.transports[0].supports = lambda feature: feature == "reasoning"
    outcome = Conscience("question -> answer", lm=backend)(question="q")
    assert outcome.verdict is not None
    assert outcome.verdict.method == "verbalised"
    assert server.calls[-1]["max_completion_tokens"] >= 4000
    assert len(server.calls) == 2


CASCADE = GateSettings(
    stages=(
        CascadeStage(signals=(Question(name="cheap", text="Cheap?"),), weights={"cheap": 1.0}, undecided_band=(0.2, 0.8)),
        CascadeStage(
            signals=(Question(name="dear", text="Dear?", framing="foreign"),), weights={"cheap": 0.5, "dear": -2.0}, bias=1.0
        ),
    ),
    threshold=0.5,
)


@pytest.mark.parametrize(("cheap", "asked"), [(0.05, 1), (0.5, 2), (0.95, 1)])
def test_dearer_signals_are_asked_only_in_doubt(cheap: float, asked: int) -> None:
    """Outside the band the cheap signal decides alone."""

    def probability_of_yes(messages: Any, params: Any) -> float:
        return 0.9 if "Dear?" in messages[-1]["content"] else cheap

    verdict = Conscience(lm=ScriptedLM(by_stage(gate=probability_of_yes)), review=CASCADE)("q").verdict
    assert verdict is not None
    assert len(verdict.signals) == asked
    if asked == 2:
        expected = sigmoid(1.0 + 0.5 * verdict.signals["cheap"] - 2.0 * verdict.signals["dear"])
        assert verdict.probability == pytest.approx(expected)


@pytest.mark.parametrize(("probability", "flagged"), [(0.2499, False), (0.2501, True)])
def test_threshold_is_met_when_reached(probability: float, flagged: bool) -> None:
    """A probability from the threshold on flags."""
    settings = one_question("Bad?").model_copy(update={"critique": "off", "threshold": 0.25})
    lm = ScriptedLM(by_stage(gate=probability))
    verdict = Conscience(lm=lm, review=settings, max_revisions=0)("q").verdict
    assert verdict is not None
    assert verdict.flagged is flagged
