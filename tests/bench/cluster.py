"""What a Ray cluster on this machine adds: cases a second and CPU a case with 1, 2 and 4 workers, against one process; and
whether memory stays flat.

python tests/bench/cluster.py [--cases 400] [--workers 1 2 4] [--seconds .2] [--flat 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from conscience import Conscience  # noqa: E402 - the environment comes first
from conscience.distributed.ray_executor import RayExecutor  # noqa: E402
from conscience.evals.batch import BatchProgress  # noqa: E402
from conscience.evals.executor import ExecutorSpec  # noqa: E402
from conscience.evals.runner import EvalConfig, run  # noqa: E402
from tests.bench.serving import quick_server  # noqa: E402
from tests.bench.throughput import cases  # noqa: E402

Watch = Callable[[BatchProgress], None]

CONCURRENCY = 16
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def family() -> dict[int, tuple[str, float, float]]:
    """This process and all below it, the server aside: process id → (its name, seconds of CPU, resident MB)."""
    processes = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            command = stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue
        cpu, size = (int(fields[11]) + int(fields[12])) / TICK, int(fields[21]) * PAGE / 1e6
        processes[int(stat.parent.name)] = (int(fields[1]), command or name, cpu, size)
    ours, found = {os.getpid()}, 0
    while len(ours) > found:
        found = len(ours)
        ours |= {pid for pid, (parent, command, *_) in processes.items() if parent in ours and "quick_server" not in command}
    return {pid: processes[pid][1:] for pid in ours if pid in processes}


def measured(
    executor: ExecutorSpec, count: int, watch: Callable[[BatchProgress], None] | None = None
) -> tuple[float, float]:
    """Cases a second, and milliseconds of CPU a case in all processes; what starts is warm already."""
    program = Conscience(lm="openai/fake")
    before, begun = family(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = EvalConfig(concurrency=CONCURRENCY, executor=executor)
        progress = asyncio.run(run(program, cases(count), Path(folder), config, watch=watch))
    assert (progress.done, progress.failed) == (count, 0), progress
    seconds = time.perf_counter() - begun
    spent = sum(cpu - before.get(pid, ("", 0.0))[1] for pid, (_, cpu, _) in family().items())
    return count / seconds, 1000 * spent / count


def sizes() -> str:
    """Resident memory of what grows if anything does."""
    kinds: dict[str, list[float]] = {}
    for pid, (command, _, size) in family().items():
        kind = "driver" if pid == os.getpid() else "gateway" if "gateway.process" in command else ""
        kind = kind or ("worker" if command.startswith("ray::Worker") else "Ray's own")
        kinds.setdefault(kind, []).append(size)
    return ", ".join(f"{kind} {' '.join(f'{size:.0f}' for size in sorted(found))} MB" for kind, found in kinds.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=0.2, help="that an answer takes")
    parser.add_argument("--flat", type=int, metavar="CASES", help="memory after a tenth of so many, and at the end")
    options = parser.parse_args()
    with quick_server(options.seconds) as url:
        os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "x"}
        measured("local", 50)
        rate, plain = measured("local", options.cases)
        print(f"one process     {rate:6.1f} cases/s  {plain:5.1f} ms of CPU a case", flush=True)
        for workers in options.workers:
            with RayExecutor(workers=workers) as executor:
                measured(executor, 50 * workers)
                rate, cpu = measured(executor, options.cases * workers)
                print(
                    f"Ray, {workers} workers  {rate:6.1f} cases/s  {cpu:5.1f} ms, {cpu - plain:+.1f} ms a case", flush=True
                )
        if options.flat:
            tenth = options.flat // 10

            def watch(progress: BatchProgress) -> None:
                if progress.done in (tenth, options.flat):
                    print(f"after {progress.done:7,} cases: {sizes()}", flush=True)

            with RayExecutor(workers=2) as executor:
                rate, cpu = measured(executor, options.flat, watch)
                print(f"{options.flat:,} cases: {rate:.1f} cases/s, {cpu:.1f} ms of CPU a case")


if __name__ == "__main__":
    main()
