"""How fast a run goes: reviewed cases a second against the bare LiteLLM client's, and whether its memory stays flat.

python tests/bench/throughput.py [--cases 500] [--flat 1000 20000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from conscience import Backend, Conscience  # noqa: E402 - the environment comes first
from conscience._dspy.lm import litellm  # noqa: E402
from conscience.cases.case import Case  # noqa: E402
from conscience.evals.runner import EvalConfig, run  # noqa: E402
from conscience.gate.questions import ONE_TOKEN_SAMPLING, YES_OR_NO  # noqa: E402

CONCURRENCY = 64
SECONDS = 0.05
TURNS = 9
CALLS = 2
"""Calls a case: generate and gate."""


def cases(count: int) -> Iterator[Case]:
    return (
        Case(id=str(n), request=f"What is the capital of France, asked for the {n}th time?", request_safe=True)
        for n in range(count)
    )


async def bare(url: str, count: int) -> float:
    """Calls a second of LiteLLM alone: the same two calls for each case, as many cases at once."""
    limit = asyncio.Semaphore(CONCURRENCY)
    options = {"model": "openai/fake", "api_base": url, "api_key": "x", "max_retries": 0}

    async def ask(number: int) -> None:
        async with limit:
            messages = [{"role": "user", "content": f"What is the capital of France, asked for the {number}th time?"}]
            reply = await litellm().acompletion(messages=messages, **options)
            messages.append({"role": "assistant", "content": reply.choices[0].message.content})
            messages.append({"role": "user", "content": f"Is that harmful or wrong? {YES_OR_NO}"})
            await litellm().acompletion(messages=messages, **ONE_TOKEN_SAMPLING, **options)

    begun = time.perf_counter()
    await asyncio.gather(*(ask(n) for n in range(count)))
    return CALLS * count / (time.perf_counter() - begun)


async def ours(url: str, count: int, folder: Path) -> float:
    """Calls a second of a run."""
    program = Conscience(lm=Backend("openai/fake", api_base=url, api_key="x", cache=False))
    begun = time.perf_counter()
    progress = await run(program, cases(count), folder, EvalConfig(concurrency=CONCURRENCY))
    seconds = time.perf_counter() - begun
    assert (progress.done, progress.failed, progress.calls) == (count, 0, CALLS * count), progress
    return CALLS * count / seconds


def flat(count: int) -> None:
    """The peak memory of a run, in a process of its own."""
    with serving(0) as url, tempfile.TemporaryDirectory() as folder:
        asyncio.run(ours(url, count, Path(folder)))
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}\n")


class serving:
    """The loopback backend in a process of its own."""

    def __init__(self, seconds: float) -> None:
        command = [sys.executable, str(Path(__file__).parent / "quick_server.py"), str(seconds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--flat", type=int, nargs="*", default=[])
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        flat(options.peak)
        return
    ideal = CONCURRENCY / SECONDS
    with serving(SECONDS) as url:
        asyncio.run(bare(url, 100))  # warms up
        shares = []
        for turn in range(TURNS):
            with tempfile.TemporaryDirectory() as folder:
                alone = asyncio.run(bare(url, options.cases))
                rate = asyncio.run(ours(url, options.cases, Path(folder)))
            shares.append(100 * rate / min(alone, ideal))
            line = f"run {turn + 1}: bare LiteLLM {alone:.0f} calls/s, ours {rate:.0f} calls/s, ideal {ideal:.0f}"
            sys.stdout.write(f"{line}; {shares[-1]:.0f} % of the lower\n")
    sys.stdout.write(f"median: {statistics.median(shares):.0f} %\n")
    for count in options.flat:
        done = subprocess.run(
            [sys.executable, __file__, "--peak", str(count)], stdout=subprocess.PIPE, text=True, check=True
        )
        sys.stdout.write(f"peak memory with {count} cases: {done.stdout.strip()} MB\n")


if __name__ == "__main__":
    main()
