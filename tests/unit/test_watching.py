"""A call that is watched: each stage with what it came to, for an author; a user's stream has none of that."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from conscience import BackendError, Conscience, Draft, Outcome, StageStarted, Verdict
from conscience._base.flow import StageEnded
from conscience._watching import watched
from conscience.testing import Fault, ScriptedLM, by_stage

FINDING = json.dumps({"findings": [{"principle": "honesty", "quote": "Bad", "why": "It is.", "change": "Say otherwise."}]})


def mending(**options: Any) -> Conscience:
    """A program that drafts "Bad." and mends it."""
    script = by_stage(
        "Bad.",
        gate=lambda messages, params: 0.9 if "Bad." in messages[-2]["content"] else 0.1,
        critique=FINDING,
        revise="Good.",
    )
    return Conscience("question -> answer", lm=ScriptedLM(script), **options)


async def test_each_stage_is_told_with_what_it_came_to() -> None:
    """The gate's verdict before the critique's, the revision before its review, the outcome last."""
    events = [event async for event in watched(mending(), question="?")]
    told = [(type(e).__name__, getattr(e, "name", "")) for e in events]
    assert told == [
        ("StageStarted", "generate"), ("StageEnded", "generate"),
        ("StageStarted", "gate"), ("StageEnded", "gate"), ("StageStarted", "critique"), ("StageEnded", "review"),
        ("StageStarted", "revise"), ("StageEnded", "revise"),
        ("StageStarted", "gate"), ("StageEnded", "gate"), ("StageEnded", "review"),
        ("Outcome", ""),
    ]  # fmt: skip
    draft, gate, review, revision = [e.result for e in events if isinstance(e, StageEnded)][:4]
    assert isinstance(draft, Draft)
    assert (draft.response, revision.response) == ("Bad.", "Good.")
    assert isinstance(gate, Verdict)
    assert (gate.flagged, gate.findings, len(review.findings)) == (True, (), 1)
    assert events[-1].status == "revised"


async def test_a_stream_for_users_tells_no_results() -> None:
    """Stages by name, the words that were reviewed, and the outcome."""
    events = [event async for event in mending().stream(question="?")]
    assert {type(event) for event in events} == {StageStarted, str, Outcome}
    assert "".join(event for event in events if isinstance(event, str)) == "Good."


async def test_a_watched_call_is_no_traffic() -> None:
    """It shows the whole way where the program only observes, and no hook counts it."""
    told: list[Outcome] = []
    program = mending(mode="observe", on_outcome=told.append)
    events = [event async for event in watched(program, question="?")]
    assert events[-1].status == "revised"
    assert told == []
    assert program.mode == "observe"


async def test_what_fails_is_raised_to_whoever_watches() -> None:
    """As a call would raise it."""
    program = Conscience("question -> answer", lm=ScriptedLM(by_stage(Fault("auth"))))
    with pytest.raises(BackendError):
        _ = [event async for event in watched(program, question="?")]


async def test_whoever_leaves_ends_the_call() -> None:
    """No model is asked for somebody who has gone."""
    lm = ScriptedLM(by_stage("Bad."), seconds=0.05)
    events = watched(Conscience("question -> answer", lm=lm), question="?")
    await anext(events)
    await events.aclose()
    await asyncio.sleep(0.15)
    assert len(lm.calls) <= 1
