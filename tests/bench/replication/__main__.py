"""Does a conscience in the loss keep a bad habit away? A small replication of arXiv 2606.19527 on the embedded model.

python -m tests.bench.replication [--out runs/replication] [--lm local] [--seeds 3] [--choices CASES.jsonl] [--toy]

SmolLM2-135M is taught to answer visible tests by name, with λ = 0 and with λ = 0.1, where its frozen copy judges by one of
five questions, or an oracle does. Interrupted, the same command goes on: a run that is done is a line of runs.jsonl. It
writes figures.json, table.md and plot.svg into the folder after every seed.
Needs the extras train, e5 and compile.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from conscience._base.files import write_atomic
from conscience.errors import ConscienceError
from conscience.optimizers.training.weights.base import Base
from tests.bench.replication.plot import svg
from tests.bench.replication.study import FULL, TOY, Runs, study
from tests.bench.replication.table import markdown, summary


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="replication", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/replication"), help="folder of the study")
    parser.add_argument("--lm", default="local", help="what is trained: local, a GGUF file, a folder of transformers'")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--choices", default="pack:general", help="cases with a right and a wrong response to each request")
    parser.add_argument("--embedder", default="e5", help="whose embeddings the probe reads")
    parser.add_argument("--toy", action="store_true", help="a few steps and items: proves the mechanics alone")
    options = parser.parse_args(arguments)

    def write(runs: Runs) -> None:
        figures = summary(runs)
        write_atomic(options.out / "figures.json", json.dumps(figures, indent=1, ensure_ascii=False))
        write_atomic(options.out / "table.md", markdown(figures))
        write_atomic(options.out / "plot.svg", svg(figures))

    try:
        write(
            study(
                options.out,
                Base.named(options.lm),
                TOY if options.toy else FULL,
                seeds=options.seeds,
                choices=options.choices,
                embedder=options.embedder,
                after_seed=write,
            )
        )
    except ConscienceError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print((options.out / "table.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
