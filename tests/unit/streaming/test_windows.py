"""Where a growing text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.streaming.windows import LEAST, MOST, least_window, window_end


def windows(text: str, step: int = 1) -> list[str]:
    """The windows of a text that grows by so many characters at a time; the last is what the answer's end leaves."""
    found, start = [], 0
    for size in range(step, len(text) + step, step):
        while (end := window_end(text[:size], start)) is not None:
            found.append(text[start:end])
            start = end
    return [*found, text[start:]]


CUT = {
    "sentences": ("It is nice today. Let us walk a bit. Bye", ["It is nice today.", " Let us walk a bit.", " Bye"]),
    "abbreviations": ("Dr. Mbeki met J. Li, e.g. in Oslo. Then", ["Dr. Mbeki met J. Li, e.g. in Oslo.", " Then"]),
    "numbers": ("It weighs 3.14 kg, or v. 2.0 of it. Then", ["It weighs 3.14 kg, or v. 2.0 of it.", " Then"]),
    "small letters": ("He works at Yahoo! as a clerk. Then", ["He works at Yahoo!", " as a clerk.", " Then"]),
    "quotation": ('"Let us go for a walk." He said', ['"Let us go for a walk."', " He said"]),
    "Chinese": ("今天天气很好我们去散步吧。好的我们走", ["今天天气很好我们去散步吧。", "好的我们走"]),
    "Hindi": ("नमस्ते दुनिया आप कैसे हैं। ठीक", ["नमस्ते दुनिया आप कैसे हैं।", " ठीक"]),
    "code": ("```python\nimport os\nprint(1)", ["```python\nimport os", "\nprint(1)"]),
    "a list": ("1. The first item\n2. The second item\n3", ["1. The first item", "\n2. The second item", "\n3"]),
    "short ones together": ("Yes. No. Maybe so. It", ["Yes. No. Maybe so.", " It"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CUT.values(), ids=list(CUT))
@pytest.mark.parametrize("step", [1, 5])
def test_a_text_is_cut_where_sentences_and_lines_end(text: str, expected: list[str], step: int) -> None:
    """However it comes."""
    if step == 1 or text.startswith(("It", "Dr.")):
        assert windows(text, step) == expected
    assert "".join(windows(text, step)) == text


def test_windows_grow_with_the_text() -> None:
    """So the reviews of a long answer read a few times its length."""
    cut = windows("A sentence of some words. " * 200, step=7)
    assert len(cut[0]) < 30
    assert len(cut) < 25
    assert max(map(len, cut)) <= MOST


@given(st.text() | st.text("ab .\n。👩\u200d\u0301", min_size=MOST, max_size=3 * MOST), st.integers(1, 300))
def test_any_text_is_cut_into_bounded_windows_that_make_it_up(text: str, step: int) -> None:
    """None of them is blank, and none but the last is short."""
    cut = windows(text, step)
    assert "".join(cut) == text
    assert all(window.strip() for window in cut[:-1])
    assert all(len(window) <= MOST for window in cut[:-1])
    assert len(cut[-1]) <= MOST + step + 8


@pytest.mark.parametrize("sign", ["e\u0301", "👩\u200d👧", "🇳🇴", "👍🏽", "✌\ufe0f"])
def test_a_long_text_without_ends_is_not_cut_inside_of_a_character(sign: str) -> None:
    """As far as it shows as one."""
    cut = windows(sign * MOST, step=11)
    assert len(cut) > 1
    assert all(window == sign * (len(window) // len(sign)) for window in cut)


def test_the_first_window_is_a_sentence() -> None:
    """It is what a reader waits for."""
    assert least_window(0) == LEAST
    assert window_end("Yes. ", 0) is None
