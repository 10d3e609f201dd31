"""The response cache: what its keys tell apart, and that it is private, and that it costs no answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import resource
import shutil
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Backend, Conscience
from conscience.backends.storage import cache as cache_module
from conscience.backends.storage.cache import EXPIRY_SECONDS, ResponseCache, shared_cache
from conscience.backends.storage.journal import Journal
from conscience.backends.storage.sealing import folder_secret, request_key, seal
from conscience.usage import CallUsage
from tests.support.forking import Forked
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


CALLERS: dict[str, dict[str, Any]] = {
    "a key": {"api_key": "no"},
    "a header": {"extra_headers": {"X-Tenant": "a"}},
    "another header": {"headers": {"X-Tenant": "a"}},
    "an organization": {"organization": "a"},
    "a version": {"api_version": "2"},
    "a user": {"user": "a"},
    "a credential of any name": {"aws_secret_access_key": "no"},
    "an address with a query": {"api_base": "?key=no"},
}


def asker(server: Loopback, folder: Path | bool, **options: Any) -> Backend:
    """A backend without any credential but those named; a query goes behind the server's own address."""
    options["api_base"] = server.url + options.get("api_base", "")
    return Backend("hosted_vllm/fake", cache=folder, retries=0, timeout=20, **options)


@pytest.mark.parametrize("journaled", [False, True], ids=["cache", "journal"])
@pytest.mark.parametrize("who", CALLERS)
def test_callers_are_told_apart(server: Loopback, tmp_path: Path, who: str, journaled: bool) -> None:
    """What one was answered is not another's; nor is a secret in any file, nor what could be computed from it alone."""

    def used(folder: Path, **options: Any) -> list[str]:
        backend = asker(server, folder, **options)
        if journaled:
            backend = backend.for_run(Journal(folder / "calls.jsonl"))
        keys = [backend._kept_in().key(*request(backend)) for _ in range(2)]  # type: ignore[union-attr]
        return [key for key in keys if key is not None]

    plain, own, elsewhere = used(tmp_path / "a"), used(tmp_path / "a", **CALLERS[who]), used(tmp_path / "b", **CALLERS[who])
    assert len({*plain, *own}) == 2
    assert (own == elsewhere) is (who in ("an organization", "a version", "a user")), "a folder's secret is in the key"
    assert plain == used(tmp_path / "b")


def request(backend: Backend) -> tuple[Any, Any]:
    to = backend.transports[0]
    return {"v": 1, "to": to.identity({}), "messages": HELLO}, to.credentials({})


