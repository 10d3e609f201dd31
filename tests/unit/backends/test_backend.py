"""Backends: the cache, the accounting, retries without doubling, and what must never be shown."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Backend, BackendError, ConfigurationError, Conscience, InputError
from conscience._base.redaction import redact
from conscience.backends.cache import ResponseCache, shared_cache
from conscience.backends.journal import Journal
from conscience.backends.roles import Roles
from conscience.messages.completion import Completion
from conscience.testing import Fault, ScriptedLM
from conscience.usage import Budget, CallContext, CallUsage, Usage, UsageTracker
from tests.support.loopback import Loopback, chat, error, is_gate

HELLO = [{"role": "user", "content": "hello"}]
KEY = "sk-test-secret-0123"


def test_cached_answer_costs_nothing(server: Loopback, tmp_path: Path) -> None:
    """The second program finds it; the ledger says that it was cached."""
    backend = server.backend(cache=tmp_path)
    first = Conscience("question -> answer", lm=backend)(question="hello")
    second = Conscience("question -> answer", lm=server.backend(cache=tmp_path))(question="hello")
    assert len(server.calls) == 2
    assert (first.usage.calls, second.usage.calls) == (2, 0)
    assert second.usage.by_role["generate"] == CallUsage(cached=1)
    assert second.answer == first.answer


async def test_cached_answer_is_found_async(server: Loopback, tmp_path: Path) -> None:
    """The write waits for an idle loop, not longer."""
    backend = server.backend(cache=tmp_path)
    await backend.acomplete(HELLO, {})
    await asyncio.sleep(0)
    assert (await backend.acomplete(HELLO, {})).cached
    assert backend.complete(HELLO, {}).cached


DIFFERENCES = [
    ({}, {"temperature": 1.0}, None),
    ({}, {"max_tokens": 5}, None),
    ({"temperature": 0.3}, {}, None),
    ({"api_version": "2"}, {}, None),
    ({}, {}, "rollout 1"),
]


@pytest.mark.parametrize(("options", "params", "salt"), DIFFERENCES)
def test_cache_tells_apart_what_shapes_an_answer(
    server: Loopback, tmp_path: Path, options: Any, params: Any, salt: Any
) -> None:
    """Sampling, options and rollouts are part of the key."""
    server.backend(cache=tmp_path).complete(HELLO, {})
    assert not server.backend(cache=tmp_path, **options).complete(HELLO, params, salt=salt).cached


def test_cache_tells_addresses_apart(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model name on another server is another model, however the address was given."""
    server.backend(cache=tmp_path).complete(HELLO, {})
    with Loopback() as other:
        assert not other.backend(cache=tmp_path).complete(HELLO, {}).cached
    backend = Backend("openai/fake", api_key="x", cache=tmp_path, retries=0)
    for url in (server.url, server.url + "/"):
        monkeypatch.setenv("OPENAI_API_BASE", url)
        assert not backend.complete(HELLO, {}).cached


NAMES = {
    "bare name": lambda: Backend("gpt-4o-mini"),
    "dspy.LM": lambda: Backend(dspy.LM("openai/fake", engine="litellm", num_retries=0)),
    "auto": lambda: Backend("openai/fake", engine="auto"),
}


