"""What of a reply is the answer."""

from __future__ import annotations

import pytest

from conscience.messages.answers import settled

CODE = "    return x + 1\n    # the end\n"


@pytest.mark.parametrize("content", [CODE, f"\n\n{CODE}", f" \r\n{CODE}"])
def test_an_answer_beside_its_thinking_keeps_its_blanks(content: str) -> None:
    """But for blank lines before it, which part the two; code may begin indented."""
    message = {"role": "assistant", "content": content, "reasoning_content": "Let me see."}
    (choice,) = settled({"choices": [{"message": message, "finish_reason": "stop"}]}, [])["choices"]
    assert choice["message"]["content"] == CODE


def test_an_answer_alone_is_as_it_was() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": f"\n{CODE}"}, "finish_reason": "stop"}]}
    assert settled(body, []) is body
