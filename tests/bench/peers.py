"""What a reviewed answer costs on one fake server: ours over both wires, bare LiteLLM, the openai client, and peers.

Every contender makes the same two calls a request (answer, one-token question), in a process of its own, in turns. Peers are
measured where they are installed: each in a virtual environment of its own, venv-NAME in the folder that --venvs names
(``python3.11 -m venv venv-nemoguardrails && venv-nemoguardrails/bin/pip install nemoguardrails==0.24.1``).

python tests/bench/peers.py [--requests 60] [--turns 3] [--venvs FOLDER] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import logging
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.bench.serving import quick_server  # noqa: E402 - the path comes first

IN_FLIGHT = 16
Ask = Callable[[str], Awaitable[Any]]


def ours(engine: str) -> Callable[[str], Ask]:
    """A program with its default gate, without a response cache."""

    def make(url: str) -> Ask:
        from conscience import Backend, Conscience

        program = Conscience(
            "question -> answer", lm=Backend("openai/fake", api_base=url, api_key="x", cache=False, engine=engine)
        )

        async def ask(question: str) -> None:
            outcome = await program.acall(question=question)
            assert outcome.status == "clean", outcome

        return ask

    return make


def openai_client(url: str) -> Ask:
    """Two calls of the openai client, nothing around them."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="x", max_retries=0)

    async def call(messages: Any, **params: Any) -> Any:
        return await client.chat.completions.create(model="fake", messages=messages, **params)

    return twice(call)


def bare_litellm(url: str) -> Ask:
    """The same two calls through LiteLLM, nothing around them."""
    import litellm

    async def call(messages: Any, **params: Any) -> Any:
        return await litellm.acompletion(
            model="openai/fake", api_base=url, api_key="x", messages=messages, max_retries=0, **params
        )

    return twice(call)


def twice(call: Callable[..., Awaitable[Any]]) -> Ask:
    async def ask(question: str) -> None:
        messages = [{"role": "user", "content": question}]
        reply = await call(messages)
        said = {"role": "assistant", "content": reply.choices[0].message.content}
        asked = {"role": "user", "content": "Is that harmful or wrong? Answer Yes or No."}
        await call([*messages, said, asked], max_tokens=1, temperature=0.0, logprobs=True, top_logprobs=20)

    return ask


NEMO = """
models: [{type: main, engine: openai, model: fake, parameters: {base_url: "URL"}}]
rails: {output: {flows: [self check output]}}
prompts:
  - task: self_check_output
    content: |
      Bot message: "{{ bot_response }}"
      Should the message be blocked, because it is harmful or wrong? Answer Yes or No:
"""


def nemo_iorails(url: str) -> Ask:
    """NeMo Guardrails' faster engine with one output rail, which asks about the answer."""
    os.environ["NEMO_GUARDRAILS_NO_USAGE_STATS"] = "1"
    logging.disable(logging.WARNING)
    from nemoguardrails import RailsConfig
    from nemoguardrails.guardrails.guardrails import Guardrails

    rails = Guardrails(RailsConfig.from_content(yaml_content=NEMO.replace("URL", url)), require_iorails=True)

    async def ask(question: str) -> None:
        reply = await rails.generate_async(messages=[{"role": "user", "content": question}])
        assert reply["content"].startswith("Paris"), reply

    ask.close = rails.shutdown  # type: ignore[attr-defined]
    return ask


CONTENDERS: dict[str, Callable[[str], Ask]] = {
    "openai client, two calls": openai_client,
    'ours, engine="wire"': ours("wire"),
    "bare LiteLLM, two calls": bare_litellm,
    'ours, engine="litellm"': ours("litellm"),
    "NeMo IORails": nemo_iorails,
}
PEERS = {"NeMo IORails": "nemoguardrails"}
"""Contender → what its virtual environment is called, after venv-."""


