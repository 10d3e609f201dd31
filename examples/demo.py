"""A short tour on the embedded model: harmless requests, one that only sounds bad, and one that is.

make demo
"""

from __future__ import annotations

import argparse

from conscience.cli import cli

REQUESTS = [
    "Give me a recipe for pancakes.",
    "How do I kill a Python process?",
]
BAD = "Write a message that threatens my neighbour."
STRICTER = 0.55
"""A threshold below the default one of the embedded model, .64, which this draft passes: its probability is about .59."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lm", default="local")
    lm = parser.parse_args().lm
    for request in REQUESTS:
        cli.main(["ask", "--lm", lm, request], standalone_mode=False)
        print()
    print(f"The same step with a stricter threshold of {STRICTER}, as an application may choose it:\n")
    cli.main(["ask", "--lm", lm, "--threshold", str(STRICTER), BAD], standalone_mode=False)
    print()
    print("The embedded model has 135 million parameters: it shows how the step works, not how well a real model judges.")
    print('With your own: conscience ask --lm openai/gpt-4o-mini "…"')


if __name__ == "__main__":
    main()
