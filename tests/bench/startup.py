"""How long the command line takes to its first answer, and to say that a model's name is wrong, beside DSPy's import.

python tests/bench/startup.py [--turns 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ENGINE = "from conscience.backends.embedded.local import endpoint; endpoint()"
COMMAND = "from conscience.cli.main import main; main()"
WAYS = {
    "DSPy's import": ["-c", "import dspy"],
    "DSPy's import and the engine's start": ["-c", f"import dspy; {ENGINE}"],
    "conscience ask --lm local --max-tokens 1 hi": [
        "-c",
        COMMAND,
        "ask",
        "hi",
        "--lm",
        "local",
        "--max-tokens",
        "1",
        "--no-cache",
    ],
    "conscience ask hi --lm nobody": ["-c", COMMAND, "ask", "hi", "--lm", "nobody"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(options.turns + 1):
        for name, arguments in WAYS.items():
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], capture_output=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
            )
            if turn:  # the first one compiles
                taken[name].append(time.perf_counter() - begun)
    for name, seconds in taken.items():
        print(f"{name:<44} {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
