"""A completion: what is read of an answer, whichever parts a backend leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from conscience.messages import Completion
from conscience.messages.completion import clean


def completion(message: Any = None, **choice: Any) -> Completion:
    return Completion({"choices": [{"message": message, **choice}]}, "fake")


TEXTS: list[tuple[Any, str]] = [
    ({"content": "hi"}, "hi"),
    ({"content": None, "refusal": "I won't."}, "I won't."),
    ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
    ({"content": None}, ""),
    (None, ""),
]


@pytest.mark.parametrize(("message", "text"), TEXTS, ids=["text", "refusal", "parts", "empty", "nothing"])
def test_the_text_is_what_the_model_said(message: Any, text: str) -> None:
    """A refusal counts; parts are joined."""
    assert completion(message).text == text


def test_a_body_without_choices_is_empty() -> None:
    """And no error."""
    nothing = Completion({}, "fake")
    assert (nothing.text, nothing.reasoning, nothing.finish_reason, list(nothing.first_token)) == ("", "", "", [])
    assert nothing.tokens() == (0, 0, 0)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_names(name: str) -> None:
    """By provider."""
    assert completion({"content": "x", name: "because"}).reasoning == "because"


def test_candidates_for_the_first_token_come_likeliest_first() -> None:
    """The chosen one among them, once; those without a number are left out."""
    top = [{"token": "No", "logprob": -2.0}, {"token": "Yes", "logprob": -0.1}, {"token": "?", "logprob": None}]
    logprobs = {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}, {"token": "x", "logprob": 0.0}]}
    assert completion({"content": "Yes"}, logprobs=logprobs).first_token == [("Yes", -0.1), ("No", -2.0)]


def test_tokens_count_what_the_prefix_cache_gave() -> None:
    """Input, output, reused."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    assert Completion({"usage": usage}, "fake").tokens() == (7, 3, 5)


def test_what_cannot_be_stored_is_cleaned() -> None:
    """Wherever it stands; everything else stays as it is."""
    assert clean({"a\0": ["x\ud83d", 1, None, "naïve"]}) == {"a": ["x\ufffd", 1, None, "naïve"]}
