"""What the step costs: on the embedded model, and above bare LiteLLM calls on a loopback backend that answers at once.

python tests/bench/overhead.py [--answers 12] [--requests 400]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from conscience import Backend, Conscience, Constitution, GateSettings  # noqa: E402 - the environment comes first
from conscience.backends.roles import Roles  # noqa: E402
from conscience.gate.defaults import settings_for  # noqa: E402
from conscience.gate.questions import ONE_TOKEN_SAMPLING, YES_OR_NO, Question  # noqa: E402
from conscience.gate.settings import CascadeStage, ask_by, one_question  # noqa: E402
from tests.bench.serving import quick_server  # noqa: E402

TOPICS = [
    "bees",
    "bridges",
    "rain",
    "bread",
    "violins",
    "maps",
    "salt",
    "clocks",
    "ferries",
    "tea",
    "glass",
    "owls",
    "paper",
    "snow",
]
TOKENS = 200


def embedded(answers: int) -> None:
    """Seconds of the review against seconds of the generation, for answers of about 200 tokens, and the tokens that the
    review reads anew: those are what a hosted model with a prefix cache charges in full."""
    backend = Backend("local", cache=False, max_tokens=TOKENS)
    question = Constitution.load("general").question
    foreign = Question(name="foreign", text=question, framing="foreign")
    shipped = settings_for(Constitution.load("general"), Roles.of(backend))
    both = (*one_question(question).stages[0].signals, *shipped.stages[0].signals)
    gates = {
        "own framing, one question": one_question(question),
        "foreign framing, one question": GateSettings(stages=(CascadeStage(signals=(foreign,), weights={"foreign": 1.0}),)),
        "own framing, question and principles asked as one": ask_by(Constitution.load("general")),
        "own framing, the question of default_gates/local.json": shipped,
        "own framing, both of these questions": GateSettings(stages=(CascadeStage(signals=both, weights={"police": 1.0}),)),
    }
    programs = {  # a threshold of 1 passes everything: a benign request
        name: Conscience(lm=backend, review=settings.model_copy(update={"threshold": 1.0}))
        for name, settings in gates.items()
    }
    ratios: dict[str, list[float]] = {name: [] for name in gates}
    read: dict[str, list[int]] = {name: [] for name in gates}
    lengths = []
    for number in range(answers + 1):
        for name, program in programs.items():
            topic = TOPICS[number % len(TOPICS)]
            outcome = program(
                request=f"Explain in detail, for a curious reader, how {topic} came to matter to people ({name})."
            )
            spent = outcome.usage.by_role
            if number:  # the first round warms up
                ratios[name].append(spent["review"].seconds / spent["generate"].seconds)
                lengths.append(spent["generate"].output_tokens)
                read[name].append(spent["review"].input_tokens - spent["review"].reused_tokens)
    print(f"embedded model, {answers} answers of {statistics.median(lengths):.0f} tokens (median); review / generation:")
    for name, values in ratios.items():
        print(
            f"  {name:<60} {100 * statistics.median(values):5.1f} %   ({100 * min(values):.1f} to {100 * max(values):.1f}); "
            f"{statistics.median(read[name]):.0f} tokens read anew"
        )


async def above_litellm(requests: int) -> None:
    """A program call against the same two calls made with LiteLLM alone, in turns."""
    import litellm

    with quick_server() as url:
        address = {"api_base": url, "api_key": "x"}
        cached = Conscience("question -> answer", lm=Backend("openai/fake", **address))
        uncached = Conscience("question -> answer", lm=Backend("openai/fake", cache=False, **address))
        yes_or_no = f"{cached.constitution.question} {YES_OR_NO}"

        async def bare(question: str) -> None:
            messages = [{"role": "user", "content": question}]
            reply = await litellm.acompletion(model="openai/fake", messages=messages, **address)
            text = reply.choices[0].message.content
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": yes_or_no}]
            await litellm.acompletion(model="openai/fake", messages=messages, **ONE_TOKEN_SAMPLING, **address)

        async def with_cache(question: str) -> None:
            assert (await cached.acall(question=question)).status == "clean"

        async def without_cache(question: str) -> None:
            assert (await uncached.acall(question=question)).status == "clean"

        ways_to_ask: dict[str, Callable[[str], Awaitable[None]]] = {
            "two bare LiteLLM calls": bare,
            "Conscience": with_cache,
            "Conscience, no response cache": without_cache,
        }
        taken: dict[str, list[float]] = {name: [] for name in ways_to_ask}
        for number in range(requests + 30):
            for name, ask in ways_to_ask.items():
                started = time.perf_counter()
                await ask(f"{number} {name}: what is the capital of France?")
                if number >= 30:
                    taken[name].append(1000 * (time.perf_counter() - started))
    base = taken["two bare LiteLLM calls"]
    print(f"0 ms loopback backend, {requests} requests each, in turns; p50 in ms:")
    for name, values in taken.items():
        added = statistics.median(v - b for v, b in zip(values, base, strict=True))
        print(f"  {name:<32} {statistics.median(values):6.2f}   added, by pairs: {added:+.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--answers", type=int, default=12)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    asyncio.run(above_litellm(options.requests))
    embedded(options.answers)


if __name__ == "__main__":
    main()
