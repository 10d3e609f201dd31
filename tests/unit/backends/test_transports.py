"""Transports: names and credentials are checked before any call, and every engine answers alike."""

from __future__ import annotations

import pytest

from conscience import Backend, ConfigurationError, Conscience
from tests.support.loopback import Loopback

HELLO = [{"role": "user", "content": "hello"}]


def test_missing_key_is_named_before_any_call() -> None:
    """And nothing is retried."""
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        Backend("openai/gpt-4o-mini").complete(HELLO, {})


@pytest.mark.parametrize("model", ["", "  ", "open ai/x", "openai/", "nobody/knows", "x\ny"])
def test_bad_model_name_is_named(model: str) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError) as caught:
        Backend(model, cache=False).complete(HELLO, {})
    assert "\n" not in str(caught.value)


def test_auto_engine_is_dspys_choice(server: Loopback) -> None:
    """engine="auto" goes through DSPy's native engine and answers alike."""
    backend = Backend("openai/fake", engine="auto", api_base=server.url, api_key="x", cache=False)
    outcome = Conscience("question -> answer", lm=backend)(question="What is the capital of France?")
    assert (outcome.status, outcome.answer) == ("clean", "Paris.")
