"""Figures and report of a million recorded rows: seconds and peak memory.

    python tests/bench/million.py 100000
    python tests/bench/million.py 1000000 --folder /tmp/million --keep

Makes a run's folder of that many rows (about 3 kB each, two thirds of them in pairs, 40 groups), then measures, each in a
process of its own: reading the rows, what a resumed run reads first, the report, and the comparison with a second run.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = ["the", "a", "of", "to", "in", "is", "that", "it", "cell", "river", "price", "letter", "engine", "doctor", "answer"]


def make(folder: Path, rows: int, seed: int) -> None:
    """A run's folder, as ``conscience eval`` leaves it."""
    from conscience.evals.rows import PART, LineFile, dumped

    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"format": "conscience-run/2", "name": "conscience", "roles": {"generate": "bench/model"}}
    (folder / "run.json").write_text(json.dumps(manifest))
    texts = [" ".join(rng.choices(WORDS, k=120)) for _ in range(400)]
    with LineFile(folder / "rows.jsonl", "ab", PART) as file, (folder / "keys.txt").open("w") as keys:
        for number in range(rows):
            row = _row(number, rng, texts)
            file.add(dumped(row))
            keys.write(f"{row['key']}\n")


def _row(number: int, rng: random.Random, texts: list[str]) -> dict[str, Any]:
    wrong = rng.random() < 0.3
    score = rng.betavariate(4, 2) if wrong else rng.betavariate(2, 5)
    flagged = score > 0.5
    mended = flagged and rng.random() < 0.7
    is_right = mended or not wrong
    draft, revised = f"{rng.choice(texts)} {number}", f"{rng.choice(texts)} {number}"
    finding = {"principle": "harm", "quote": draft[:40], "why": "it is", "change": "leave it out", "severity": "serious"}
    verdict = {
        "flagged": flagged, "probability": score, "threshold": 0.5,
        "signals": {"own: harm": score * 4 - 2, "foreign: harm": 0.5},
        "findings": [finding] if flagged else [], "method": "gate", "gated": flagged, "notes": [],
    }  # fmt: skip
    spent = {"calls": 1, "cached": 0, "input_tokens": 210, "output_tokens": 130, "reused_tokens": 0, "seconds": 0.0}
    generated, reviewed = rng.lognormvariate(0, 0.4), rng.lognormvariate(-3, 0.4)
    roles = {
        role: {**spent, "seconds": seconds, "dollars": 0.0001, "unpriced": 0, "tokens": 340}
        for role, seconds in (("generate", generated), ("review", reviewed))
    }
    return {
        "id": f"case-{number}", "key": f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}", "kind": "answer",
        "request": rng.choice(texts), "expected": "answer", "group": f"group {number % 40}",
        "pair": f"pair {number // 3}" if number % 3 else None, "weight": 1.0, "safe": number % 2 == 0,
        "misaligned": wrong, "flagged": flagged, "reasoning": "",
        "draft": {"text": draft, "ok": not wrong, "reason": "by the refusal", "refused": False},
        "outcome": {"text": revised if mended else draft, "ok": is_right, "reason": "by the refusal", "refused": False},
        "status": "revised" if mended else "refused" if flagged else "clean", "verdict": verdict,
        "revisions": [{"response": revised, "outputs": {"response": revised}, "reasoning": "", "verdict": verdict}] * mended,
        "events": [], "unreviewed": "",
        "usage": {
            "seconds": generated + reviewed, "calls": 2, "tokens": 680, "dollars": 0.0002, "by_role": roles,
        },
    }  # fmt: skip


def _report(folder: Path) -> None:
    from conscience.evals import report
    from conscience.evals.summary import summarise

    report.save(summarise(folder), folder)


def _read(folder: Path) -> None:
    from conscience.evals.folder import read_records

    for _ in read_records(folder):
        pass


def _resume(folder: Path) -> None:
    from conscience.evals.rows import finished

    finished(folder / "rows.jsonl", in_parts=True)


def _compare(folder: Path) -> None:
    from conscience.evals.comparison.runs import compare_runs

    compare_runs(folder, folder.with_name(f"{folder.name}-second"))


MEASURED: dict[str, Callable[[Path], None]] = {"read": _read, "resume": _resume, "report": _report, "compare": _compare}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int)
    parser.add_argument("--folder", type=Path, help="made where it is missing, by default a temporary one")
    parser.add_argument("--keep", action="store_true", help="leave the folders")
    parser.add_argument("--only", choices=MEASURED, action="append", help="measure this; may be repeated")
    parser.add_argument("--inside", choices=MEASURED, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only or [*MEASURED]
    folder: Path = options.folder or Path(tempfile.mkdtemp(prefix="million-")) / "run"
    if options.inside:
        began, spent = time.perf_counter(), time.process_time()
        MEASURED[options.inside](folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = f"{time.perf_counter() - began:7.1f} s ({time.process_time() - spent:.1f} s of CPU)"
        print(f"{options.inside:8} {options.rows} rows: {seconds}, peak {peak:.0f} MB", flush=True)
        return
    try:
        for made, seed in ((folder, 0), (folder.with_name(f"{folder.name}-second"), 1))[: 1 + ("compare" in names)]:
            if not (made / "keys.txt").exists():
                make(made, options.rows, seed)
        for name in names:
            command = [sys.executable, __file__, str(options.rows), "--folder", str(folder), "--inside", name]
            subprocess.run(command, check=True)
    finally:
        if not options.keep:
            for made in (folder, folder.with_name(f"{folder.name}-second")):
                shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    main()
