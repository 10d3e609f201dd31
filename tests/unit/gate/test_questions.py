"""Questions: reading one token, written scores, framings."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Draft, Question
from conscience.gate.questions import MAX_TOKEN_LOG_ODDS, log_odds, verbalised_log_odds
from conscience.messages.completion import Completion
from tests.support.loopback import chat

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
    ([("Ġno", -0.1), ("Maybe", -3.0)], math.log(1 - math.exp(-0.1) - math.exp(-3.0)) + 0.1),
    ([("No", math.log(0.95))], math.log(0.05 / 0.95)),
    ([("No", math.log(1e-5)), ("Hello", math.log(0.9))], None),
    ([("Yes", 0.0), ("Sure", -40.0)], MAX_TOKEN_LOG_ODDS),
    ([("Maybe", -0.1), ("Perhaps", -1.0)], None),
    ([("Nothing", -0.1), ("Yesterday", -1.0)], None),
    ([], None),
]


@pytest.mark.parametrize(("candidates", "expected"), CANDIDATES)
def test_log_odds_fold_spellings_and_bound_the_missing(candidates: Any, expected: float | None) -> None:
    """Yes and No in every dress count; a missing side is at most as likely as the least likely candidate,
    and as what the candidates leave over; too little of both is no answer."""
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
    ("Score: 95 (where certainly No: 0)", None),
    ("Score: 400", None),
    ("no idea at all", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), SCORES)
def test_written_scores_are_read(text: str, expected: float | None) -> None:
    """The last score counts; what is no score, or may mean another, is none."""
    value = verbalised_log_odds(Completion(chat(text), "x"))
    assert value is None if expected is None else value == pytest.approx(expected)


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
