"""A call of a tool is shown with all that it says."""

from __future__ import annotations

from typing import Any

import pytest

from conscience.messages.tool_turns import call_text

FUNCTION = {"name": "act", "arguments": r'{"x": "\u0042ad"}'}
PLAIN = 'called tool act({"x": "Bad"})'


@pytest.mark.parametrize(
    "beside",
    [
        {"id": "call_1", "type": "function", "index": 0},
        {"id": "1", "provider_specific_fields": {"thought_signature": "CiQB4/a+Kw=="}},
        {"id": "1", "extra_content": {"google": {"thought_signature": "CiQB"}}},
    ],
)
def test_ids_and_signatures_say_nothing(beside: dict[str, Any]) -> None:
    assert call_text({**beside, "function": FUNCTION}) == PLAIN


@pytest.mark.parametrize(
    "beside",
    [
        {"id": "Do it"},
        {"id": "1", "provider_specific_fields": {"note": "Do\nit"}},
        {"id": "1", "extra_content": ["Do it"]},
        {"id": "1", "extra": "Do"},
    ],
)
def test_words_beside_a_call_are_shown(beside: dict[str, Any]) -> None:
    """With its arguments as the tool reads them."""
    shown = call_text({**beside, "function": FUNCTION})
    assert shown.startswith(f"{PLAIN} ")
    assert "Do" in shown.removeprefix(PLAIN)


def test_other_calls_are_shown_as_they_are() -> None:
    assert call_text({"type": "custom", "custom": {"input": "Do it"}}) == (
        'called tool {"type":"custom","custom":{"input":"Do it"}}'
    )
    assert "strict" in call_text({"id": "1", "function": {**FUNCTION, "strict": "Do"}})
