"""Work behind the answers: bounded, in order, done before the process ends, and its parent's after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest

from conscience.observability import background
from conscience.observability.background import Background


def test_items_are_done_in_order_and_in_batches() -> None:
    batches: list[list[int]] = []
    begins = threading.Event()

    def work(items: Sequence[int]) -> None:
        assert begins.wait(30)
        batches.append(list(items))

    queue = Background(work, name="test", batch=3)
    assert all(queue.put(number) for number in range(8))
    begins.set()
    assert queue.flush(30)
    assert [item for batch in batches for item in batch] == list(range(8))
    assert max(map(len, batches)) == 3


def test_there_are_only_so_many_threads_and_each_is_used() -> None:
    together = threading.Barrier(4, timeout=30)
    queue = Background(lambda items: together.wait() and None, name="test", threads=4)
    assert all(queue.put(number) for number in range(4))
    assert queue.flush(30)


def test_what_work_raises_ends_no_thread_and_is_said_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def work(items: Sequence[int]) -> None:
        if items[0] == 1:
            raise ValueError("a text of somebody's")
        done.extend(items)

    queue = Background(work, name="test")
    for number in range(3):
        queue.put(number)
    assert queue.flush(30)
    assert done == [0, 2]
    assert "test: ValueError" in caplog.text
    assert "somebody" not in caplog.text


def test_a_full_queue_refuses_or_waits() -> None:
    goes_on = threading.Event()
    queue = Background(lambda items: goes_on.wait(30) and None, name="test", most=2)
    put = [queue.put(number) for number in range(10)]
    assert 2 <= sum(put) <= 3
    threading.Timer(0.05, goes_on.set).start()
    assert queue.put(99, wait=True)
    assert queue.flush(30)
    assert queue.pending == 0


def test_a_thread_without_work_ends_and_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "IDLE_SECONDS", 0.01)
    threads: list[int] = []
    queue = Background(lambda items: threads.append(threading.get_ident()), name="test-idle")
    queue.put(1)
    end = time.monotonic() + 30
    while any(thread.name == "test-idle" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)
    queue.put(2)
    assert queue.flush(30)
    assert len(threads) == 2


def test_a_queue_that_cannot_be_emptied_in_time_says_so() -> None:
    goes_on = threading.Event()
    queue = Background(lambda items: goes_on.wait(30) and None, name="test")
    queue.put(1)
    assert not queue.flush(0.05)
    goes_on.set()
    assert queue.flush(30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_begins_with_an_empty_queue_that_works() -> None:
    """What waits, and what is being done, is its parent's; a lock that was held is open."""
    goes_on = threading.Event()
    done: list[int] = []

    def work(items: Sequence[int]) -> None:
        goes_on.wait(30)
        done.extend(items)

    queue = Background(work, name="test")
    for number in range(3):
        queue.put(number)
    with queue._lock:  # as another thread may at any time
        child = os.fork()
        if child == 0:
            goes_on.set()
            good = queue.pending == 0 and queue.put(7) and queue.flush(20) and done == [7]
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    goes_on.set()
    assert queue.flush(30)
    assert done == [0, 1, 2]


HANGS = """
import threading
from conscience.observability import background
background.EXIT_SECONDS = 0.2
queue = background.Background(lambda items: threading.Event().wait(), name="conscience-observe")
queue.put(1)
queue.put(2)
"""


def test_a_process_that_ends_waits_only_so_long_and_says_what_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "the process ends with work undone: 2 of conscience-observe\n")


def test_what_comes_within_a_moment_is_done_together_and_a_flush_waits_for_none() -> None:
    batches: list[int] = []
    queue = Background(lambda items: batches.append(len(items)), name="test", batch=100, linger=30.0)
    for number in range(20):
        queue.put(number)
    assert queue.flush(10)
    assert batches == [20]


def test_a_queue_that_fills_does_not_linger() -> None:
    queue = Background(lambda items: None, name="test", batch=4, linger=30.0)
    for number in range(4):
        queue.put(number)
    end = time.monotonic() + 10
    while queue.pending:
        assert time.monotonic() < end
        time.sleep(0.001)
