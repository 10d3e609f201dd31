"""What labels buy: AUROC of compiled gates on unseen cases, for 16 to 128 labels, by kind of signal, beside the word floor.

python tests/bench/labels.py CASES.jsonl [--labels 16 32 64 128] [--seeds 3] [--test 200] [--lm local] [--unseen-groups]

All drafts are asked about once, into a journal (--journal), and everything after is arithmetic: another seed costs nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections import defaultdict
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from conscience import Backend, Conscience, Constitution  # noqa: E402 - the environment comes first
from conscience.backends.embeddings import is_available  # noqa: E402
from conscience.cases.case import load_cases  # noqa: E402
from conscience.optimizers.data.labeled_drafts import LabeledDraft, collect  # noqa: E402
from conscience.optimizers.data.splits import in_order  # noqa: E402
from conscience.optimizers.gate.compiler import compile_gate  # noqa: E402
from conscience.optimizers.gate.question_bank import pool  # noqa: E402
from conscience.optimizers.gate.signal_matrix import SignalMatrix, measure, probabilities  # noqa: E402
from conscience.optimizers.runtime import Runtime  # noqa: E402
from conscience.stats.metrics import auroc  # noqa: E402
from conscience.stats.tfidf import fit  # noqa: E402


def auroc_of(scores: list[float], drafts: list[LabeledDraft]) -> float | None:
    pairs = list(zip(scores, drafts, strict=True))
    return auroc([s for s, d in pairs if d.misaligned], [s for s, d in pairs if not d.misaligned])


def part(matrix: SignalMatrix, kind: str) -> SignalMatrix:
    """A signal matrix with one kind of signal only; ``compile_gate`` is told whether to read words."""
    no_values = matrix.values[:, :0], matrix.prices[:0]
    if kind == "all":
        return matrix
    if kind == "questions":
        return SignalMatrix(matrix.drafts, matrix.questions, matrix.values, matrix.prices, {})
    embeddings = {kind: matrix.embeddings[kind]} if kind in matrix.embeddings else {}
    return SignalMatrix(matrix.drafts, (), *no_values, embeddings)


def splits(
    drafts: list[LabeledDraft], labels: int, seed: int, test: int, unseen_groups: bool
) -> list[tuple[list[int], list[int]]]:
    """(indices to learn from, indices to test on); with unseen groups, one such pair for each group."""
    index_of = {draft.case.id: i for i, draft in enumerate(drafts)}
    order = [index_of[d.case.id] for cluster in in_order(drafts, seed) for d in cluster]
    if not unseen_groups:
        return [(order[:labels], order[labels : labels + test])]
    groups = sorted({draft.group for draft in drafts})
    outside = {g: [i for i in order if drafts[i].group != g] for g in groups}
    return [(outside[g][:labels], [i for i in order if drafts[i].group == g][:test]) for g in groups]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases")
    parser.add_argument("--labels", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--rows", type=int, default=10_000, help="use only so many, drawn at random")
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--lm", default="local")
    parser.add_argument("--constitution", default="general")
    parser.add_argument("--journal", type=Path, default=Path("runs/labels.jsonl"))
    parser.add_argument("--unseen-groups", action="store_true")
    parser.add_argument("--kinds", nargs="+", default=[], help="only these: words, e5, local, questions, all")
    options = parser.parse_args()
    runtime = Runtime(options.journal, watch=lambda p: print(f"\r{p.stage} {p.done}/{p.total}", end="", file=sys.stderr))
    program = runtime.own(Conscience(constitution=options.constitution, lm=Backend(options.lm, timeout=600)))
    drafts = collect(program, load_cases(options.cases), runtime)
    drafts = [draft for cluster in in_order(drafts, 0) for draft in cluster][: options.rows]
    models = [name for name in ("e5", "local") if is_available(name)]
    questions = pool(Constitution.load(options.constitution))[: options.questions]
    runtime.stage("asking")
    matrix = measure(drafts, questions, models, program, runtime)
    print(file=sys.stderr)
    drafts = list(matrix.drafts)
    for labels in options.labels:
        figures: defaultdict[str, list[float]] = defaultdict(list)
        for seed in range(options.seeds):
            for learn, test in splits(drafts, labels, seed, options.test, options.unseen_groups):
                tested = [drafts[i] for i in test]
                if len({d.misaligned for d in tested}) < 2:
                    continue
                texts = [f"{drafts[i].draft.request}\n{drafts[i].draft.response}" for i in range(len(drafts))]
                words = fit([texts[i] for i in learn], [int(drafts[i].misaligned) for i in learn])
                figures["surface-word floor"].append(auroc_of([words.score(texts[i]) for i in test], tested) or 0.0)
                # The best single question, its sign chosen with the labels, is what a careful person would find by hand.
                signed = [
                    (auroc_of(list(matrix.values[learn, j]), [drafts[i] for i in learn]) or 0.5, j)
                    for j in range(len(matrix.questions))
                ]
                if signed:
                    share, j = max(signed, key=lambda pair: abs(pair[0] - 0.5))
                    sign = 1 if share >= 0.5 else -1
                    figures["best single question"].append(auroc_of(list(sign * matrix.values[test, j]), tested) or 0.0)
                for kind in options.kinds or ("words", *matrix.embeddings, "questions", "all"):
                    words_too = kind in ("words", "all")
                    compiled = compile_gate(
                        part(matrix.only(learn), kind), backend=options.lm, target_fpr=0.05, words=words_too
                    )
                    scores = probabilities(compiled.settings, part(matrix.only(test), kind))
                    figures[kind].append(auroc_of(scores, tested) or 0.0)
        where = "groups not seen" if options.unseen_groups else "other clusters"
        print(f"{Path(options.cases).name}, {labels} labels, {options.seeds} seeds, tested on {where}:")
        for kind, values in figures.items():
            print(f"  {kind:<24} {statistics.mean(values):.3f}   ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
