"""Children forked from a process that is in the middle of its calls: each gets its own answers."""

from __future__ import annotations

import sys
import threading

import pytest

from conscience import Backend, Conscience
from tests.support.faulty_server import faulty_server
from tests.support.forking import Forked
from tests.support.traffic import Ended, in_threads, on_a_loop

WIRES = ("wire", "litellm")


def forked(engine: str, children: int, requests: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Forks so many children, with so many requests each, while the parent asks on and on in threads."""
    with faulty_server(0.0) as server:
        options = {"api_base": server.url, "api_key": "sk-test", "cache": False, "timeout": 120.0, "engine": engine}
        program = Conscience("question -> answer", lm=Backend("openai/one", **options))
        in_threads(program, range(90_000, 90_032), 16)
        on_a_loop(program, range(90_032, 90_064), 16)

        def work(child: int) -> list[Ended]:
            numbers = range(child * requests, (child + 1) * requests)
            return [*in_threads(program, numbers[::2], 4), *on_a_loop(program, numbers[1::2], 4)]

        stop, parents = threading.Event(), list[Ended]()

        def parent(first: int) -> None:
            while not stop.is_set():
                parents.extend(in_threads(program, range(first, first + 4), 2))
                stop.wait(0.1)  # the children are what is measured

        busy = [threading.Thread(target=parent, args=(80_000 + 10 * n,)) for n in range(4)]
        for thread in busy:
            thread.start()
        try:
            begun = [Forked(lambda child=child: work(child)) for child in range(children)]  # type: ignore[misc]
            ends = [end for child in begun for end in child.result(600.0)]
        finally:
            stop.set()
            for thread in busy:
                thread.join()
        log = server.log()
    both = [*ends, *parents]
    crossed = [end for end in both if end.crossed] + [caller for caller in log if "+" in caller]
    lost, leaked = [end for end in both if end.lost], [end for end in both if end.leaked]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{engine}: {children} children, {len(ends)} requests, and {len(parents)} of the parent: "
            f"{len(crossed)} crossed, {len(leaked)} leaked, {len(lost)} lost\n"
        )
    assert len(ends) == children * requests
    assert not crossed
    assert not leaked
    assert not lost


@pytest.mark.parametrize("engine", ["wire", pytest.param("litellm", marks=pytest.mark.long)])
def test_a_few_children(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    forked(engine, 4, 10, capsys)


@pytest.mark.long
@pytest.mark.parametrize(("engine", "requests"), [("wire", 50), ("litellm", 8)])
def test_sixty_four_children(engine: str, requests: int, capsys: pytest.CaptureFixture[str]) -> None:
    """LiteLLM's calls cost ten times the CPU."""
    forked(engine, 64, requests, capsys)
