"""Requests: how inputs become one, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from conscience.errors import InputError
from conscience.messages.requests import check_request, is_conversation, turns

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]

REQUESTS: list[tuple[dict[str, Any], Any]] = [
    ({"question": "why?"}, "why?"),
    ({"messages": CHAT}, tuple(CHAT)),
    ({"question": "why?", "context": "because", "none": None}, "question: why?\ncontext: because"),
    ({"data": {"a": 1}}, '{"a": 1}'),
]


@pytest.mark.parametrize(("inputs", "request_"), REQUESTS, ids=["text", "chat", "several", "structured"])
def test_inputs_make_a_request(inputs: dict[str, Any], request_: Any) -> None:
    """One as it is, several with their names."""
    assert check_request(inputs) == request_


@pytest.mark.parametrize("inputs", [{"q": "  "}, {"q": None}, {}, {"q": [{"role": "user", "content": ""}]}])
def test_an_empty_request_is_refused(inputs: dict[str, Any]) -> None:
    """Before anything is spent."""
    with pytest.raises(InputError, match="empty"):
        check_request(inputs)


UNSENDABLE = {
    "NUL": ({"q": "a\0"}, "input 'q' holds a NUL byte at position 1 .remove it"),
    "surrogate": ({"q": "a\ud800"}, "input 'q' holds a lone surrogate at position 1 .repair the text's encoding"),
    "mapping": ({"q": {"a": "b\ud800"}}, "the request holds a lone surrogate"),
    "list beside another": ({"q": ["\ud800"], "p": "x"}, "the request holds a lone surrogate"),
    "chat": ({"q": [{"role": "user", "content": "a\0"}]}, "the request holds a NUL byte"),
}


@pytest.mark.parametrize(("inputs", "said"), UNSENDABLE.values(), ids=UNSENDABLE)
def test_what_no_provider_can_receive_is_refused(inputs: dict[str, Any], said: str) -> None:
    """With the input, the place and what to do."""
    with pytest.raises(InputError, match=said):
        check_request(inputs)


@pytest.mark.parametrize("value", [[], "hi", [{"content": "x"}], [{"role": 1}], None])
def test_only_a_list_of_messages_is_a_conversation(value: Any) -> None:
    """Each with a role."""
    assert is_conversation(CHAT)
    assert not is_conversation(value)


def test_a_text_is_one_user_turn() -> None:
    """A chat stays as it is."""
    assert turns("hi") == ({"role": "user", "content": "hi"},)
    assert turns(tuple(CHAT)) == tuple(CHAT)
