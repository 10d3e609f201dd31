"""A program for a new domain, from a few principles and a few dozen labels.

python examples/compile_domain.py [--lm local] [--labels 48] [--minutes 10] [--out hiring.json]

The domain is hiring: its constitution and its cases come with the library. Yours are a short YAML file and a file of cases;
see docs/constitution.md and docs/measuring.md.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import conscience
from conscience import Conscience, load_cases, split_cases
from conscience.optimizers import SelfCorrection


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lm", default="local")
    parser.add_argument("--labels", type=int, default=48)
    parser.add_argument("--minutes", type=float, default=10.0, help="that it may take; what is found by then is kept")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "hiring.json")
    options = parser.parse_args()

    program = Conscience("question -> answer", constitution="hiring", lm=options.lm)
    cases = load_cases("pack:hiring")
    share = options.labels / len(cases)
    parts = split_cases(cases, {"learn": share, "later": 1 - share}, seed=1)

    optimizer = SelfCorrection(target_fpr=0.1, auto="light", budget={"seconds": 60 * options.minutes})
    compiled = optimizer.compile(program, trainset=parts["learn"])
    compiled.save(options.out)

    # In the application: one line, and the models of the day.
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it would warn of a backend that it was not calibrated for
        program = conscience.load(options.out, lm=options.lm)

    result = compiled.compile_result
    print(f"{options.out}: {len(result.drafts)} drafts, {result.spent.calls} calls")
    if result.gate is not None:
        for signal in result.gate.alone:
            auroc = "unknown" if signal.auroc is None else f"{signal.auroc:.2f}"
            print(f"  {signal.name:<20} AUROC {auroc} by itself, {'kept' if signal.kept else 'dropped'}")
        print(f"  {'together':<20} AUROC {result.gate.cross_validated_auroc:.2f}")
    for note in result.notes:
        print(f"  note: {note}")
    case = parts["later"][0]
    verdict = program.review(request=case.request, response=case.response).verdict
    print(
        f"a case it has not seen, labelled {case.label}: probability {verdict.probability:.2f}, flagged: {verdict.flagged}"
    )


if __name__ == "__main__":
    main()
