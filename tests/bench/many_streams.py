"""Many streams at once through conscience serve --release window, over a scripted model that turns harmful at random points.

No client may see a harmful byte, an answer to somebody else's request, or an answer without its end; and the server's memory
stays where it was.

python tests.bench.many_streams.py [--clients 200] [--seconds 60]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from conscience import Conscience  # noqa: E402 - the path comes first
from conscience.testing import ScriptedLM, by_stage  # noqa: E402

HARM = "HARMFUL"
SENTENCES = 14
_MARK = re.compile(r"\bk\d+x\d+\b")


def answer(mark: str) -> str:
    """The draft for a request with this mark: in half of them one sentence, at a random place, is harmful."""
    chance = random.Random(zlib.crc32(mark.encode()))
    harmful = chance.randrange(SENTENCES) if chance.random() < 0.5 else -1
    said = (HARM if number == harmful else "harmless" for number in range(SENTENCES))
    return " ".join(f"Sentence {number} of {mark} is {word} and of some length." for number, word in enumerate(said))


def program() -> Conscience:
    """What is served."""

    def mark_of(messages: Any) -> str:
        found = _MARK.search(str(messages))
        return found[0] if found else "k0x0"

    finding = {"principle": "no-serious-harm", "quote": HARM, "why": "It harms.", "change": "Leave it out."}
    script = by_stage(
        lambda messages, params: answer(mark_of(messages)),
        gate=lambda messages, params: 0.95 if HARM in str(messages[-2:-1]) else 0.05,
        critique=json.dumps({"findings": [finding]}),
        revise=lambda messages, params: f"The end of {mark_of(messages)} is good.",
    )
    lm = ScriptedLM(script, seconds=0.3)
    lm._played.calls = _Forgotten()  # a test's record of every call would be the growth that is looked for
    return Conscience(lm=lm)


class _Forgotten(list[Any]):
    def append(self, item: Any) -> None:
        """Keeps nothing."""


@dataclass
class Seen:
    """What the clients saw.

    Attributes:
        answers: streams that came to their end.
        revised: of these, in how many the continuation was revised.
        windows: pieces that were released before the end, in all.
        harmful, crossed, lost: bytes that nobody should see; somebody else's text; a stream without its end.
        memory: megabytes of the server, from time to time.
    """

    answers: int = 0
    revised: int = 0
    windows: int = 0
    harmful: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Megabytes that the last third of the time had more than the middle one."""
        third = len(self.memory) // 3
        return statistics.median(self.memory[-third:]) - statistics.median(self.memory[third:-third])

    def faults(self) -> list[str]:
        """What must not be; empty where all is well."""
        return [f"{name}: {found[:3]}" for name in ("harmful", "crossed", "lost") if (found := getattr(self, name))]


async def client(port: int, number: int, until: float, seen: Seen) -> None:
    """Asks one stream after the other, over connections of its own."""
    count = 0
    while time.monotonic() < until:
        count += 1
        mark = f"k{number}x{count}"
        try:
            await ask(port, mark, seen)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.lost.append(f"{mark}: {error!r}")


async def ask(port: int, mark: str, seen: Seen) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = {"model": "conscience", "messages": [{"role": "user", "content": f"Tell me about {mark}."}], "stream": True}
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    raw = b""
    while piece := await reader.read(65536):
        raw += piece
        if HARM.encode() in raw:
            seen.harmful.append(mark)
    writer.close()
    text = raw.decode()
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())]
    said = "".join(deltas)
    if "data: [DONE]" not in text:
        seen.lost.append(f"{mark}: {text[-200:]}")
        return
    draft = answer(mark)
    ends_well = said.endswith(f"The end of {mark} is good.") if HARM in draft else said == draft
    if set(_MARK.findall(said)) != {mark} or not ends_well:
        seen.crossed.append(f"{mark}: {said[-200:]}")
    seen.answers += 1
    seen.revised += HARM in draft
    seen.windows += sum(len(delta) > 40 for delta in deltas)


async def watch(process: int, until: float, seen: Seen) -> None:
    """The server's resident memory."""
    while time.monotonic() < until:
        seen.memory.append(resident(process))
        await asyncio.sleep(0.25)


def resident(process: int) -> float:
    """Megabytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / (1 << 20)


async def run(clients: int, seconds: float) -> Seen:
    """Runs the server and so many clients for that time."""
    limits = ["--concurrency", str(clients), "--release", "window"]
    command = [sys.executable, "-m", "conscience", "serve", "--program", "tests.bench.many_streams:program", "--port", "0"]
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(*command, *limits, cwd=ROOT, stderr=pipe)
    assert server.stderr is not None
    seen = Seen()
    try:
        port = 0
        while not port:
            line = (await server.stderr.readline()).decode()
            assert line, "the server did not start"
            port = int(found[1]) if (found := re.search(r":(\d+)/v1", line)) else 0
        drained = asyncio.create_task(server.stderr.read())
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        until = time.monotonic() + seconds
        await asyncio.gather(watch(server.pid, until, seen), *(client(port, n, until, seen) for n in range(clients)))
        drained.cancel()
    finally:
        server.terminate()
        await server.wait()
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    seen = asyncio.run(run(options.clients, options.seconds))
    print(
        f"{options.clients} streams at once for {options.seconds:g} s: {seen.answers} answers, {seen.revised} with a revised"
    )
    print(f"continuation, {seen.windows} windows released early; harmful {len(seen.harmful)}, crossed {len(seen.crossed)},")
    print(f"lost {len(seen.lost)}; memory {seen.memory[0]:.0f} to {max(seen.memory):.0f} MB, growth {seen.growth:+.1f} MB")
    for fault in seen.faults():
        print(fault)
    return int(bool(seen.faults()))


if __name__ == "__main__":
    sys.exit(main())
