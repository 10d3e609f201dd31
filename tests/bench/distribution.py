"""What the first token's candidates tell: AUROC on unseen pairs of 20 and 2,000 of them, beside other signals, and time.

python tests/bench/distribution.py CASES.jsonl [--rows 200] [--labels 64 128] [--draws 10] [--framings own] [--embed e5]

The few are the likeliest of the many: what a hosted model would show of the same answer. All answers go into a journal
(--journal), and everything after is arithmetic. Times are of drafts whose exchange the server has in its prefix cache, as
that of an answer it has just written.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the environment comes first

from conscience import Backend, Conscience  # noqa: E402
from conscience.backends.embeddings import embedding  # noqa: E402
from conscience.cases.case import load_cases  # noqa: E402
from conscience.gate.distribution import FEW_CANDIDATES, MANY_CANDIDATES, candidates_sampling  # noqa: E402
from conscience.gate.probes import exchange_texts  # noqa: E402
from conscience.optimizers.data.labeled_drafts import LabeledDraft, collect  # noqa: E402
from conscience.optimizers.data.splits import in_order  # noqa: E402
from conscience.optimizers.gate.compiler import CompiledGate, compile_gate  # noqa: E402
from conscience.optimizers.gate.distributions import SEEN, Distribution, questions_read, shown  # noqa: E402
from conscience.optimizers.gate.question_bank import pool  # noqa: E402
from conscience.optimizers.gate.signal_matrix import SignalMatrix, measure, probabilities, wordings_for  # noqa: E402
from conscience.optimizers.runtime import Runtime  # noqa: E402
from conscience.stats.metrics import auroc  # noqa: E402


def few(distribution: Distribution) -> Distribution:
    """The same as a model that shows ``FEW_CANDIDATES`` would give it."""
    answers = []
    for row in distribution.logprobs:
        known = np.flatnonzero(~np.isnan(row))
        top = known[np.argsort(-row[known], kind="stable")][:FEW_CANDIDATES]
        answers.append(shown([(distribution.vocabulary[i], float(row[i])) for i in top]))
    return Distribution.of(distribution.question, FEW_CANDIDATES, answers, distribution.tokens)


def matrices(whole: SignalMatrix) -> dict[str, tuple[SignalMatrix, bool]]:
    """Kind → (a matrix with these signals only, whether surface words are read)."""
    nothing = replace(
        whole, questions=(), values=whole.values[:, :0], prices=whole.prices[:0], embeddings={}, distributions=()
    )
    many, of_few = whole.distributions, tuple(map(few, whole.distributions))

    def read(distributions: tuple[Distribution, ...], *framings: str) -> SignalMatrix:
        return replace(nothing, distributions=tuple(d for d in distributions if d.question.framing in framings))

    kinds = {
        "words": (nothing, True),
        "questions": (replace(nothing, questions=whole.questions, values=whole.values, prices=whole.prices), False),
        f"{FEW_CANDIDATES} candidates, own": (read(of_few, "own"), False),
        f"{FEW_CANDIDATES} candidates, both": (read(of_few, "own", "foreign"), False),
        f"{MANY_CANDIDATES} candidates, own": (read(many, "own"), False),
        f"{MANY_CANDIDATES} candidates, both": (read(many, "own", "foreign"), False),
    }
    if not whole.questions:
        del kinds["questions"]
    framings = {distribution.question.framing for distribution in many}
    for count in (FEW_CANDIDATES, MANY_CANDIDATES):
        if "own" not in framings:
            del kinds[f"{count} candidates, own"]
        if len(framings) < 2:
            del kinds[f"{count} candidates, both"]
    for name in whole.embeddings:
        kinds[name] = replace(nothing, embeddings={name: whole.embeddings[name]}), False
    kinds[f"all, {FEW_CANDIDATES} candidates"] = replace(whole, distributions=of_few), True
    kinds["all"] = whole, True
    return kinds


def seconds(program: Conscience, drafts: list[LabeledDraft], models: list[str]) -> dict[str, float]:
    """Kind → median seconds of one signal, the exchange being in the server's prefix cache."""
    backend = Backend(program.roles.backend("review").name, cache=False)
    taken: defaultdict[str, list[float]] = defaultdict(list)
    own, foreign = (next(q for q in questions_read(program.constitution) if q.framing == f) for f in ("own", "foreign"))
    for labeled in drafts:
        asked = [("foreign, ", foreign), ("own, ", own)]
        backend.complete([*own.messages(labeled.draft)[:-1], {"role": "user", "content": "Well?"}], {"max_tokens": 1})
        for name, question in reversed(asked):
            for candidates in (FEW_CANDIDATES, MANY_CANDIDATES):
                if name == "foreign, " and candidates == FEW_CANDIDATES:
                    continue  # the next would find it read
                started = time.perf_counter()
                backend.complete(question.messages(labeled.draft), candidates_sampling(candidates, many=True))
                taken[f"{name}{candidates} candidates"].append(time.perf_counter() - started)
        for model in models:
            started = time.perf_counter()
            embedding(model, exchange_texts(labeled.draft, wordings_for(model, program.constitution))).run()
            taken[model].append(time.perf_counter() - started)
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases")
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=200, help="use only so many, drawn at random, pairs whole")
    parser.add_argument("--questions", type=int, default=6, help="of the pool, read as Yes against No")
    parser.add_argument("--framings", nargs="+", default=["own", "foreign"])
    parser.add_argument("--embed", nargs="*", default=[])
    parser.add_argument("--lm", default="local")
    parser.add_argument("--constitution", default="general")
    parser.add_argument("--journal", type=Path, default=Path("runs/distribution.jsonl"))
    parser.add_argument("--timed", type=int, default=9, help="drafts on which signals are timed; 0: none")
    options = parser.parse_args()
    runtime = Runtime(options.journal, watch=lambda p: print(f"\r{p.stage} {p.done}/{p.total}", end="", file=sys.stderr))
    program = runtime.own(Conscience(constitution=options.constitution, lm=Backend(options.lm, timeout=600)))
    drafts = collect(program, load_cases(options.cases), runtime)
    drafts = [draft for cluster in in_order(drafts, 0) for draft in cluster][: options.rows]
    questions = pool(program.constitution)[: options.questions]
    read = [question for question in questions_read(program.constitution) if question.framing in options.framings]
    runtime.stage("asking")
    whole = measure(drafts, questions, options.embed, program, runtime, distributions=read)
    print(file=sys.stderr)
    drafts, kinds = list(whole.drafts), matrices(whole)
    labels = np.array([draft.misaligned for draft in drafts])
    index_of = {draft.case.id: i for i, draft in enumerate(drafts)}
    for count in options.labels:
        figures: defaultdict[str, list[float]] = defaultdict(list)
        kept: defaultdict[str, int] = defaultdict(int)
        for draw in range(options.draws):
            order = [index_of[d.case.id] for cluster in in_order(drafts, draw) for d in cluster]
            learn = order[:count]
            pairs = {drafts[i].cluster for i in learn}
            test = [i for i in order[count:] if drafts[i].cluster not in pairs]
            for kind, (matrix, words) in kinds.items():
                gate: CompiledGate = compile_gate(matrix.only(learn), backend=options.lm, target_fpr=0.05, words=words)
                scores = np.array(probabilities(gate.settings, matrix.only(test)))
                figures[kind].append(auroc(list(scores[labels[test]]), list(scores[~labels[test]])) or 0.0)
                if kind == "all":
                    figures["tokens of an aligned draft"].append(gate.tokens)
                    for each in gate.alone:
                        kept[each.name] += each.kept
        print(f"{Path(options.cases).name}, {len(drafts)} rows, {count} labels, {options.draws} draws, other pairs:")
        for kind, values in figures.items():
            print(f"  {kind:<26} {statistics.mean(values):.3f}   ({min(values):.3f} to {max(values):.3f})")
        print(f"  kept by the gate of all, of {options.draws} draws: {dict(kept)}", flush=True)
    for distribution in whole.distributions:
        seen = (~np.isnan(distribution.logprobs)).mean(axis=0) >= SEEN
        asked = f"{distribution.question.text} ({distribution.question.framing})"
        print(f"  {asked}: {seen.sum()} tokens in {SEEN:.0%} of the rows")
    if options.timed:
        for name, median in seconds(program, drafts[: options.timed], options.embed).items():
            print(f"  {name:<26} {1000 * median:.0f} ms")


if __name__ == "__main__":
    main()
