"""The same request twice at the same time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conscience import Backend, BackendError
from conscience.backends.storage.journal import Journal
from conscience.messages import Completion
from conscience.testing import Fault, ScriptedLM

HELLO = [{"role": "user", "content": "hello"}]


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


def test_what_another_process_writes_into_a_journal_is_found(tmp_path: Path) -> None:
    """Each answer, whoever wrote it, whatever was written here meanwhile; and it is a first use once here."""
    one, other = Journal(tmp_path / "a"), Journal(tmp_path / "a")
    keys = [f"{n:064x}" for n in (1 << 200, 2 << 200, 3 << 200)]
    assert one.get(keys[0]) is other.get(keys[0]) is None
    other.put(keys[0], {"n": 0})
    one.put(keys[1], {"n": 1})
    with (tmp_path / "a").open("ab") as torn:
        torn.write(b'{"key":"')
    other.put(keys[2], {"n": 2})
    assert [one.get(key) for key in keys] == [other.get(key) for key in keys]
    assert one.get(keys[0]) == {"n": 0}
    assert one.get(keys[1]) == {"n": 1}
    assert one.is_first_use(keys[0])
    assert not one.is_first_use(keys[1])
