"""The response cache: what its keys tell apart, and that it is private, and that it costs no answer."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Backend, Conscience
from conscience.backends.storage.cache import ResponseCache, shared_cache
from conscience.usage import CallUsage
from tests.support.loopback import Loopback

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


def test_one_cache_a_folder(tmp_path: Path) -> None:
    """Backends share the open store."""
    assert shared_cache(tmp_path) is shared_cache(tmp_path)
