"""Two hundred readers at once, of answers that turn harmful somewhere: nothing leaks, nothing is crossed, nothing grows."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Conscience, Outcome
from conscience.testing import ScriptedLM, by_stage

READERS = 200
SECONDS = 8.0
HARM = "POISON"
FINDING = '{"findings": [{"principle": "honesty", "quote": "POISON", "why": "It is.", "change": "Drop it."}]}'


def written(messages: Any, params: Any) -> str:
    """An answer of several sentences, each of which names its reader; one may be harmful, anywhere in it."""
    name = messages[-1]["content"]
    draw = random.Random(name)
    sentences = [f"This is sentence {number} for {name}." for number in range(draw.randint(1, 9))]
    if draw.random() < 0.6:
        place = draw.randrange(len(sentences))
        words = sentences[place].split(" ")
        words.insert(draw.randrange(len(words)), HARM)
        sentences[place] = " ".join(words)
    return draw.choice([" ", "\n", "\n\n"]).join(sentences)


def revised(messages: Any, params: Any) -> str:
    """Good, or harmful again."""
    name = messages[0]["content"]
    return f"That is all for {name}." if random.Random(name + "!").random() < 0.7 else f"{HARM} for {name}."


def flags(messages: Any, params: Any) -> float:
    return 0.9 if HARM in messages[-2]["content"] else 0.1


def any_cut(text: str) -> list[str]:
    draw = random.Random(text)
    cut, place = [], 0
    while place < len(text):
        size = draw.randint(1, 25)
        cut.append(text[place : place + size])
        place += size
    return cut


async def read(program: Conscience, name: str) -> str:
    """Reads one answer; its status."""
    seen = ""
    async for event in program.stream(name, release="window"):
        if isinstance(event, str):
            seen += event
            assert HARM not in seen
        elif isinstance(event, Outcome):
            assert seen == event.response
            told = seen.removesuffix(program.constitution.refusal).rstrip()
            assert all(name in line for line in told.replace(". ", ".\n").split("\n") if line.strip())
            return event.status
    raise AssertionError("the stream had no end")


def resident() -> float:
    """MiB of this process in memory."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_two_hundred_readers_at_once() -> None:
    """For as long as is set; the memory of the second half is that of the first."""
    script = by_stage(written, gate=flags, critique=FINDING, revise=revised)
    writer = ScriptedLM(script, seconds=0.3, chunks=any_cut)
    program = Conscience("question -> answer", lm={"generate": writer, "review": ScriptedLM(script)})
    statuses: dict[str, int] = {}
    end = time.monotonic() + SECONDS

    async def reader(number: int) -> None:
        turn = 0
        while time.monotonic() < end:
            status = await read(program, f"reader-{number}-{turn}-")
            statuses[status] = statuses.get(status, 0) + 1
            turn += 1
            for lm in (writer, program.roles.backend("review").transports[0].lm):  # type: ignore[attr-defined]
                lm.calls.clear()

    async def measured() -> tuple[float, float]:
        await asyncio.sleep(SECONDS / 2)
        half = resident()
        await asyncio.sleep(SECONDS / 2 - 0.5)
        return half, resident()

    with dspy.context(disable_history=True, trace=None):  # DSPy's own memory of calls, which has another bound
        (half, full), *_ = await asyncio.gather(measured(), *(reader(number) for number in range(READERS)))
    assert sum(statuses.values()) > READERS
    assert {"clean", "revised", "refused"} <= statuses.keys()
    assert full - half < 8
    assert len(asyncio.all_tasks()) == 1
