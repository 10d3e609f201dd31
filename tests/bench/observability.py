"""What a verdict log, hooks, spans and the mode observe add to a call, as ratios: ``python tests/bench/observability.py``.

A scripted model answers at once, so all that is measured is the library. The ways take turns in small rounds, and each
figure is a median over rounds: whatever else the machine does falls on all of them. "cpu" is that of the whole process, the
writing thread included; "answer" is the time until the caller has its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from conscience import Backend, Conscience, Observe, Outcome, VerdictLog  # noqa: E402
from conscience.observability import flush, telemetry  # noqa: E402
from conscience.observability.mode import ModeSpec  # noqa: E402
from conscience.testing import ScriptedLM, by_stage  # noqa: E402
from tests.bench.serving import quick_server  # noqa: E402

ANSWER = "The museum opens at nine and closes at five; on Mondays it is closed. " * 12


def program(**options: object) -> Conscience:
    return Conscience("question -> answer", lm=ScriptedLM(by_stage(ANSWER)), **options)  # type: ignore[arg-type]


def noticed(outcome: Outcome) -> None:
    """A hook that does nothing."""


def ways(folder: Path) -> dict[str, Callable[[], Conscience]]:
    """Name → the program, the plain one first."""
    return {
        "off": program,
        "a log": lambda: program(log=folder / "plain.jsonl"),
        "a log with texts": lambda: program(log=VerdictLog(folder / "texts.jsonl", texts=True)),
        "a hook": lambda: program(on_outcome=noticed),
        "log and hook, observed": lambda: program(log=folder / "observed.jsonl", on_outcome=noticed, mode="observe"),
    }


async def measured(one: Conscience, calls: int) -> tuple[float, float]:
    """Milliseconds of CPU, and until the answer, a call."""
    cpu, begun = time.process_time(), time.perf_counter()
    for number in range(calls):
        await one.acall(question=f"When does museum {number} open?")
    answered = time.perf_counter() - begun
    flush()
    return (time.process_time() - cpu) / calls * 1000, answered / calls * 1000


def run(rounds: int, calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = {name: make() for name, make in ways(Path(folder)).items()}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
        for one in made.values():
            asyncio.run(measured(one, 5))
        for _ in range(rounds):
            for name, one in made.items():
                found[name].append(asyncio.run(measured(one, calls)))
        table(found)
        add_spans()
        is_used = telemetry.is_used
        spans: dict[str, list[tuple[float, float]]] = {"off": [], "spans and metrics": []}
        for _ in range(rounds):
            for name, taken in (("off", lambda: False), ("spans and metrics", is_used)):
                telemetry.is_used = taken
                spans[name].append(asyncio.run(measured(made["off"], calls)))
        telemetry.is_used = is_used
        table(spans)


async def side_by_side(one: Conscience, calls: int, together: int) -> tuple[float, float]:
    """Milliseconds of CPU a call, and the median until an answer, with so many calls under way."""
    seconds: list[float] = []

    async def asks(worker: int) -> None:
        for number in range(calls // together):
            begun = time.perf_counter()
            await one.acall(question=f"When does museum {worker}-{number} open?")
            seconds.append(time.perf_counter() - begun)

    cpu = time.process_time()
    await asyncio.gather(*map(asks, range(together)))
    flush()
    return (time.process_time() - cpu) / calls * 1000, statistics.median(seconds) * 1000


def observed(calls: int, together: int) -> None:
    """Beside a server that takes 50 ms for each call: an observed answer waits for its generation alone."""
    with tempfile.TemporaryDirectory() as folder, quick_server(0.05) as url:
        backend = Backend("openai/fake", cache=False, api_base=url, api_key="x")
        modes: dict[str, ModeSpec] = {"off": Observe(sample=0), "observe": "observe", "enforce": "enforce"}
        found = {}
        for name, mode in modes.items():
            one = Conscience("question -> answer", lm=backend, mode=mode, log=f"{folder}/verdicts.jsonl")
            asyncio.run(side_by_side(one, together, together))
            found[name] = [asyncio.run(side_by_side(one, calls, together)) for _ in range(3)]
    print(f"\nbeside a server of 50 ms, {together} at once; off is the generation alone")
    table(found)


def table(found: dict[str, list[tuple[float, float]]]) -> None:
    print(f"{'':26}{'cpu ms':>8}{'ratio':>8}{'answer ms':>11}{'ratio':>8}")
    first = [statistics.median(column) for column in zip(*found["off"], strict=True)]
    for name, figures in found.items():
        cpu, answer = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name:26}{cpu:8.2f}{cpu / first[0]:8.2f}{answer:11.2f}{answer / first[1]:8.2f}")


def add_spans() -> None:
    """From here on OpenTelemetry takes spans and metrics, and throws them away."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20)
    given = parser.parse_args()
    run(given.rounds, given.calls)
    observed(160, 8)
