"""When a reader sees something: a plain stream, a held answer and one in windows, of the embedded model.

python tests/bench/streams.py [--answers 6] [--lm local] [--tokens 200]

Goals: the first piece of a window in at most a third of the time that a held answer takes; the whole in at most a quarter
more than a plain stream. The program passes everything, so that each answer is generated and reviewed to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from conscience import Backend, Conscience

TOPICS = ["bees", "bridges", "rain", "bread", "violins", "maps", "salt", "clocks", "ferries", "tea", "glass", "owls"]
REQUEST = "Explain in detail, for a curious reader, how {topic} came to matter to people ({way})."


async def timed(pieces: AsyncIterator[Any]) -> tuple[float, float, int]:
    """Seconds until the first piece of text, and until the end; and how many pieces there were."""
    began = time.perf_counter()
    first, count = 0.0, 0
    async for piece in pieces:
        if isinstance(piece, str):
            count += 1
            first = first or time.perf_counter() - began
    return first, time.perf_counter() - began, count


async def main(answers: int, lm: str, tokens: int) -> None:
    backend = Backend(lm, cache=False, max_tokens=tokens)
    program = Conscience(lm=backend, threshold=1.0)
    await program.awarm()

    def streams(topic: str) -> dict[str, AsyncIterator[Any]]:
        asked = {way: REQUEST.format(topic=topic, way=way) for way in ("plain", "hold", "window")}
        return {
            "plain": backend.astream([{"role": "user", "content": asked["plain"]}], {}),
            "hold": program.stream(asked["hold"]),
            "window": program.stream(asked["window"], release="window"),
        }

    found: dict[str, list[tuple[float, float, int]]] = {"plain": [], "hold": [], "window": []}
    for number in range(answers + 1):
        for way, pieces in streams(TOPICS[number % len(TOPICS)]).items():
            measured = await timed(pieces)
            if number:  # the first round warms up
                found[way].append(measured)
    print(f"{lm}, {answers} answers of up to {tokens} tokens; medians")
    print(f"{'':8}{'first piece':>14}{'whole':>10}{'pieces':>9}")
    for way, rows in found.items():
        first, whole, count = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{way:8}{first:12.2f} s{whole:8.2f} s{count:9.0f}")
    firsts = [w[0] / h[0] for w, h in zip(found["window"], found["hold"], strict=True)]
    wholes = [w[1] / p[1] for w, p in zip(found["window"], found["plain"], strict=True)]
    print(f"first piece, window of hold: {statistics.median(firsts):.2f} (goal: at most 0.33)")
    print(f"whole, window of plain:      {statistics.median(wholes):.2f} (goal: at most 1.25)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=6)
    parser.add_argument("--lm", default="local")
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    asyncio.run(main(options.answers, options.lm, options.tokens))
