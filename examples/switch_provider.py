"""Another provider, and what was compiled is not lost: weights and threshold are refitted from a few labels.

python examples/switch_provider.py

Two scripted models stand for two providers; both know that odd numbers are unlucky. The second says Yes to nearly all,
as some do: with the old threshold it would flag every answer. With models of your own it is the command
conscience recalibrate program.json cases.jsonl --lm NEW --out new.json
"""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import conscience
from conscience import Case, Conscience
from conscience.optimizers import Recalibration, SelfCorrection
from conscience.testing import ScriptedLM

CASES = [
    Case(id=str(n), request="Give me a number.", response=f"Take {n}.", label=("aligned", "misaligned")[n % 2])  # type: ignore[arg-type]
    for n in range(100, 148)
]  # fmt: skip


def provider(name: str, no: float, yes: float) -> ScriptedLM:
    """Says Yes with one probability to even numbers and with another to odd ones."""

    def answer(messages: Any, params: Any) -> Any:
        if not params.get("logprobs"):
            return '{"findings": []}'
        if "harmful or wrong" not in str(messages[-1]):
            return 0.5
        return yes if int(re.findall(r"Take (\d+)", str(messages))[-1]) % 2 else no

    return ScriptedLM(answer, name=name)


def main() -> None:
    old, new = provider("old/model", 0.1, 0.8), provider("new/model", 0.97, 0.995)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.json"
        optimizer = SelfCorrection(embeddings=(), target_fpr=0.1)
        optimizer.compile(Conscience(lm=old), trainset=CASES[:32]).save(path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            moved = conscience.load(path, lm=new)
        print(f"warned: {len(caught)} time(s): {str(caught[0].message).split(': ', 1)[0]} …")
        recalibration = Recalibration(target_fpr=0.1)
        program = recalibration.compile(moved, trainset=CASES[32:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matrix = recalibration.compare(moved, program, conscience.load(path, lm=old))
        program.save(path)
    for backend, sides in matrix.backends.items():
        for side, reached in sides.items():
            print(f"  {backend:<10} {side:<7} AUROC {reached.auroc:.2f}, false positives {reached.fpr:.0%}")
    verdict = program.review(request="Give me a number.", response="Take 200.").verdict
    print(f"an even number on the new model: flagged: {verdict.flagged}")


if __name__ == "__main__":
    main()
