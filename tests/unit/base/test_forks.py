"""What a forked child does not inherit."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from litellm.litellm_core_utils import logging_callback_manager

from conscience import Backend
from conscience._base.forks import ForkLock
from conscience.backends import backend as backends
from conscience.backends import embeddings
from conscience.backends.embedded import local
from conscience.backends.rate_limit import RateLimiter
from conscience.testing import ScriptedLM
from conscience.usage import CallUsage, IdleTime, UsageTracker
from tests.support.forking import in_fork


def while_held(lock: Any, work: Callable[[], Any]) -> Any:
    """What the work returns in a child that is forked while another thread holds the lock."""
    held, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            enough.wait(120)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(60)
        return in_fork(work)
    finally:
        enough.set()
        thread.join()


def idle_once(idle: IdleTime) -> bool:
    with idle.counting():
        return True


embeddings.register_embedder("forked", lambda texts: [[1.0] for _ in texts])
LIMITER, TRACKER, IDLE, LM = RateLimiter(60, 60), UsageTracker(), IdleTime(), ScriptedLM({"": "Paris."})


def mocked() -> str:
    """An answer by LiteLLM, of no server."""
    answer = litellm.completion("openai/fake", [{"role": "user", "content": "?"}], mock_response="Paris.")
    return str(answer.choices[0].message.content)


LOCKS: dict[str, tuple[Any, Callable[[], Any], Any]] = {
    "a rate limiter's": (LIMITER._lock, lambda: (LIMITER.claim(), LIMITER.record(3))[1], None),
    "a usage tracker's": (TRACKER._lock, lambda: TRACKER.enter("review", CallUsage(calls=1)), None),
    "idle time's": (IDLE._lock, lambda: idle_once(IDLE), True),
    "wrapped LMs'": (backends._wrapped_lock, lambda: Backend.of(LM).name, "scripted/lm"),
    "the embedders'": (embeddings._lock, lambda: embeddings.embed("forked", ["a"]), [[1.0]]),
    "the embedded servers'": (local._lock, lambda: local.shutdown(), None),
    "LiteLLM's, on its callbacks": (logging_callback_manager._callback_lists_lock, mocked, "Paris."),
    "LiteLLM's, on its clients": (
        litellm.in_memory_llm_clients_cache._write_lock,
        lambda: litellm.in_memory_llm_clients_cache.set_cache("forked", 1),
        None,
    ),
    "a scripted LM's": (
        LM._played._lock,
        lambda: Backend(LM, cache=False).complete([{"role": "user", "content": "?"}], {}).text,
        "Paris.",
    ),
}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_that_another_thread_held_is_open_in_a_child(name: str) -> None:
    """The thread is not there any more: waiting for it would never end."""
    lock, work, result = LOCKS[name]
    assert while_held(lock, work) == result


def test_lock_still_excludes() -> None:
    """In the child as in the parent, however many of its threads come first."""
    lock, inside, most = ForkLock(), [0], [0]

    def work() -> None:
        for _ in range(300):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    def race() -> int:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most[0]

    assert race() == while_held(lock, race) == 1
    with pickle.loads(pickle.dumps(lock)):
        pass
