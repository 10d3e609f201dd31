"""What a large run will take, from what a small one took: calls, tokens, dollars, hours and bytes.

    conscience eval cases.jsonl --lm openai/gpt-4o-mini --limit 500 --out sample
    python examples/cost_sheet.py sample --processes 4 --in-flight 16 --rpm 5000 --tpm 2e6

A sample by a small model of your own says how many tokens a larger one would take. --price 0.15 0.60 (dollars for a million
tokens in and out) and --latency 1 (seconds a call) say what that one asks for them.

The assumptions stand under the table. What is not marked there is measured, or yours to give.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from conscience import EvalReport

CPU_SECONDS = 0.0025
"""CPU that a call takes on one core of a process, measured: see docs/scale.md."""
BATCH_PRICE = 0.5
"""What providers ask in a batch file, against their usual price."""


@dataclass(frozen=True)
class PerCase:
    """What one case took on average."""

    calls: float
    tokens: float
    dollars: float
    seconds: float
    bytes: float

    @classmethod
    def of(cls, folder: Path, price: list[float] | None) -> PerCase:
        """From a run's ``report.json``, and the sizes of its rows and its journal.

        Args:
            price: dollars for a million tokens in and out, in place of what the run's calls cost.
        """
        try:
            report = EvalReport.from_json(json.loads((folder / "report.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise SystemExit(f"{folder}: no report of a run can be read there: {error}") from None
        roles, done = report.overhead.by_role.values(), report.cases.done
        dollars = sum(role.dollars for role in roles)
        if not done:
            raise SystemExit(f"{folder}: no case was done")
        if price is not None:
            dollars = priced(folder, *price)
        elif any(role.unpriced for role in roles):
            print(f"note: {sum(role.unpriced for role in roles)} calls had no price: dollars are too low\n")
        size = sum(file.stat().st_size for name in ("rows*.jsonl", "calls*.jsonl") for file in folder.glob(name))
        return cls(
            calls=sum(role.calls for role in roles) / done,
            tokens=sum(role.tokens for role in roles) / done,
            dollars=dollars / done,
            seconds=sum(role.seconds for role in roles) / done,
            bytes=size / done,
        )


def priced(folder: Path, dollars_in: float, dollars_out: float) -> float:
    """What the run's tokens would have cost at this price for a million of them."""
    dollars = 0.0
    for file in folder.glob("rows*.jsonl"):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                for spent in json.loads(line).get("usage", {}).get("by_role", {}).values():
                    dollars += (spent["input_tokens"] * dollars_in + spent["output_tokens"] * dollars_out) / 1e6
    return dollars


def hours(per_case: PerCase, cases: float, options: argparse.Namespace) -> tuple[float, str]:
    """How long a run takes at least, and what keeps it from being quicker."""
    waits = {
        "latency": per_case.seconds / options.in_flight / options.processes,
        "CPU": per_case.calls * CPU_SECONDS / options.processes,
        "--rpm": per_case.calls * 60 / options.rpm if options.rpm else 0.0,
        "--tpm": per_case.tokens * 60 / options.tpm if options.tpm else 0.0,
    }
    slowest = max(waits, key=lambda name: waits[name])
    return cases * waits[slowest] / 3600, slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run on a sample of the cases")
    parser.add_argument("--cases", type=float, nargs="+", default=[1e5, 1e6, 1e7, 1e8])
    parser.add_argument("--processes", type=int, default=1, help="shards; one for Ray, whose calls are made by one process")
    parser.add_argument("--in-flight", type=int, default=16, help="--concurrency of each")
    parser.add_argument("--rpm", type=float, help="requests a minute, of all together")
    parser.add_argument("--tpm", type=float, help="tokens a minute, of all together")
    parser.add_argument("--price", type=float, nargs=2, metavar=("IN", "OUT"), help="dollars for a million tokens")
    parser.add_argument("--latency", type=float, help="seconds a call")
    options = parser.parse_args()
    per_case = PerCase.of(options.run, options.price)
    if options.latency is not None:
        per_case = replace(per_case, seconds=per_case.calls * options.latency)
    heads = ("cases", "calls", "tokens", "dollars", "by batch", "hours", "bound by", "GB")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for cases in options.cases:
        took, bound = hours(per_case, cases, options)
        dollars = per_case.dollars * cases
        amounts = (cases, per_case.calls * cases, per_case.tokens * cases, dollars, dollars * BATCH_PRICE)
        cells = [f"{amount:,.0f}" for amount in amounts] + [f"{took:,.1f}", bound, f"{per_case.bytes * cases / 1e9:,.1f}"]
        print("| " + " | ".join(cells) + " |")
    waited = f"{per_case.seconds:.2f} s of waiting, {per_case.bytes:.0f} bytes of rows and journal"
    named = {"price": options.price, "latency": options.latency}
    given = "".join(f", its {name} given" for name, value in named.items() if value is not None)
    at_once = options.processes * options.in_flight
    print(
        f"""
a case, measured{given}: {per_case.calls:.2f} calls, {per_case.tokens:.0f} tokens, ${per_case.dollars:.6f}, {waited}
assumed: the other cases are as long, and flagged as often, as those of {options.run.name}
assumed: a backend that answers {at_once} requests at once as quickly as one
assumed, not measured on your machine: {CPU_SECONDS * 1e3:.1f} ms of CPU a call, and a core for each process
assumed, not measured: a batch file costs {BATCH_PRICE:.0%} of the usual price; how long it takes is the provider's matter"""
    )


if __name__ == "__main__":
    main()
