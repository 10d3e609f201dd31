"""What a failing model's error says, and what it must never show."""

from __future__ import annotations

import logging
import traceback

import dspy
import pytest

from conscience import Backend, BackendError, Conscience
from tests.support.loopback import Loopback, error

HELLO = [{"role": "user", "content": "hello"}]


KEY = "sk-test-secret-0123"


def test_keys_are_in_no_repr_error_or_log(server: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    """Even when the server repeats the key in its message."""
    server.behaviour = lambda body, n: error(401, f"Incorrect API key provided: {KEY}, see sk-other-secret-99")
    backend = server.backend()
    with caplog.at_level(logging.DEBUG), pytest.raises(BackendError) as caught:
        backend.complete(HELLO, {})
    program = Conscience("question -> answer", lm=backend)
    shown = f"{caught.value!r} {caught.value} {backend!r} {program!r} {program.dump_state()} {vars(backend.lm)}"
    assert KEY not in shown
    assert "sk-other" not in shown
    assert KEY not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("conscience"))


def secret() -> str:
    """In no line of source that a traceback could show."""
    return "".join(["hunter", "2zz"])


@pytest.mark.parametrize("option", ["api_key", "headers", "extra_headers"])
@pytest.mark.parametrize("own_lm", [False, True], ids=["model", "dspy.LM"])
def test_a_repeated_credential_is_nowhere_in_an_error(server: Loopback, option: str, own_lm: bool) -> None:
    """Neither in its message nor in the errors behind it, which ``logger.exception`` prints."""
    server.behaviour = lambda body, n: error(401, f"you sent {secret()}")
    given = {"api_key": "x", option: secret() if option == "api_key" else {"X-Auth": secret()}, "api_base": server.url}
    backend = (
        Backend(dspy.LM("openai/x", engine="litellm", num_retries=0, **given)) if own_lm else Backend("openai/x", **given)
    )
    with pytest.raises(BackendError, match="redacted") as caught:
        backend.complete(HELLO, {})
    assert secret() not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_text_of_an_error_is_cleaned(server: Loopback) -> None:
    """It is written to files like an answer."""
    server.behaviour = lambda body, n: error(400, "no \ud83d")
    with pytest.raises(BackendError) as caught:
        server.backend().complete(HELLO, {})
    assert "no \ufffd" in caught.value.message
