"""Long answers: nothing at their end escapes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Conscience, GateSettings, register_embedder, review
from conscience.backends.bound import BoundBackend
from conscience.backends.embeddings import pack
from conscience.gate.probes import MAX_CHARACTERS, EmbeddingProbe
from conscience.gate.settings import CascadeStage, one_question
from conscience.gate.windows import WINDOW, _pieces, most_doubtful, windows
from conscience.outcome import Draft, Verdict
from conscience.testing import Fault, ScriptedLM, by_stage

FILLER = "The weather was fine, and nobody was hurt. "
BAD = "Then pour the bleach into the well."
FOUND = '{"findings": [{"principle": "no-serious-harm", "quote": "", "why": "It is poison.", "change": ""}]}'


def judged(messages: Any, params: Any) -> float:
    """A reviewer that overlooks a sentence in a long text, as they do."""
    answer = messages[-2]["content"]
    return 0.9 if BAD in answer and len(answer) <= WINDOW else 0.1


def seen(messages: Any) -> bool:
    """Whether somebody who overlooks a sentence in a long text sees it."""
    return BAD in str(messages) and str(messages).count(FILLER) < 250


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


@pytest.mark.parametrize("mode", ["votes", "explains", "chooses"])
@pytest.mark.parametrize("reasoned", [False, True])
def test_what_names_the_fault_reads_the_window_that_was_flagged(mode: Any, reasoned: bool) -> None:
    """A critique that finds nothing in the whole would clear it, and a choice would name another rule."""
    long = FILLER * 300 + BAD
    response, reasoning = ("Here you are.", long) if reasoned else (long, "")

    lm = ScriptedLM(
        by_stage(
            gate=lambda messages, params: 0.9 if seen(messages) else 0.1,
            critique=lambda messages, params: FOUND if seen(messages) else '{"findings": []}',
        )
    )
    settings = one_question("Is that harmful?").model_copy(update={"critique": mode})
    verdict = review("Tell me a story.", response, reasoning=reasoning, lm=lm, settings=settings)
    assert verdict.flagged
    assert verdict.parts
    assert seen(lm.calls[-1][0])


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


LONG = FILLER * 20 + BAD + " " + FILLER * 300 + "ZEBRA. " + FILLER * 100


@pytest.mark.parametrize("critique", ["off", "explains", "chooses"])
@pytest.mark.parametrize("other", ["Purple", Fault("server"), 0.1], ids=["no answer", "down", "harmless"])
@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_a_flagged_window_is_flagged_whatever_became_of_the_others(critique: str, other: Any, on_error: Any) -> None:
    """One that cannot be read, or whose model is down, hides nothing."""

    def gate(messages: Any, params: Any) -> Any:
        answer = messages[-2]["content"]
        return 0.1 if len(answer) > WINDOW else 0.95 if BAD in answer else other if "ZEBRA" in answer else 0.1

    settings = one_question("Bad?").model_copy(update={"critique": critique})
    lm = ScriptedLM(by_stage(LONG, gate=gate, critique='{"findings": []}'))
    program = Conscience("question -> answer", lm=lm, review=settings, max_revisions=0, on_error=on_error)
    outcome = program(question="q")
    assert BAD not in outcome.response
    assert outcome.status in ("refused", "unreviewed")


def test_a_window_that_breaks_a_principle_outweighs_a_doubtful_one() -> None:
    """What the coverage flags is flagged, be it less probable than what passed another threshold."""
    flagged, doubted = (Verdict(is_flagged, probability) for is_flagged, probability in ((True, 0.7), (False, 0.8)))
    assert most_doubtful(doubted, [flagged]).flagged
    both = most_doubtful(doubted, [doubted, flagged])
    assert (both.flagged, both.parts, both.probability) == (True, (2,), 0.8)
    assert most_doubtful(flagged, [doubted]).flagged


def test_the_end_of_a_long_reasoning_is_read() -> None:
    """Beside a short answer, and with signals of either part apart."""
    thought = FILLER * 700 + BAD

    def gate(messages: Any, params: Any) -> float:
        text = " ".join(str(message["content"]) for message in messages)
        return 0.9 if BAD in text and len(text) < WINDOW + 1500 else 0.1

    lm = ScriptedLM(by_stage("", gate=gate, critique='{"findings": []}'))
    assert review("q", "Fine.", reasoning=thought, lm=lm).gated
    assert not review("q", "Fine.", reasoning=FILLER * 700, lm=lm).gated
    parts = windows(Draft(request="q", outputs={"response": FILLER * 300}, reasoning="r"), embedded=False, apart=True)
    assert [part.reasoning for part in parts] == ["r"] * len(parts)


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


@pytest.mark.parametrize("whole", [0.6, "Purple"], ids=["flagged", "not read"])
@pytest.mark.parametrize("mode", ["votes", "explains", "chooses"])
def test_more_suspicion_is_no_less_scrutiny(whole: Any, mode: Any) -> None:
    """A whole that is flagged, or that the gate cannot read, is read in windows like one that passes."""
    lm = ScriptedLM(
        by_stage(
            gate=lambda messages, params: 0.9 if seen(messages) else whole if BAD in str(messages) else 0.1,
            critique=lambda messages, params: FOUND if seen(messages) else '{"findings": []}',
        )
    )
    settings = one_question("Bad?").model_copy(update={"critique": mode})
    verdict = review("q", FILLER * 300 + BAD, lm=lm, settings=settings)
    assert verdict.flagged
    assert verdict.parts


@pytest.mark.parametrize("others", [(), (0,), (0, 1, 2)], ids=["one", "two", "all"])
def test_the_critique_reads_each_window_that_the_gate_could_not_read(others: tuple[int, ...]) -> None:
    long = "".join(f"MARK{number} {FILLER * 100}" for number in range(4)) + BAD
    unread = [BAD, *(f"MARK{number}" for number in others)]
    lm = ScriptedLM(
        by_stage(
            gate=lambda messages, params: "Purple" if any(mark in str(messages) for mark in unread) else 0.1,
            critique=lambda messages, params: FOUND if seen(messages) else '{"findings": []}',
        )
    )
    verdict = review("q", long, lm=lm)
    assert (verdict.flagged, verdict.method) == (True, "critique")


@pytest.mark.parametrize("thought", [BAD, BAD + FILLER * 60, FILLER * 60 + BAD, BAD + FILLER * 130], ids=len)
@pytest.mark.parametrize("length", [1, 130, 300])
def test_either_part_is_in_a_window_where_the_other_is_long(thought: str, length: int) -> None:
    """A reasoning that schemes before a long answer, and an answer that harms after a long reasoning."""
    lm = ScriptedLM(by_stage(gate=lambda messages, params: 0.9 if seen(messages) else 0.1, critique=FOUND))
    assert review("q", FILLER * length, reasoning=thought, lm=lm).gated
    assert review("q", thought, reasoning=FILLER * length, lm=lm).gated


def test_in_turn_no_window_hides_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the embedded engine: the first fails, or its flag is cleared, and the others are read all the same."""
    supports = BoundBackend.supports
    monkeypatch.setattr(BoundBackend, "supports", lambda self, feature: feature != "parallel" and supports(self, feature))
    for first in (Fault("server"), 0.95):
        lm = ScriptedLM(
            by_stage(
                gate=lambda messages, params, first=first: (
                    0.1
                    if str(messages).count(FILLER) > 200
                    else first
                    if "ZEBRA" in str(messages)
                    else 0.9
                    if seen(messages)
                    else 0.1
                ),
                critique=lambda messages, params: FOUND if seen(messages) else '{"findings": []}',
            )
        )
        assert review("q", "ZEBRA " + FILLER * 300 + BAD, lm=lm).flagged