@pytest.mark.parametrize("made", NAMES.values(), ids=NAMES)
def test_cache_tells_addresses_of_the_environment_apart(
    server: Loopback, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever way leads to the provider whose address it is."""
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    with Loopback() as other:
        for one in (server, other):
            monkeypatch.setenv("OPENAI_API_BASE", one.url)
            assert [made().complete(HELLO, {}).cached for _ in range(2)] == [False, True]


def test_cache_is_private_json_and_holds_no_key(server: Loopback, tmp_path: Path) -> None:
    """Mode 0700, readable JSON, the key in no file."""
    folder = tmp_path / "answers"
    server.backend(cache=folder).complete(HELLO, {})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    data = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b'"choices"' in data
    assert KEY.encode() not in data


def test_cache_refuses_pickles(tmp_path: Path) -> None:
    """A planted pickle is never loaded."""
    import diskcache

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    diskcache.Cache(str(tmp_path / "c")).set("key", Trap())
    assert ResponseCache(tmp_path / "c").get("key") is None
    assert not (tmp_path / "sprung").exists()


def test_broken_cache_costs_the_cache_and_not_the_answer(
    server: Loopback, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that cannot be made is said once."""
    (tmp_path / "file").write_text("x")
    backend = server.backend(cache=tmp_path / "file" / "folder")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert backend.complete(HELLO, {}).text
    assert caplog.text.count("is off for this run") == 1


def test_cache_is_off_by_environment(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSCIENCE_CACHE=0."""
    monkeypatch.setenv("CONSCIENCE_CACHE", "0")
    for _ in range(2):
        server.backend(cache=True).complete(HELLO, {})
    assert len(server.calls) == 2


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


def test_text_of_an_error_is_cleaned(server: Loopback) -> None:
    """It is written to files like an answer."""
    server.behaviour = lambda body, n: error(400, "no \ud83d")
    with pytest.raises(BackendError) as caught:
        server.backend().complete(HELLO, {})
    assert "no \ufffd" in caught.value.message


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


def test_redaction_knows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key from a variable is taken out wherever it stands."""
    monkeypatch.setenv("SOMEBODY_API_KEY", "hunter22")
    assert redact("key hunter22!", []) == "key [redacted]!"


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


def test_users_lm_is_retried_by_dspy_alone() -> None:
    """num_retries=2 makes three calls, not three times three."""
    lm = ScriptedLM(lambda m, p: Fault("rate_limit", retry_after=0.0), retries=2)
    with pytest.raises(BackendError):
        Backend(lm, retries=5).complete(HELLO, {})
    assert len(lm.calls) == 3


def test_errors_that_do_not_pass_are_not_retried() -> None:
    """A refused key stays refused."""
    lm = ScriptedLM(lambda m, p: Fault("auth"))
    with pytest.raises(BackendError):
        Backend(lm, retries=5).complete(HELLO, {})
    assert len(lm.calls) == 1


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


def test_budget_holds_under_threads() -> None:
    """At most so many calls begin, however many ask at once."""
    tracker = UsageTracker(Budget(calls=10))
    from conscience import BudgetExceeded

    def begin(n: int) -> int:
        try:
            tracker.begin()
        except BudgetExceeded:
            return 0
        return 1

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(begin, range(100))) == 10


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


def test_roles_follow_each_other() -> None:
    """revise and review follow generate, judge follows review."""
    a, b = Backend(ScriptedLM([])), Backend(ScriptedLM([]))
    roles = Roles.of({"generate": a, "review": b})
    assert [roles.backend(r) for r in ("generate", "review", "revise", "judge", "propose")] == [a, b, a, b, a]  # type: ignore[arg-type]


def test_auto_engine_is_dspys_choice(server: Loopback) -> None:
    """engine="auto" goes through DSPy's native engine and answers alike."""
    backend = Backend("openai/fake", engine="auto", api_base=server.url, api_key="x", cache=False)
    outcome = Conscience("question -> answer", lm=backend)(question="What is the capital of France?")
    assert (outcome.status, outcome.answer) == ("clean", "Paris.")


def test_one_cache_a_folder(tmp_path: Path) -> None:
    """Backends share the open store."""
    assert shared_cache(tmp_path) is shared_cache(tmp_path)


def asked_twice(backend: Backend, *, threads: bool) -> list[Any]:
    """The same question twice at the same time: answers, or what was raised."""
    messages = HELLO

    def one() -> Any:
        try:
            return backend.complete(messages, {}).text
        except BackendError as error:
            return error

    async def both() -> list[Any]:
        return await asyncio.gather(*(backend.acomplete(messages, {}) for _ in range(2)), return_exceptions=True)

    if threads:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda _: one(), range(2)))
    return [reply.text if isinstance(reply, Completion) else reply for reply in asyncio.run(both())]


@pytest.mark.parametrize("threads", [True, False])
def test_same_question_at_once_is_paid_for_once_in_a_run(threads: bool, tmp_path: Path) -> None:
    """The second waits for the first one's answer; one that fails is asked by the second itself."""
    lm = ScriptedLM({"": "answer"}, seconds=0.1)
    assert asked_twice(Backend(lm).for_run(Journal(tmp_path / "a")), threads=threads) == ["answer", "answer"]
    assert len(lm.calls) == 1
    failing = ScriptedLM([Fault("auth"), "answer"], seconds=0.1)
    answers = asked_twice(Backend(failing, retries=0).for_run(Journal(tmp_path / "b")), threads=threads)
    assert answers.count("answer") == 1
    assert len(failing.calls) == 2


def test_sync_call_on_a_loop_does_not_wait_for_a_task_of_that_loop(tmp_path: Path) -> None:
    """Which could not go on while it waits."""
    lm = ScriptedLM({"": "answer"}, seconds=0.1)
    backend = Backend(lm).for_run(Journal(tmp_path / "a"))
    messages = HELLO

    async def both() -> list[str]:
        task = asyncio.ensure_future(backend.acomplete(messages, {}))
        await asyncio.sleep(0.05)
        return [backend.complete(messages, {}).text, (await task).text]

    assert asyncio.run(asyncio.wait_for(both(), 10)) == ["answer", "answer"]
    assert len(lm.calls) == 2
