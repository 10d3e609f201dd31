"""What the server adds: requests a second and their times through conscience serve, beside the bare wire.

Each request is two calls of a model, generate and gate. The bare wire makes the same two calls from one process, with the
client that the library itself uses; through the server the same load comes from as many clients over HTTP. Client, server
and model share the machine's cores: with more in flight than these can serve, all are bound by the processor, and what the
server takes of it is what counts. That is told too, and does not depend on who else is at work.

python tests/bench/serve.py [--requests 600] [--concurrency 8 16 64] [--seconds 0.05] [--workers 1] [--stream]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
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
from conscience.gate.questions import ONE_TOKEN_SAMPLING  # noqa: E402
from conscience.gate.settings import ask_by  # noqa: E402
from conscience.outcome import Draft  # noqa: E402
from tests.bench.serving import quick_server  # noqa: E402

MODEL = "BENCH_MODEL"
"""The variable that holds the model's address, for the process that serves."""

Ask = Callable[[int], Awaitable[None]]


def program() -> Conscience:
    """What is served."""
    backend = Backend("openai/fake", api_base=os.environ[MODEL], api_key="x", cache=False)
    return Conscience(lm=backend)


@contextlib.contextmanager
def server(workers: int) -> Iterator[tuple[int, int]]:
    """The server's port, and its process."""
    command = [sys.executable, "-m", "conscience", "serve", "--program", "tests.bench.serve:program", "--port", "0"]
    limits = ["--workers", str(workers), "--concurrency", "256", "--queue", "1024"]
    with subprocess.Popen([*command, *limits], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            port = next(int(found[1]) for line in process.stderr if (found := re.search(r":(\d+)/v1", line)))
            asyncio.run(ready(port))
            with open(os.devnull, "w") as nowhere:
                drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=nowhere)
            yield port, process.pid
            drain.kill()
        finally:
            process.terminate()


def processor_seconds(process: int) -> float:
    """What a process has used of the processor."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ready(port: int) -> None:
    while True:
        try:
            await asyncio.open_connection("127.0.0.1", port)
            return
        except OSError:
            await asyncio.sleep(0.1)


def bare(url: str) -> Ask:
    """Both calls over the bare wire."""
    transport = wire_transport("openai/fake", {"api_base": url, "api_key": "x"})
    turn = ask_by(Constitution.load("general")).stages[0].signals[0].messages(Draft.of("", "Paris."))[-1]

    async def ask(number: int) -> None:
        messages = [{"role": "user", "content": f"What is the capital of France, asked for the {number}th time?"}]
        body, _ = await transport.acall(messages, {}, 60.0)
        messages += [{"role": "assistant", "content": body["choices"][0]["message"]["content"]}, turn]
        await transport.acall(messages, ONE_TOKEN_SAMPLING, 60.0)

    return ask


def served(port: int, *, stream: bool) -> Ask:
    """One request to the server, over connections that stay open; just enough of a client to load nothing else."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(number: int) -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        messages = [{"role": "user", "content": f"What is the capital of France, asked for the {number}th time?"}]
        body = json.dumps({"model": "conscience", "messages": messages, "stream": stream}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        said = await reader.readuntil(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 200"), said
        if stream:
            answer = await reader.readuntil(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        else:
            answer = await reader.readexactly(int(re.search(rb"content-length: (\d+)", said)[1]))  # type: ignore[index]
        assert b"Paris" in answer
        idle.append((reader, writer))

    return ask


async def load(ask: Ask, requests: int, concurrency: int) -> tuple[float, list[float]]:
    """Requests a second, and the milliseconds of each."""
    numbers, times = iter(range(requests)), []

    async def client() -> None:
        for number in numbers:
            started = time.perf_counter()
            await ask(number)
            times.append(1000 * (time.perf_counter() - started))

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return requests / (time.perf_counter() - started), times


async def compare(url: str, port: int, process: int, options: argparse.Namespace) -> None:
    ways = {"bare wire": bare(url), "through the server": served(port, stream=options.stream)}
    for ask in ways.values():
        await load(ask, 64, 16)  # connections, imports
    print(f"{'in flight':>9}  {'':<18} {'req/s':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'CPU ms':>7}")
    for concurrency in options.concurrency:
        rates: dict[str, list[float]] = {name: [] for name in ways}
        times: dict[str, list[float]] = {name: [] for name in ways}
        used = dict.fromkeys(ways, 0.0)
        for _ in range(3):  # in turns: a busy machine slows both
            for name, ask in ways.items():
                worker = os.getpid() if name == "bare wire" else process
                before = processor_seconds(worker)
                rate, taken = await load(ask, options.requests // 3, concurrency)
                used[name] += processor_seconds(worker) - before
                rates[name].append(rate)
                times[name] += taken
        for name in ways:
            cut = statistics.quantiles(times[name], n=100)
            rate, cpu = statistics.median(rates[name]), 1000 * used[name] / len(times[name])
            share = rate / statistics.median(rates["bare wire"])
            row = f"{concurrency:>9}  {name:<18} {rate:7.0f} {cut[49]:8.1f} {cut[94]:8.1f} {cut[98]:8.1f}"
            if options.workers == 1 or name == "bare wire":  # of several workers' time nobody hears
                row += f" {cpu:7.2f}"
            print(row, "" if name == "bare wire" else f" {share:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--seconds", type=float, default=0.05, help="what a call of the model takes")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    with quick_server(options.seconds) as url:
        os.environ[MODEL] = url
        with server(options.workers) as (port, process):
            asyncio.run(compare(url, port, process, options))


if __name__ == "__main__":
    main()
