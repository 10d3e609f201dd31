"""A backend: what it sends and keeps, what it counts, and its face as a DSPy LM."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Backend, Conscience, InputError
from conscience.backends.storage.journal import Journal
from conscience.testing import ScriptedLM
from conscience.usage import CallContext, Usage, UsageTracker
from tests.support.loopback import Loopback, chat, is_gate

HELLO = [{"role": "user", "content": "hello"}]


BROKEN = {"surrogate": ("cut emoji \ud83d", "cut emoji \ufffd"), "NUL": ("nul \0 byte", "nul  byte")}


@pytest.mark.parametrize(("text", "cleaned"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("cache", [True, False, "journal"])
def test_text_that_cannot_be_kept_is_cleaned(server: Loopback, tmp_path: Path, cache: Any, text: str, cleaned: str) -> None:
    """A model's answer is no request: it can be cached, journaled and reviewed, whatever is in it."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": text}}
    server.behaviour = lambda body, n: chat("No", yes=0.05) if is_gate(body) else chat(text, tool_calls=[call])
    backend = server.backend(cache=cache is True)
    if cache == "journal":
        backend = backend.for_run(Journal(tmp_path / "journal"))
    outcome = Conscience("question -> answer", lm=backend)(question="hello")
    assert (outcome.status, outcome.answer) == ("clean", cleaned)
    message = backend.complete([{"role": "user", "content": "hello"}], {}).message
    assert message["tool_calls"][0]["function"]["arguments"] == cleaned


UNSENDABLE: list[dict[str, Any]] = [
    {"role": "user", "content": "a\ud800"},
    {"role": "user", "content": [{"type": "text", "text": "a\0"}]},
    {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "a\ud800"}}],
    },
]


@pytest.mark.parametrize("message", UNSENDABLE, ids=["text", "part", "tool call"])
def test_request_that_cannot_be_sent_is_refused(server: Loopback, message: Any) -> None:
    """Wherever in a message it stands, before any call."""
    with pytest.raises(InputError, match="position 1"):
        server.backend(cache=True).complete([message], {})
    assert not server.calls


def test_programmers_errors_pass_through() -> None:
    """A bug in a callable is no backend failure."""

    def generate(request: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Conscience(generate, lm=ScriptedLM([]))(request="q")


def test_usage_adds_up_under_threads(server: Loopback) -> None:
    """Tokens and calls of 200 calls on one ledger."""
    backend, ctx = server.backend(), CallContext(UsageTracker(), "generate")
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: backend.complete(HELLO, {}, ctx=ctx), range(200)))
    spend = ctx.tracker.usage().by_role["generate"]
    assert (spend.calls, spend.input_tokens, spend.output_tokens) == (200, 1400, 600)


def test_reused_prefix_tokens_are_counted(server: Loopback) -> None:
    """What the server read from its prefix cache."""
    answer = chat("x")
    answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 5}
    server.behaviour = lambda body, n: answer
    ctx = CallContext(UsageTracker(), "generate")
    server.backend().complete(HELLO, {}, ctx=ctx)
    assert ctx.tracker.usage().by_role["generate"].reused_tokens == 5


def test_price_comes_from_litellms_list(server: Loopback) -> None:
    """A known model name has a price, an unknown one is counted as unpriced."""
    ctx = CallContext(UsageTracker(), "generate")
    Backend("openai/gpt-4o-mini", api_base=server.url, api_key="x", cache=False).complete(HELLO, {}, ctx=ctx)
    server.backend().complete(HELLO, {}, ctx=ctx)
    usage: Usage = ctx.tracker.usage()
    assert usage.dollars == pytest.approx(7 * 0.15e-6 + 3 * 0.6e-6)
    assert usage.total.unpriced == 1


def test_backend_serves_any_dspy_module(server: Loopback) -> None:
    """Its LM face works with plain DSPy, and rollouts are told apart by the cache."""
    server.behaviour = lambda body, n: chat(f"[[ ## answer ## ]]\n{n}\n\n[[ ## completed ## ]]")
    backend = server.backend(cache=True)
    with dspy.context(lm=backend.lm):
        predict = dspy.Predict("question -> answer")
        answers = [predict(question="q", config={"rollout_id": r, "temperature": 1.0}).answer for r in (1, 1, 2)]
    assert answers == ["1", "1", "2"]
