"""The gate: reading one token, written scores, framings, the cascade."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conscience import Conscience, GateSettings
from conscience.gate.questions import MAX_TOKEN_LOG_ODDS, Question, log_odds, verbalised_log_odds
from conscience.gate.settings import CascadeStage, one_question, sigmoid
from conscience.messages.completion import Completion
from conscience.outcome import Draft
from conscience.testing import ScriptedLM
from tests.support.loopback import Loopback, chat

DRAFT = Draft(
    request="How?",
    outputs={"response": "So."},
    reasoning="Because.",
    messages=({"role": "user", "content": "How?"},),
    text="So.",
)

CANDIDATES = [
    ([("Yes", math.log(0.8)), ("No", math.log(0.2))], math.log(4)),
    ([(" yes", math.log(0.4)), ("YES.", math.log(0.4)), ("▁No", math.log(0.2))], math.log(4)),
    ([("Ġno", -0.1), ("Maybe", -3.0)], -2.9),
    ([("Yes", 0.0), ("Sure", -40.0)], MAX_TOKEN_LOG_ODDS),
    ([("Maybe", -0.1), ("Perhaps", -1.0)], None),
    ([("Nothing", -0.1), ("Yesterday", -1.0)], None),
    ([], None),
]


@pytest.mark.parametrize(("candidates", "expected"), CANDIDATES)
def test_log_odds_fold_spellings_and_bound_the_missing(candidates: Any, expected: float | None) -> None:
    """Yes and No in every dress count; a missing side is at most as likely as the least likely candidate."""
    value = log_odds(candidates)
    assert value is None if expected is None else value == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from(["Yes", "no", " NO", "x", "yes!"]), st.floats(-50, 0)), min_size=1, max_size=20))
def test_log_odds_are_finite_and_antisymmetric(candidates: list[tuple[str, float]]) -> None:
    """Swapping Yes and No turns the sign."""
    swap = {"Yes": "No", "no": "yes", " NO": "YES", "x": "x", "yes!": "no!"}
    value, mirrored = log_odds(candidates), log_odds([(swap[t], p) for t, p in candidates])
    if value is None:
        assert mirrored is None
    else:
        assert abs(value) <= MAX_TOKEN_LOG_ODDS
        assert value == pytest.approx(-mirrored)  # type: ignore[operator]


def test_candidates_without_a_logprob_are_left_out() -> None:
    """As a server writes them that cannot say minus infinity."""
    reply = chat("No", yes=0.25)
    first = reply["choices"][0]["logprobs"]["content"][0]
    first["top_logprobs"] += [{"token": "yes", "logprob": None}, {"token": None, "logprob": -1.0}, {"token": "x"}]
    assert [token for token, _ in Completion(reply, "x").first_token] == ["No", "Yes"]
    first |= {"logprob": None, "top_logprobs": [{"token": "No", "logprob": None}]}
    assert not Completion(reply, "x").first_token


HIGH = math.log(19)
SCORES = [
    ("Score: 80", math.log(4)),
    ("I weighed 3 things.\n**Score: 20**", -math.log(4)),
    ("Score: 10, no wait. Score: 100", math.log(99)),
    ("Score: 10\nNo, higher.\nScore: 95\nThat is all.", HIGH),
    ("Score (0-100): 95", HIGH),
    ("Score out of 100: 95/100.", HIGH),
    ("_Score_ = 95 %", HIGH),
    ("score of 95", HIGH),
    ('{"score": 95.0}', HIGH),
    ("75", math.log(3)),
    ("75%", math.log(3)),
    ("Yes.", math.log(99)),
    ("Score: 1", -math.log(99)),
    ("Score: 0.95", None),
    ("Score: .95", None),
    ("Score: 1.0", None),
    ("0.95", None),
    ("Score: 8/10", None),
    ("Score: 8 out of 10", None),
    ("Score: 3 or 95", None),
    ("Score: 3-95", None),
    ("Score: -5", None),
    ("Score: 95\nScore: N", None),
    ("Score: 400", None),
    ("no idea at all", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), SCORES)
def test_written_scores_are_read(text: str, expected: float | None) -> None:
    """The last score counts; what is no score, or may mean another, is none."""
    value = verbalised_log_odds(Completion(chat(text), "x"))
    assert value is None if expected is None else value == pytest.approx(expected)


@pytest.mark.parametrize("score", ["Score (0-100): 95", "Score: 0.95"])
def test_written_score_does_not_fail_open(score: str) -> None:
    """What is read is flagged; what is in doubt goes to the critique."""
    lm = ScriptedLM({"Score: N": f"It helps with fraud.\n{score}", "": "Here is how to forge a cheque."}, logprobs=False)
    assert Conscience("question -> answer", lm=lm)(question="q").status == "unreviewed"  # this critique is no JSON


def test_own_framing_continues_the_messages_and_shows_hidden_reasoning() -> None:
    """Reasoning that is not part of the answer's text comes before the question."""
    messages = Question(name="q", text="Is your answer wrong?").messages(DRAFT)
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert "Because." in messages[-1]["content"]


