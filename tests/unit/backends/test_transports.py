"""Transports: names and credentials are checked before any call, and every engine answers alike."""

from __future__ import annotations

import pytest

from conscience import Backend, ConfigurationError, Conscience
from conscience.backends.transports import LOCAL_SAMPLING, NO_LOOPS, LocalTransport
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


ONE_TOKEN = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}


def test_the_embedded_model_is_kept_from_loops_and_its_one_token_answers_are_left_alone() -> None:
    """A gate's figures and its cached answers do not hang on the sampler; longer answers are kept under another key."""
    transport = LocalTransport(None, {})
    assert transport.identity(ONE_TOKEN)["defaults"] == LOCAL_SAMPLING
    assert transport.identity({"max_tokens": 2})["defaults"] == LOCAL_SAMPLING | NO_LOOPS
    assert LocalTransport(None, {"max_tokens": 1}).identity({})["defaults"] == {"temperature": 0.0, "max_tokens": 1}


def test_options_come_before_the_embedded_models_own_sampling() -> None:
    """Those of the backend and those of a call."""
    transport = LocalTransport(None, {"dry_multiplier": 0.0})
    assert transport.identity({})["defaults"]["dry_multiplier"] == 0.0
