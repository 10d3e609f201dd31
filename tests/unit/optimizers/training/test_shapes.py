"""Shapes of others: what is exported is read back as the same pair."""

from __future__ import annotations

from typing import Any

import pytest

from conscience.errors import InputError
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.shapes import SHAPES

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "What now?"},
]
PAIR = PreferencePair(request=CHAT, chosen="This.", rejected="That.")


def test_the_shapes_are_as_others_document_them() -> None:
    """TRL's conversational preferences, OpenAI's, and a chat."""
    good, bad = {"role": "assistant", "content": "This."}, {"role": "assistant", "content": "That."}
    assert SHAPES["trl"](PAIR) == {"prompt": CHAT, "chosen": [good], "rejected": [bad]}
    assert SHAPES["openai"](PAIR) == {
        "input": {"messages": CHAT},
        "preferred_output": [good],
        "non_preferred_output": [bad],
    }
    assert SHAPES["sft"](PAIR) == {"messages": [*CHAT, good]}


@pytest.mark.parametrize("shape", ["trl", "openai"])
def test_a_preference_is_read_back(shape: Any) -> None:
    """With the same id: it is the same pair."""
    read = PreferencePair.from_json(SHAPES[shape](PAIR))
    assert (read.request, read.chosen, read.rejected, read.id) == (PAIR.request, PAIR.chosen, PAIR.rejected, PAIR.id)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "a", "rejected": "b", "score": 3},
        {
            "prompt": "Hi",
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
        },
        # both hold the conversation, with the prompt beside it or without
        {
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}],
        },
        {
            "prompt": [{"role": "user", "content": "Hi"}],
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}],
        },
        {
            "prompt": "Hi",
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}],
        },
    ],
)
def test_common_preference_rows_are_read(row: dict[str, Any]) -> None:
    """Plain texts, messages, and whole conversations."""
    pair = PreferencePair.from_json(row)
    assert (pair.request_text, pair.chosen, pair.rejected) == ("Hi", "a", "b")
    assert pair.provenance == {"from": "file"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"chosen": "a", "rejected": "b"}, "there is no prompt"),
        ({"prompt": "Hi", "chosen": [], "rejected": "b"}, "'chosen'"),
        ({"input": {}, "preferred_output": [{"role": "assistant", "content": "a"}]}, "no prompt"),
    ],
)
def test_a_preference_without_its_texts_is_told(row: dict[str, Any], said: str) -> None:
    """In one line."""
    with pytest.raises(InputError, match=said):
        PreferencePair.from_json(row)