def test_foreign_framing_shows_somebody_elses_exchange() -> None:
    """One fresh turn, with request, reasoning and response as data, and the question turned to the response."""
    (message,) = Question(name="q", text="Is your answer above wrong?", framing="foreign").messages(DRAFT)
    for part in ("How?", "Because.", "So.", "Is it wrong?"):
        assert part in message["content"]


def test_a_reasoning_model_gets_room_to_think(server: Loopback) -> None:
    """It is asked for a written score at once, with room enough."""
    server.behaviour = lambda body, n: chat("Score: 2") if "Score: N" in str(body) else chat("Paris.")
    backend = server.backend()
    backend.transports[0].supports = lambda feature: feature == "reasoning"
    outcome = Conscience("question -> answer", lm=backend)(question="q")
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
    lm = ScriptedLM({"Cheap": cheap, "Dear": 0.9, "Answer with JSON": '{"findings": []}', "": "text"})
    verdict = Conscience(lm=lm, review=CASCADE)("q").verdict
    assert len(verdict.signals) == asked
    if asked == 2:
        expected = sigmoid(1.0 + 0.5 * verdict.signals["cheap"] - 2.0 * verdict.signals["dear"])
        assert verdict.probability == pytest.approx(expected)


def test_threshold_is_met_when_reached() -> None:
    """A probability equal to the threshold flags."""
    settings = one_question("Bad?").model_copy(update={"critique": "off", "threshold": 0.25})
    for probability, flagged in ((0.2499, False), (0.2501, True)):
        lm = ScriptedLM({"Yes or No": probability, "": "text"})
        assert Conscience(lm=lm, review=settings, max_revisions=0)("q").verdict.flagged is flagged


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [{"signals": [{"name": "a", "text": "A?"}], "weights": {"b": 1}}],
        [{"signals": [{"name": "a", "text": "A?"}, {"name": "a", "text": "B?"}], "weights": {}}],
        [{"signals": [{"name": "a", "text": "A?"}], "weights": {"a": math.inf}}],
        [{"signals": [{"name": "a", "text": "A?"}], "weights": {"a": 1}, "api_base": "x"}],
    ],
)
def test_inconsistent_settings_are_refused(stages: Any) -> None:
    """A weight without a signal, a signal twice, an endless weight, an unknown key."""
    with pytest.raises(ValidationError):
        GateSettings.model_validate({"stages": stages})


def test_critique_modes() -> None:
    """votes may clear, explains may not, off does not ask."""
    for mode, status, critiques in (("votes", "cleared", 1), ("explains", "refused", 1), ("off", "refused", 0)):
        lm = ScriptedLM({"Yes or No": 0.9, "Answer with JSON": '{"findings": []}', "": "text"})
        settings = one_question("Bad?").model_copy(update={"critique": mode})
        assert Conscience(lm=lm, review=settings, max_revisions=0)("q").status == status
        assert sum("Answer with JSON" in str(m) for m, _ in lm.calls) == critiques


def test_critique_decides_doubtful_drafts_only() -> None:
    """From ``override_threshold`` on it explains, although it votes below."""

    def status(probability: float) -> str:
        lm = ScriptedLM({"Yes or No": probability, "Answer with JSON only": '{"findings": []}', "": "A draft."})
        settings = one_question("Is it bad?").model_copy(update={"override_threshold": 0.9})
        return Conscience("q -> a", lm=lm, review=settings, max_revisions=0)(q="hello").status

    assert (status(0.2), status(0.7), status(0.95)) == ("clean", "cleared", "refused")


@given(st.floats(-40, 40), st.floats(-40, 40))
def test_known_signals_give_the_probability_of_the_stage_that_settles(first: float, second: float) -> None:
    """As the gate finds it by asking; never 0 or 1."""
    questions = [Question(name=name, text="Is it?") for name in "ab"]
    cheap = CascadeStage(signals=questions[:1], weights={"a": 1.0}, undecided_band=(0.3, 0.6))  # type: ignore[arg-type]
    cost_tier = CascadeStage(signals=questions[1:], weights={"a": 1.0, "b": 2.0}, bias=-1.0)  # type: ignore[arg-type]
    settings = GateSettings(stages=(cheap, cost_tier))
    p = settings.probability({"a": first, "b": second})
    alone = sigmoid(first)
    expected = first if not 0.3 <= alone <= 0.6 else first + 2 * second - 1
    assert p == pytest.approx(sigmoid(max(-13.8, min(13.8, expected))))
    assert 0 < p < 1
