"""How fast a run goes: reviewed cases a second against the bare light wire's, and whether its memory stays flat.

python tests/bench/throughput.py [--cases 2000] [--turns 5] [--flat 1000 20000] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from conscience import Backend, Conscience, Constitution  # noqa: E402 - the environment comes first
from conscience.backends.wire.transport import wire_transport  # noqa: E402
from conscience.cases.case import Case  # noqa: E402
from conscience.evals.runner import EvalConfig, run  # noqa: E402
from conscience.gate.questions import ONE_TOKEN_SAMPLING  # noqa: E402
from conscience.gate.settings import ask_by  # noqa: E402
from conscience.outcome import Draft  # noqa: E402
from tests.bench.serving import quick_server  # noqa: E402

CONCURRENCY = 64
SECONDS = 0.05
CALLS = 2
"""Calls a case: generate and gate."""


def cases(count: int) -> Iterator[Case]:
    return (
        Case(id=str(n), request=f"What is the capital of France, asked for the {n}th time?", request_safe=True)
        for n in range(count)
    )


async def bare(url: str, count: int) -> None:
    """The same two calls for each case over the bare wire, as many cases at once."""
    transport = wire_transport("openai/fake", {"api_base": url, "api_key": "x"})
    turn = ask_by(Constitution.load("general")).stages[0].signals[0].messages(Draft.of("", "Paris."))[-1]
    limit = asyncio.Semaphore(CONCURRENCY)

    async def ask(number: int) -> None:
        async with limit:
            messages = [{"role": "user", "content": f"What is the capital of France, asked for the {number}th time?"}]
            body, _ = await transport.acall(messages, {}, 60.0)
            messages += [{"role": "assistant", "content": body["choices"][0]["message"]["content"]}, turn]
            await transport.acall(messages, ONE_TOKEN_SAMPLING, 60.0)

    await asyncio.gather(*(ask(n) for n in range(count)))


async def ours(url: str, count: int) -> None:
    """A run."""
    program = Conscience(lm=Backend("openai/fake", api_base=url, api_key="x", cache=False))
    with tempfile.TemporaryDirectory() as folder:
        progress = await run(program, cases(count), Path(folder), EvalConfig(concurrency=CONCURRENCY))
    assert (progress.done, progress.failed, progress.calls) == (count, 0, CALLS * count), progress


def measured(way: Callable[[str, int], Awaitable[None]], url: str, count: int) -> tuple[float, float]:
    """Calls a second, and CPU milliseconds a call in this process."""
    cpu, begun = time.process_time(), time.perf_counter()
    asyncio.run(way(url, count))  # type: ignore[arg-type]
    seconds = time.perf_counter() - begun
    return CALLS * count / seconds, 1000 * (time.process_time() - cpu) / (CALLS * count)


def flat(count: int) -> None:
    """The peak memory of a run, in a process of its own."""
    with quick_server(0) as url:
        asyncio.run(ours(url, count))
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--flat", type=int, nargs="*", default=[])
    parser.add_argument("--profile", action="store_true", help="only a run, with a profile")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        flat(options.peak)
        return
    with quick_server(SECONDS) as url:
        for way in (bare, ours):
            measured(way, url, 100)  # warms up
        if options.profile:
            profiler = cProfile.Profile()
            profiler.runcall(measured, ours, url, options.cases)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(60)
            return
        rates, costs = [], []
        for turn in range(options.turns):
            pair = [measured(way, url, options.cases) for way in ((bare, ours) if turn % 2 else (ours, bare))]
            (alone, alone_cpu), (rate, cpu) = pair if turn % 2 else reversed(pair)
            rates.append(rate / alone)
            costs.append(cpu / alone_cpu)
            line = f"turn {turn + 1}: bare wire {alone:.0f} calls/s, {alone_cpu:.2f} ms CPU a call; "
            sys.stdout.write(f"{line}ours {rate:.0f} calls/s, {cpu:.2f} ms; {100 * rates[-1]:.0f} %\n")
    ideal = CONCURRENCY / SECONDS
    sys.stdout.write(f"median: {100 * statistics.median(rates):.0f} % of the bare wire's calls a second, ")
    sys.stdout.write(f"{statistics.median(costs):.1f} times its CPU ({ideal:.0f} calls/s were possible)\n")
    for count in options.flat:
        command = [sys.executable, __file__, "--peak", str(count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        sys.stdout.write(f"peak memory with {count} cases: {done.stdout.strip()} MB\n")


if __name__ == "__main__":
    main()
