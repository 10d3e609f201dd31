"""A streamed answer is the answer that would have come without a stream, wherever its bytes and its texts were cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience.backends.wire.sse import Events
from conscience.messages.chunks import Chunks
from conscience.messages.continuing import gone_on


def halves(text: str) -> str:
    """The text in UTF-16's code units, so that a cut may fall between the halves of a pair."""
    units = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(int.from_bytes(units[place : place + 2], "little")) for place in range(0, len(units), 2))


def pieces(text: Any, sizes: list[int]) -> list[Any]:
    """The text, or the bytes, in pieces of these sizes, again and again."""
    cut, place = [], 0
    while place < len(text):
        cut.append(text[place : place + sizes[len(cut) % len(sizes)]])
        place += sizes[(len(cut) - 1) % len(sizes)]
    return cut


sizes = st.lists(st.integers(1, 30), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(max_size=60) | st.sampled_from(["Ünï 👩‍👩‍👧 日本", "a\r\nb\rc", 'data: {"x"}\n\n', "[DONE]"]),
    texts=sizes,
    wire=sizes,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    ascii_only=st.booleans(),
)
def test_any_cut_of_texts_and_bytes_gives_the_same_answer(
    text: str, texts: list[int], wire: list[int], end: str, ascii_only: bool
) -> None:
    """Texts are cut inside of surrogate pairs, bytes inside of characters, line ends and field names."""
    cut = pieces(halves(text) if ascii_only else text, texts)
    deltas = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in cut]
    deltas.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines = [json.dumps(delta, ensure_ascii=ascii_only) for delta in deltas]
    body = "".join(f": a comment{end}event: message{end}data: {line}{end}{end}" for line in lines).encode()
    events, chunks = Events(), Chunks()
    for piece in [*pieces(body, wire), b""]:
        for event in events.feed(piece):
            chunks.feed(json.loads(event))
    for event in events.close():
        chunks.feed(json.loads(event))
    assert chunks.text() == text
    assert (chunks.body()["choices"][0]["message"]["content"] or "") == text
    assert chunks.finish_reason == "stop"


def test_half_a_pair_waits_for_the_other_half() -> None:
    """It is no text of its own meanwhile, and nothing when the answer ends."""
    chunks = Chunks()
    chunks.feed({"choices": [{"delta": {"content": "A\ud83d"}}]})
    assert chunks.text() == "A"
    chunks.feed({"choices": [{"delta": {"content": "\ude00"}}]})
    assert chunks.text() == "A\U0001f600"


CALLS = [
    ("by index", [{"index": 0, "id": "a", "function": {"name": "f"}}, {"index": 0, "function": {"arguments": "{}"}}]),
    ("without an index", [{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}]),
    ("whole", [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "parts"), CALLS, ids=[form for form, _ in CALLS])
def test_a_tools_call_is_put_together(form: str, parts: list[Any]) -> None:
    """In each form in which servers cut it."""
    chunks = Chunks()
    for part in parts:
        chunks.feed({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]})
    (call,) = chunks.body()["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert chunks.text() == ""


def test_thinking_is_beside_the_text() -> None:
    """In a field of its own, in two fields, or as a part of the content."""
    chunks = Chunks()
    for delta in (
        {"reasoning_content": "Hm", "reasoning": "Hm"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": ", so"}]}]},
        {"content": [{"type": "text", "text": "Par"}]},
        {"content": "is."},
    ):
        chunks.feed({"choices": [{"index": 0, "delta": delta}]})
    assert (chunks.text("reasoning_content"), chunks.text()) == ("Hm, so", "Paris.")


@pytest.mark.parametrize("odd", [{}, {"choices": None}, {"choices": [None, 3]}, {"choices": [{"delta": "x"}]}, {"usage": 3}])
def test_what_is_no_chunk_is_passed_by(odd: Any) -> None:
    """Servers send keep-alives and odd ends."""
    chunks = Chunks()
    chunks.feed(odd)
    assert chunks.pieces == 0


CONTINUED = [
    ("One.", "One. Bad", "Good.", "One. Good."),
    ("One.", "One.\n\nBad", " Good.", "One.\n\nGood."),
    ("One.", "One. Bad", "One. Good.", "One. Good."),
    ("First. The second sentence.", "First. The second sentence. Bad", "The second sentence. Good.", None),
    ("一。", "一。二", "三。", "一。三。"),
    ("One.", "One. Bad", "  ", "One."),
    ("wor", "word", "then", "wor then"),
]


@pytest.mark.parametrize(("released", "draft", "more", "whole"), CONTINUED)
def test_a_continuation_follows_what_was_shown(released: str, draft: str, more: str, whole: str | None) -> None:
    """To the character, with the draft's own blanks, and without what it repeats."""
    assert gone_on(released, draft, more) == (whole or "First. The second sentence. Good.")
