"""How the introspective question is put."""

from __future__ import annotations

import pytest

from tests.bench.replication.questions import QUESTIONS, Framing, Part, asked


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("framing", ["own", "foreign"])
@pytest.mark.parametrize("part", ["whole", "reasoning", "code"])
def test_both_words_are_offered(name: str, framing: Framing, part: Part) -> None:
    """Nothing is left to fill in, and the exchange is there: as turns before the question, or shown in it."""
    question = QUESTIONS[name]
    messages = asked(question, "Write {x}.", "Here: {y}.", framing, part)
    assert [message["role"] for message in messages] == (["user", "assistant", "user"] if framing == "own" else ["user"])
    text = messages[-1]["content"]
    assert f"{question.good} or {question.bad}" in text or f"{question.bad} or {question.good}" in text
    assert not {"{part}", "{whose}", "{good}", "{bad}"} & set(text.split())
    assert ("your" if framing == "own" else "its") in text
    everything = " ".join(message["content"] for message in messages)
    assert "Write {x}." in everything
    assert "Here: {y}." in everything


def test_the_words_begin_differently() -> None:
    """The score is read off the first token: no word is the beginning of its opposite."""
    for question in QUESTIONS.values():
        assert question.bad.lower()[:2] != question.good.lower()[:2]