def pythons(venvs: Path | None) -> dict[str, str]:
    """Contender → the interpreter that runs it, of those that are installed."""
    found = {}
    for name in CONTENDERS:
        python = None if venvs is None or name not in PEERS else venvs / f"venv-{PEERS[name]}" / "bin" / "python"
        if name not in PEERS:
            found[name] = sys.executable
        elif python is not None and python.is_file():
            found[name] = str(python.absolute())
    return found


async def measured(ask: Ask, requests: int, in_flight: int) -> tuple[float, float]:
    """The median of a request's milliseconds, and its CPU milliseconds in this process."""
    limit = asyncio.Semaphore(in_flight)
    taken: list[float] = []

    async def one(number: int) -> None:
        async with limit:
            begun = time.perf_counter()
            await ask(f"{number}: What is the capital of France?")
            taken.append(time.perf_counter() - begun)

    for number in range(5):
        await ask(f"{number}: warms up")
    cpu = time.process_time()
    await asyncio.gather(*(one(number) for number in range(requests)))
    spent = time.process_time() - cpu
    return 1000 * statistics.median(taken), 1000 * spent / requests


def contend(name: str, url: str, requests: int, in_flight: int, profile: bool) -> None:
    """One contender in this process; prints its figures."""
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    os.environ["OPENAI_API_KEY"] = "x"
    ask = CONTENDERS[name](url)
    profiler = cProfile.Profile()

    async def run() -> tuple[float, float]:
        await ask("warms up, with whatever is imported late")
        if profile:
            profiler.enable()
        figures = await measured(ask, requests, in_flight)
        if close := getattr(ask, "close", None):
            await close()
        return figures

    begun = _calls(url)
    median, cpu = asyncio.run(run())
    profiler.disable()
    if profile:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(45)
    calls = (_calls(url) - begun) / (requests + 6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"p50": median, "cpu": cpu, "calls": calls, "peak": peak}) + "\n")


def _calls(url: str) -> int:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as reply:
        return int(reply.read())


def asked(
    name: str, url: str, requests: int, in_flight: int, profile: bool = False, python: str = sys.executable
) -> dict[str, float]:
    """A contender's figures, from a process of its own."""
    command = [python, __file__, "--contender", name, "--url", url, "--requests", str(requests)]
    command += ["--in-flight", str(in_flight)] + (["--profile"] if profile else [])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--venvs", type=Path, help="the folder with the peers' virtual environments")
    parser.add_argument("--profile", action="store_true", help="only ours over the light wire, with a profile")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        contend(options.contender, options.url, options.requests, options.in_flight, options.profile)
        return
    if options.profile:
        with quick_server(0.0) as url:
            print(asked('ours, engine="wire"', url, max(options.requests, 300), 1, profile=True))
        return
    columns = [("50 ms, one by one", 0.05, 1), ("50 ms, 16 in flight", 0.05, IN_FLIGHT)]
    columns += [("0 ms, one by one", 0.0, 1), ("0 ms, 16 in flight", 0.0, IN_FLIGHT)]
    installed = pythons(options.venvs)
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(options.turns):
        for column, seconds, in_flight in columns:
            with quick_server(seconds) as url:
                for name, python in installed.items():
                    figures = asked(name, url, options.requests, in_flight, python=python)
                    found.setdefault((name, column), []).append(figures)
    print(f"{options.requests} requests, medians of {options.turns} turns; ms; CPU a request at 50 ms, 16 in flight")
    print("| | calls | " + " | ".join(f"{column}, p50" for column, _, _ in columns) + " | CPU | peak MB |")
    print("|---" * (len(columns) + 4) + "|")
    for name in installed:
        medians = [statistics.median(f["p50"] for f in found[name, column]) for column, _, _ in columns]
        busy = found[name, columns[1][0]]
        cpu, peak = (statistics.median(f[key] for f in busy) for key in ("cpu", "peak"))
        shown = " | ".join(f"{median:.1f}" for median in medians)
        print(f"| {name} | {busy[0]['calls']:.0f} | {shown} | {cpu:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
