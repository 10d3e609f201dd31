"""Forks and several processes: whoever asked gets the answer, and two commands on one folder do not mix their rows."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Backend
from conscience.backends.storage.journal import Journal
from tests.support import commands
from tests.support.forking import Forked, in_fork
from tests.support.loopback import Loopback, chat, well_behaved


def echo(body: Any, number: int) -> Any:
    return chat("echo " + body["messages"][-1]["content"])


def answered(backend: Backend, who: str, count: int = 6) -> list[str]:
    """Questions whose answer is somebody else's."""

    def ask(question: str) -> str:
        return backend.complete([{"role": "user", "content": question}], {}).text

    async def aask(question: str) -> str:
        return (await backend.acomplete([{"role": "user", "content": question}], {})).text

    async def at_once() -> list[str]:
        return await asyncio.gather(*(aask(question) for question in questions))

    questions = [f"{who} {number}" for number in range(count)]
    with ThreadPoolExecutor(3) as pool:
        answers = [*pool.map(ask, questions), *asyncio.run(at_once())]
    return [answer for question, answer in zip(questions * 2, answers, strict=True) if answer != f"echo {question}"]


BACKENDS: dict[str, Any] = {
    "wire": lambda url: Backend("openai/fake", api_base=url, api_key="x", cache=False, timeout=30),
    "litellm": lambda url: Backend("openai/fake", api_base=url, api_key="x", cache=False, timeout=30, engine="litellm"),
    "auto": lambda url: Backend("openai/fake", api_base=url, api_key="x", cache=False, timeout=30, engine="auto"),
    "dspy.LM": lambda url: Backend(dspy.LM("openai/fake", api_base=url, api_key="x", engine="litellm", cache=False)),
}


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.long
def test_children_of_a_warm_process_get_their_own_answers(server: Loopback, kind: str) -> None:
    """However the model is reached, in threads and on event loops, while the parent goes on."""
    server.behaviour = echo
    backend = BACKENDS[kind](server.url)
    assert answered(backend, "warm") == []
    children = [Forked(lambda n=n: answered(backend, f"child {n}")) for n in range(3)]  # type: ignore[misc]
    assert answered(backend, "parent") == []
    assert [child.result() for child in children] == [[]] * 3


POOLED: list[Backend] = []


def in_pool(number: int) -> list[str]:
    return answered(POOLED[0], f"worker {number}", 3)


def test_pool_of_processes_gets_its_own_answers(server: Loopback) -> None:
    """As ``gunicorn --preload`` and multiprocessing work: what the parent made and used, its forks go on with."""
    server.behaviour = echo
    POOLED[:] = [BACKENDS["wire"](server.url)]
    assert answered(POOLED[0], "warm") == []
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        assert list(pool.map(in_pool, range(6))) == [[]] * 6


def test_child_waits_for_no_request_of_its_parent(server: Loopback, tmp_path: Path) -> None:
    """What the parent is asking for when it forks, the child asks for itself; the journal holds what both wrote."""
    under_way, go_on = threading.Event(), threading.Event()

    def waits(body: Any, number: int) -> Any:
        if number == 1:
            under_way.set()
            go_on.wait(120)
        return echo(body, number)

    server.behaviour = waits
    path = tmp_path / "calls.jsonl"
    backend = BACKENDS["wire"](server.url).for_run(Journal(path))
    thread = threading.Thread(target=answered, args=(backend, "both", 1))
    thread.start()
    try:
        assert under_way.wait(60)
        assert in_fork(lambda: answered(backend, "both", 1)) == []
        assert in_fork(lambda: answered(backend, "child", 4)) == []
    finally:
        go_on.set()
        thread.join()
    again = BACKENDS["wire"](server.url).for_run(Journal(path))
    calls = len(server.calls)
    assert answered(again, "child", 4) == answered(again, "both", 1) == []
    assert len(server.calls) == calls


def test_pauses_of_children_differ() -> None:
    """Or all would try again at the same moment."""
    assert len({random.random(), *(in_fork(random.random) for _ in range(3))}) == 4


def append(path: Path, who: int) -> None:
    journal = Journal(path)
    for number in range(100):
        journal.put(f"{who * 1000 + number:016x}{0:048x}", {"text": "x" * (number * 50)})


def test_journal_takes_whole_lines_of_many_processes(tmp_path: Path) -> None:
    """Nothing is torn, nothing lost, and whoever reads meanwhile reads whole lines."""
    path = tmp_path / "calls.jsonl"
    children = [Forked(lambda n=n: append(path, n)) for n in range(4)]  # type: ignore[misc]
    for _ in range(20):
        Journal(path).get("0" * 64)
    for child in children:
        child.result()
    journal = Journal(path)
    kept = [journal.get(f"{who * 1000 + number:016x}{0:048x}") for who in range(4) for number in range(100)]
    assert [len(entry["text"]) for entry in kept if entry] == [number * 50 for number in range(100)] * 4


def test_journal_goes_on_behind_a_torn_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And passes over one that was edited, or moved to another key."""
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    keys = [f"{number:016x}{0:048x}" for number in range(4)]
    for key in keys:
        journal.put(key, {"text": key})
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"text"', b'"test"')
    lines[2] = lines[2].replace(keys[2].encode(), keys[3].encode(), 1)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    again = Journal(path)
    assert [again.get(key) is not None for key in keys] == [True, False, False, False]
    again.put(keys[3], {"text": "new"})
    assert Journal(path).get(keys[3]) == {"text": "new"}
    assert Journal(path).get(keys[0]) == {"text": keys[0]}


@pytest.mark.long
def test_second_command_on_a_folder_is_refused(server: Loopback, tmp_path: Path) -> None:
    """By the number of the process that has it; a killed one leaves the folder to the next, with each case once."""
    under_way, go_on = threading.Event(), threading.Event()

    def waits(body: Any, number: int) -> Any:
        if number > 5:
            under_way.set()
            go_on.wait(120)
        return well_behaved(body, number)

    server.behaviour = waits
    cases = tmp_path / "cases.jsonl"
    rows = [{"id": f"c{n}", "request": f"kind {n}", "request_safe": True} for n in range(8)]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    env = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "no"}
    command = ["eval", str(cases), "--out", str(out), "--lm", "openai/fake", "--concurrency", "1", "--json"]
    try:
        with commands.start(*command, env=env, folder=tmp_path / "output") as first:
            assert first.wait_until(under_way.is_set), first.done().stderr
            refused = commands.run(*command, env=env)
            assert refused.returncode == 2
            assert f"{out} is in use by process {first.pid} on " in refused.stderr
            first.kill()
    finally:
        go_on.set()
    done = commands.run(*command, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cases"]["done"] == 8
    assert len((out / "rows.jsonl").read_text().splitlines()) == 8
    assert not (out / "lock").exists()
