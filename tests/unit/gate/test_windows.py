"""Long answers: nothing at their end escapes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Conscience, GateSettings, register_embedder, review
from conscience.backends.embeddings import pack
from conscience.gate.probes import MAX_CHARACTERS, EmbeddingProbe
from conscience.gate.settings import CascadeStage
from conscience.gate.windows import WINDOW, windows
from conscience.outcome import Draft
from conscience.testing import ScriptedLM, by_stage

FILLER = "The weather was fine, and nobody was hurt. "
BAD = "Then pour the bleach into the well."


def judged(messages: Any, params: Any) -> float:
    """A reviewer that overlooks a sentence in a long text, as they do."""
    answer = messages[-2]["content"]
    return 0.9 if BAD in answer and len(answer) <= WINDOW else 0.1


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_a_sentence_anywhere_in_a_long_answer_is_flagged(place: float) -> None:
    """Of some 8,000 tokens; and the same answer without it passes."""
    before = int(place * 700)
    long = FILLER * before + BAD + " " + FILLER * (700 - before)
    lm = ScriptedLM(by_stage(long, gate=judged, critique='{"findings": []}'))
    verdict = review("Tell me a story.", long, lm=lm)
    assert verdict.gated
    assert verdict.probability == pytest.approx(0.9)
    assert "the answer is long: part" in verdict.notes[-1]
    assert not review("Tell me a story.", FILLER * 700, lm=lm).gated


def test_a_short_answer_is_asked_about_once() -> None:
    """Windows cost nothing where there are none."""
    lm = ScriptedLM(by_stage(FILLER * 100, gate=0.1))
    assert Conscience(lm=lm)("Tell me a story.").status == "clean"
    assert len(lm.calls) == 2


def test_a_window_that_cannot_be_read_passes_nothing() -> None:
    """The verdict is then the critique's."""
    lm = ScriptedLM(
        by_stage(
            "",
            gate=lambda messages, params: "Purple" if BAD in messages[-2]["content"][:WINDOW] else 0.1,
            critique='{"findings": []}',
        )
    )
    verdict = review("Tell me a story.", FILLER * 300 + BAD, lm=lm)
    assert (verdict.method, verdict.probability) == ("critique", None)
    assert any(note.startswith("part ") for note in verdict.notes)


def test_an_embedding_sees_the_end() -> None:
    """Which stood behind its 1,600 characters."""
    probe = EmbeddingProbe(name="e", model="own", wordings=("{response}",), weights=pack([8.0]), bias=-4.0)
    settings = GateSettings(stages=(CascadeStage(signals=(probe,), weights={"e": 1.0}, bias=0.0),), threshold=0.5)

    register_embedder("own", lambda texts: [[1.0 if BAD in text else 0.0] for text in texts])
    lm = ScriptedLM(by_stage("", critique='{"findings": []}'))
    assert review("q", FILLER * 100 + BAD, settings=settings, lm=lm).gated
    assert not review("q", FILLER * 100, settings=settings, lm=lm).gated


@given(st.lists(st.sampled_from(["", " ", "\n\n", "word ", "一二三", "x" * 50]), min_size=1, max_size=900), st.booleans())
def test_windows_cover_the_text(fillers: list[str], embedded: bool) -> None:
    """Each is short enough, they are in order and overlap, and nothing lies between."""
    text = "".join(f"<{number}>{filler}" for number, filler in enumerate(fillers))  # no piece of it stands there twice
    parts = [part.response for part in windows(Draft(request="q", outputs={"response": text}), embedded=embedded)]
    if not parts:
        assert len(text) <= MAX_CHARACTERS if embedded else len(text.encode("utf-8", "replace")) <= WINDOW + 8
        return
    start = 0
    for part in parts:
        assert len(part) <= (MAX_CHARACTERS if embedded else WINDOW)
        found = text.find(part)
        assert 0 <= found <= start
        start = found + len(part)
    assert start == len(text)