@given(st.lists(st.sampled_from(["!", "ā", "㐀", "🌀", " "]), max_size=90), st.integers(8, 200))
def test_no_window_is_longer_than_its_bytes(kinds: list[str], size: int) -> None:
    """Of any mixture of scripts; each begins where the one before it has not ended, and the last one ends the text."""
    text = "".join(kind if kind == " " else chr(ord(kind) + number) for number, kind in enumerate(kinds))  # none comes twice
    pieces = list(_pieces(text, size))
    assert all(len(piece.encode()) <= size for piece in pieces)
    assert text.endswith(pieces[-1] if pieces else "")
    place = 0
    for letter in text.replace(" ", ""):
        while letter not in pieces[place]:
            place += 1


def test_a_flag_outlives_a_conversation_that_is_shortened_for_the_critique() -> None:
    """Where the critique's longer prompt does not fit, or then fails, what the gate saw of the whole counts."""
    asked: list[str] = []

    def critique(messages: Any, params: Any) -> Any:
        asked.append("critique")
        return Fault("context") if len(asked) == 1 else '{"findings": []}' if len(asked) == 2 else Fault("server")

    conversation = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    lm = ScriptedLM(by_stage(gate=lambda messages, params: 0.9 if "'a'" in str(messages) else 0.1, critique=critique))
    verdict = review(conversation, "d", lm=lm, settings=one_question("Bad?"))
    assert (verdict.gated, verdict.flagged, verdict.probability) == (True, False, pytest.approx(0.9))


def test_what_a_linter_suspects_is_no_way_around_the_gate() -> None:
    """Where the critique clears the suspicion, the gate is asked about all the rest."""
    code = "```python\nsubprocess.run(command, shell=True)\n```\n"
    for harmful in (True, False):
        text = code + FILLER * 300 + (BAD if harmful else "")
        lm = ScriptedLM(
            by_stage(
                gate=lambda messages, params: 0.9 if seen(messages) else 0.1,
                critique=lambda messages, params: (
                    FOUND.replace("no-serious-harm", "secrets") if seen(messages) else '{"findings": []}'
                ),
            )
        )
        assert review("q", text, lm=lm, constitution="code").flagged is harmful
