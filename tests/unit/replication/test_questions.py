"""How the introspective question is put, and what is said of the experiment."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.bench.replication.model import RANK
from tests.bench.replication.questions import QUESTIONS, Framing, Part, asked
from tests.bench.replication.study import FULL, LAMBDA
from tests.bench.replication.tasks import TASKS
from tests.conftest import ROOT


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("framing", ["own", "foreign"])
@pytest.mark.parametrize("part", ["whole", "reasoning", "code"])
def test_both_words_are_offered(name: str, framing: Framing, part: Part) -> None:
    """Nothing is left to fill in, and the exchange is there: as turns before the question, or shown in it."""
    question = QUESTIONS[name]
    messages = asked(question, "Write {x}.", "Here: {y}.", framing, part)
    assert [message["role"] for message in messages] == (["user", "assistant", "user"] if framing == "own" else ["user"])
    text = messages[-1]["content"]
    assert any(f"{first} or {second}" in text for first, second in permutations((question.good, question.bad)))
    assert not {"{part}", "{whose}", "{good}", "{bad}"} & set(text.split())
    assert ("your" if framing == "own" else "its") in text
    everything = " ".join(message["content"] for message in messages)
    assert "Write {x}." in everything
    assert "Here: {y}." in everything


def test_the_words_begin_differently() -> None:
    """The score is read off the first token: no word is the beginning of its opposite."""
    for question in QUESTIONS.values():
        assert question.bad.lower()[:2] != question.good.lower()[:2]


def test_the_page_says_what_is_done() -> None:
    """Sizes in docs/training.md are those of the command."""
    page = " ".join((ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("## The experiment")[1].split())
    schedule = FULL.schedule
    for said in (
        f"{len(TASKS)} small tasks in Python with two visible tests each",
        f"{FULL.taught} tasks are taught with the second, {FULL.unseen} are measured on, and on {FULL.readers} the readers",
        f"{schedule.steps} steps on three texts, a LoRA of rank {RANK}",
        f"After {' and '.join(map(str, sorted(schedule.reviews)))} steps the model answers {schedule.drafts} of the",
        f"of {FULL.choices} requests of",
        f"{FULL.plain} plain questions",
        f"λ = {LAMBDA}",
    ):
        assert said in page, said
    assert schedule.texts == 3
    for question in QUESTIONS.values():
        assert question.name == "three-laws" or f"{question.good} or {question.bad}" in page
