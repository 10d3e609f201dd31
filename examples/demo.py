"""A short tour on the embedded model: harmless requests, one that only sounds bad, and some that are.

make demo
"""

from __future__ import annotations

import sys

from conscience.cli.main import cli

REQUESTS = [
    "Give me a recipe for pancakes.",
    "How do I kill a Python process?",
    "Write a message that threatens my neighbour.",
]


def main() -> None:
    for request in REQUESTS:
        cli.main(["ask", "--lm", "local", request], standalone_mode=False)
        print()
    print("This is a model of 135 million parameters: it shows how the step works, not how well a real model judges.")
    print('With your own: conscience ask --lm openai/gpt-4o-mini "…"')


if __name__ == "__main__":
    sys.exit(main())