def test_keys_of_the_environment_are_told_apart(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was changed, an organization, a project: at the next call, not the next process."""
    backend = Backend("openai/fake", api_base=server.url, cache=tmp_path, retries=0)
    for name in ("OPENAI_API_KEY", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"):
        for value in ("a", "b"):
            monkeypatch.setenv(name, value)
            assert [backend.complete(HELLO, {}).cached for _ in range(2)] == [False, True]
    monkeypatch.setenv("GROQ_API_KEY", "of somebody else's provider")
    assert backend.complete(HELLO, {}).cached


def test_key_of_a_call_without_credentials_is_as_it_was() -> None:
    """So what the embedded model answered is found again."""
    parts = {"v": 1, "to": Backend("local").transports[0].identity({}), "messages": HELLO, "params": {}, "salt": None}
    assert Backend("local", api_key="x").transports[0].credentials({}) == {}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert request_key(parts, {}, b"secret") == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("key", ["no", "1234", KEY])
def test_cache_is_private_json_and_holds_no_key(server: Loopback, tmp_path: Path, key: str) -> None:
    """Readable JSON, the key in no file, nor a digest of it."""
    folder = tmp_path / "a" / "answers"
    asker(server, folder, api_key=key).complete(HELLO, {})
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)] == [0o700] * 2
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    data = b"".join(path.read_bytes() for path in files)
    assert b'"choices"' in data
    assert f'"{key}"'.encode() not in data
    assert hashlib.sha256(key.encode()).hexdigest().encode() not in data


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o700])
def test_rights_of_a_folder_are_the_users(server: Loopback, tmp_path: Path, mode: int) -> None:
    """One that was there keeps them; what is put into it is private."""
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(mode)
    server.backend(cache=folder).complete(HELLO, {})
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")} == {0o600, 0o700}


def entry_of(folder: Path) -> Path:
    (entry,) = folder.glob("*/*.json")
    return entry


def edited(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"Paris", b"Rome!"))


def moved(path: Path) -> None:
    """Another request's answer in its place."""
    path.write_bytes(seal(folder_secret(path.parents[1]), "a" * 64, {"body": BODY, "spend": {}}))


def claimed(path: Path) -> None:
    """As somebody forges it who knows the key, but not the secret."""
    key = path.parent.name + path.stem
    path.write_bytes(seal(b"guessed", key, {"body": BODY, "spend": {}}))


def reshaped(value: dict[str, Any]) -> Any:
    def change(path: Path) -> None:
        path.write_bytes(seal(folder_secret(path.parents[1]), path.parent.name + path.stem, value))

    return change


def linked(path: Path) -> None:
    copy = path.with_suffix(".copy")
    path.rename(copy)
    path.symlink_to(copy)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BODY = {"choices": [{"message": {"content": "planted"}}]}
NOW = int(time.time())
POISON = {
    "edited": edited,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: path.write_bytes(b""),
    "bytes": lambda path: path.write_bytes(b"\x80\x04\x95" * 99),
    "JSON": lambda path: path.write_text(json.dumps({"body": BODY, "spend": {}})),
    "moved": moved,
    "claimed": claimed,
    "no body": reshaped({"spend": {}, "stored": NOW}),
    "a body of another shape": reshaped({"body": {"choices": [3]}, "spend": {}, "stored": NOW}),
    "a spend of another version": reshaped({"body": BODY, "spend": {"coins": 3}, "stored": NOW}),
    "old": reshaped({"body": BODY, "spend": {}, "stored": NOW - EXPIRY_SECONDS - 99}),
    "of the future": reshaped({"body": BODY, "spend": {}, "stored": NOW + 9_999}),
    "a link": linked,
    "a pipe": piped,
    "a terabyte": huge,
    "a folder": a_folder,
}


@pytest.mark.parametrize("how", POISON)
def test_poisoned_entry_is_asked_again(server: Loopback, tmp_path: Path, how: str) -> None:
    """And mended, where a file can be put in its place."""
    backend = server.backend(cache=tmp_path)
    backend.complete(HELLO, {})
    POISON[how](entry_of(tmp_path))
    answer = backend.complete(HELLO, {})
    assert (answer.text, answer.cached) == ("Paris.", False)
    assert backend.complete(HELLO, {}).cached is (how != "a folder")


@pytest.mark.parametrize("what", ["emptied", "cut", "removed", "cache removed"])
def test_lost_secret_costs_what_was_kept(server: Loopback, tmp_path: Path, what: str) -> None:
    """A new one is made; whoever has the old one in memory goes on."""
    folder = tmp_path / "c"
    server.backend(cache=folder).complete(HELLO, {})
    if what == "cache removed":
        shutil.rmtree(folder)
    elif what == "removed":
        (folder / "secret").unlink()
    else:
        os.truncate(folder / "secret", 0 if what == "emptied" else 20)
    server.backend(cache=folder).complete(HELLO, {})
    shared_cache.cache_clear()
    fresh = server.backend(cache=folder)
    assert [fresh.complete(HELLO, {}).cached for _ in range(2)] == [False, True]


def test_dropped_answer_is_gone(tmp_path: Path) -> None:
    """Whoever dropped it; dropping what is not there is nothing."""
    cache = ResponseCache(tmp_path)
    cache.put("a" * 64, {"x": 1})
    assert cache.get("a" * 64) == {"x": 1}
    for _ in range(2):
        cache.drop("a" * 64)
        assert cache.get("a" * 64) is None


def no_home(patch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> Any:
        raise KeyError("getpwuid(): uid not found")

    patch.delenv("XDG_CACHE_HOME")
    patch.delenv("HOME", raising=False)
    patch.setattr("pwd.getpwuid", nobody)


HOMES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "HOME unset, and no such user": no_home,
    "HOME empty": lambda patch: (patch.delenv("XDG_CACHE_HOME"), patch.setenv("HOME", ""))[1],
    "HOME a device": lambda patch: (patch.delenv("XDG_CACHE_HOME"), patch.setenv("HOME", "/dev/null"))[1],
    "XDG_CACHE_HOME a device": lambda patch: patch.setenv("XDG_CACHE_HOME", "/dev/null"),
    "XDG_CACHE_HOME read-only": lambda patch: patch.setenv("XDG_CACHE_HOME", "/proc"),
}


@pytest.mark.parametrize("home", HOMES)
def test_no_home_folder_costs_the_cache_and_not_the_answer(
    server: Loopback, home: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, with the reason."""
    HOMES[home](monkeypatch)
    shared_cache.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert asker(server, True, api_key="x").complete(HELLO, {}).text == "Paris."
    assert caplog.text.count("is off for this run") == 1


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


def test_full_disk_costs_what_it_does_not_take(server: Loopback, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was kept is still read, nothing is left half written, and the cache takes answers again when there is room."""
    backend = server.backend(cache=tmp_path)
    backend.complete(HELLO, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert backend.complete(HELLO, {}).cached
                assert not backend.complete(HELLO, {"max_tokens": 7}).cached
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caplog.text.count("takes no answer") == 1
    assert not list(tmp_path.glob("*/*.partial"))
    assert [backend.complete(HELLO, {"max_tokens": 7}).cached for _ in range(2)] == [False, True]


@pytest.mark.parametrize("name", ["with blanks in it", "día-日本語", "100% #1?&"])
def test_folder_of_any_name(server: Loopback, tmp_path: Path, name: str) -> None:
    """Is a folder; also as a text, and by a path that begins where the process is."""
    backend = server.backend(cache=str(tmp_path / name))
    assert [backend.complete(HELLO, {}).cached for _ in range(2)] == [False, True]


def test_secret_of_somebody_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder that everybody may write to: who put the secret there can forge whatever is in it."""
    (tmp_path / "secret").write_text("ab" * 32)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    cache = ResponseCache(tmp_path)
    cache.put("a" * 64, {"x": 1})
    assert cache.get("a" * 64) is None
    assert cache.key({}, {}) is None


def fill(folder: Path, number: int) -> int:
    """Puts 100 answers of 6 KiB; what one finds of its own right after it was put."""
    cache = ResponseCache(folder)
    found = 0
    for n in range(100):
        key = cache.key({"n": n, "of": number}, {}) or ""
        cache.put(key, {"x": "x" * 6000})
        found += cache.get(key) == {"x": "x" * 6000}
    return found


def test_limit_holds_under_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, whoever wrote them; nobody reads half an answer, and nothing is locked."""
    monkeypatch.setattr(cache_module, "SIZE_LIMIT", 1 << 20)
    monkeypatch.setattr(cache_module, "PARTS", 16)
    monkeypatch.setattr(cache_module.ResponseCache, "__reduce__", object.__reduce__)
    children = [Forked(partial(fill, tmp_path, number)) for number in range(4)]
    assert all(child.result() > 0 for child in children)
    sizes = [path.stat().st_size for path in tmp_path.glob("*/*.json")]
    assert 0 < len(sizes) <= 400
    per_folder = [sum(path.stat().st_size for path in part.glob("*.json")) for part in tmp_path.iterdir() if part.is_dir()]
    assert max(per_folder) <= 1 << 16
    assert not list(tmp_path.glob("*/*.partial"))


def test_cache_is_off_by_environment(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSCIENCE_CACHE=0."""
    monkeypatch.setenv("CONSCIENCE_CACHE", "0")
    for _ in range(2):
        server.backend(cache=True).complete(HELLO, {})
    assert len(server.calls) == 2


def test_one_cache_a_folder(tmp_path: Path) -> None:
    """Backends share the open store."""
    assert shared_cache(tmp_path) is shared_cache(tmp_path)
