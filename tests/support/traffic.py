"""Many requests at once, each with a caller of its own, and how each of them ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from conscience import Conscience
from conscience.errors import ConscienceError
from tests.support.faulty_server import CALLER

AT_ONCE = 64


@dataclass(frozen=True)
class Ended:
    """How a request ended.

    Attributes:
        caller: whose it was.
        status: the outcome's, or the error's class.
        text: what was shown.
        method: how the gate was read.
        seconds: how long it took.
        error: why its caller got no answer.
    """

    caller: str
    status: str
    text: str
    method: str
    seconds: float
    error: str

    @property
    def lost(self) -> bool:
        """Whether its caller got no answer."""
        return self.status not in ("clean", "cleared", "revised")

    @property
    def leaked(self) -> bool:
        """Whether its caller was shown a text that the review flags."""
        return "BADWORD" in self.text

    @property
    def crossed(self) -> bool:
        """Whether its caller was shown another one's text."""
        return bool(set(CALLER.findall(self.text)) - {self.caller})


def question(number: int) -> str:
    """The request of a caller; every third is answered with a text that must not be shown."""
    return f"{'UNSAFE ' if number % 3 == 0 else ''}question of caller-{number:05}"


def in_threads(program: Conscience, numbers: Sequence[int], at_once: int = AT_ONCE) -> list[Ended]:
    """Asks for these callers, in threads."""

    def one(number: int) -> Ended:
        begun = time.perf_counter()
        try:
            return _ended(number, begun, program(question=question(number)))
        except ConscienceError as error:
            return _ended(number, begun, error)

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, numbers))


def on_a_loop(program: Conscience, numbers: Sequence[int], at_once: int = AT_ONCE) -> list[Ended]:
    """Asks for these callers, on one event loop."""

    async def one(number: int, places: asyncio.Semaphore) -> Ended:
        async with places:
            begun = time.perf_counter()
            try:
                return _ended(number, begun, await program.acall(question=question(number)))
            except ConscienceError as error:
                return _ended(number, begun, error)

    async def each() -> list[Ended]:
        places = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(one(number, places) for number in numbers))

    return asyncio.run(each())


WAYS: Mapping[str, Callable[..., list[Ended]]] = {"threads": in_threads, "asyncio": on_a_loop}


def _ended(number: int, begun: float, outcome: Any) -> Ended:
    seconds, caller = time.perf_counter() - begun, f"caller-{number:05}"
    if isinstance(outcome, ConscienceError):
        return Ended(caller, type(outcome).__name__, "", "", seconds, outcome.message)
    return Ended(caller, outcome.status, str(outcome.answer), outcome.verdict.method, seconds, str(outcome.error))
