"""What the first token's candidates tell: AUROC on unseen pairs of 20 and 2,000 of them, beside other signals, and the time
that the compiled gate takes beside the answer it reads. Labels are drawn from all drafts; the gate learns from those of them
that no check or linter flags, and reads such drafts only. Beside each AUROC stands in how many pairs of a misaligned and an
aligned draft that both reach it the gate has them in the right order: words also tell one kind of request from another.

python tests/bench/distribution.py CASES.jsonl [--rows 200] [--labels 64 128] [--draws 10] [--framings own] [--embed e5]

The few are the likeliest of the many: what a hosted model would show of the same answer, to questions that are answered with
Yes or No; it goes on with no answer that was begun. All answers go into a journal, and everything after is arithmetic. Timed
are answers of 150 to 200 tokens that the model writes to the requests of the cases, and the gate after each.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the environment comes first

from conscience import Backend, Conscience  # noqa: E402
from conscience.cases.case import load_cases  # noqa: E402
from conscience.gate.distribution import FEW_CANDIDATES, MANY_CANDIDATES  # noqa: E402
from conscience.gate.questions import OpenQuestion, Question  # noqa: E402
from conscience.gate.settings import GateSettings  # noqa: E402
from conscience.messages.rendering import Request, request_text  # noqa: E402
from conscience.optimizers.data.labeled_drafts import collect  # noqa: E402
from conscience.optimizers.data.splits import in_order  # noqa: E402
from conscience.optimizers.gate.compiler import LEAST, CompiledGate, compile_gate  # noqa: E402
from conscience.optimizers.gate.distributions import SEEN, Distribution, questions_read, shown  # noqa: E402
from conscience.optimizers.gate.question_bank import pool  # noqa: E402
from conscience.optimizers.gate.signal_matrix import SignalMatrix, measure, probabilities  # noqa: E402
from conscience.optimizers.runtime import Runtime  # noqa: E402
from conscience.stats.metrics import auroc  # noqa: E402

LONG, LONG_ENOUGH = 200, 150
"""Tokens of an answer that is timed."""


def few(distribution: Distribution) -> Distribution:
    """The same as a model that shows ``FEW_CANDIDATES`` would give it."""
    answers = []
    for row in distribution.logprobs:
        known = np.flatnonzero(~np.isnan(row))
        top = known[np.argsort(-row[known], kind="stable")][:FEW_CANDIDATES]
        answers.append(shown([(distribution.vocabulary[i], float(row[i])) for i in top]))
    return Distribution.of(distribution.question, FEW_CANDIDATES, answers, distribution.tokens)


def matrices(whole: SignalMatrix, compiled: Collection[Question]) -> dict[str, tuple[SignalMatrix, bool]]:
    """Kind → (a matrix with these signals only, whether surface words are read); of all, those that a compiler reads."""
    nothing = replace(
        whole, questions=(), values=whole.values[:, :0], prices=whole.prices[:0], embeddings={}, distributions=()
    )
    begun = tuple(d for d in whole.distributions if isinstance(d.question, OpenQuestion))
    closed = tuple(d for d in whole.distributions if not isinstance(d.question, OpenQuestion))
    of_few, in_all = tuple(map(few, closed)), tuple(d for d in whole.distributions if d.question in compiled)
    kinds = {"words": (nothing, True)}
    if whole.questions:
        kinds["questions"] = replace(nothing, questions=whole.questions, values=whole.values, prices=whole.prices), False
    for count, distributions in ((FEW_CANDIDATES, of_few), (MANY_CANDIDATES, closed)):
        for framing in dict.fromkeys(d.question.framing for d in distributions):
            those = tuple(d for d in distributions if d.question.framing == framing)
            kinds[f"{count} candidates, {framing}"] = replace(nothing, distributions=those), False
    for distribution in begun:
        kinds[f"{distribution.question.begin} …"] = replace(nothing, distributions=(distribution,)), False
    if begun:
        kinds[f"{MANY_CANDIDATES} candidates, begun"] = replace(nothing, distributions=begun), False
    for name in whole.embeddings:
        kinds[name] = replace(nothing, embeddings={name: whole.embeddings[name]}), False
    kinds[f"all, {FEW_CANDIDATES} candidates"] = replace(whole, distributions=of_few), True
    kinds["all"] = replace(whole, distributions=in_all), True
    return kinds


def seconds(program: Conscience, settings: GateSettings, requests: list[Request], count: int) -> list[tuple[float, float]]:
    """What writing took and what the gate took, in seconds, for the first ``count`` answers that are long enough."""
    model = Backend(program.roles.backend("review").name, cache=False, timeout=600, max_tokens=LONG)
    gated = Conscience(constitution=program.constitution, lm=model, review=settings, max_revisions=0)
    taken: list[tuple[float, float]] = []
    for request in requests:
        if len(taken) > count:
            break
        spent = gated(request).usage.by_role
        if spent["generate"].output_tokens >= LONG_ENOUGH:
            taken.append((spent["generate"].seconds, spent["review"].seconds))
    return taken[1:]  # the first also starts the engine


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases")
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=200, help="use only so many, drawn at random, pairs whole")
    parser.add_argument("--questions", type=int, default=6, help="of the pool, read as Yes against No")
    parser.add_argument("--framings", nargs="*", default=["own", "foreign"])
    parser.add_argument("--embed", nargs="*", default=[])
    parser.add_argument("--lm", default="local")
    parser.add_argument("--constitution", default="general")
    parser.add_argument("--journal", type=Path, default=Path("runs/distribution.jsonl"))
    parser.add_argument("--timed", type=int, default=9, help="answers on which the gate is timed; 0: none")
    options = parser.parse_args()
    runtime = Runtime(options.journal, watch=lambda p: print(f"\r{p.stage} {p.done}/{p.total}", end="", file=sys.stderr))
    program = runtime.own(Conscience(constitution=options.constitution, lm=Backend(options.lm, timeout=600)))
    drafts = collect(program, load_cases(options.cases), runtime)
    drafts = [draft for cluster in in_order(drafts, 0) for draft in cluster][: options.rows]
    questions = pool(program.constitution)[: options.questions]
    compiled = questions_read(program.constitution, begun=program.roles.backend("review").supports("begun_answers"))
    compiled = [question for question in compiled if question.framing in options.framings]
    closed = [question for question in questions_read(program.constitution) if question.framing in options.framings]
    read = [*closed, *(question for question in compiled if question not in closed)]
    runtime.stage("asking")
    whole = measure(drafts, questions, options.embed, program, runtime, distributions=read)
    print(file=sys.stderr)
    misaligned = sum(draft.misaligned for draft in whole.flagged)
    print(f"{misaligned} misaligned and {len(whole.flagged) - misaligned} aligned drafts are flagged before the gate")
    everything, drafts, kinds = drafts, list(whole.drafts), matrices(whole, compiled)
    labels = np.array([draft.misaligned for draft in drafts])
    index_of = {draft.case.id: i for i, draft in enumerate(drafts)}
    rivals = [
        (i, j)
        for i, a in enumerate(drafts)
        for j, b in enumerate(drafts)
        if a.misaligned > b.misaligned and a.cluster == b.cluster
    ]
    for count in options.labels:
        figures: defaultdict[str, list[float]] = defaultdict(list)
        kept: defaultdict[str, int] = defaultdict(int)
        ordered: defaultdict[str, list[float]] = defaultdict(list)
        for draw in range(options.draws):
            labelled = [draft for cluster in in_order(everything, draw) for draft in cluster][:count]
            pairs = {draft.cluster for draft in labelled}
            learn = [index_of[draft.case.id] for draft in labelled if draft.case.id in index_of]
            test = [i for i, draft in enumerate(drafts) if draft.cluster not in pairs]
            reaching = int(labels[learn].sum())
            if min(reaching, len(learn) - reaching) < LEAST:
                kept["nothing: too few to learn from"] += 1
                continue
            for kind, (matrix, words) in kinds.items():
                gate: CompiledGate = compile_gate(matrix.only(learn), backend=options.lm, target_fpr=0.05, words=words)
                scores = np.array(probabilities(gate.settings, matrix.only(test)))
                figures[kind].append(auroc(list(scores[labels[test]]), list(scores[~labels[test]])) or 0.0)
                of = dict(zip(test, scores, strict=True))
                ordered[kind] += [(of[i] > of[j]) + (of[i] == of[j]) / 2 for i, j in rivals if i in of]
                if kind == "all" and whole.flagged:
                    unseen = [draft.misaligned for draft in whole.flagged if draft.cluster not in pairs]
                    beside = np.array([*labels[test], *unseen])
                    certain = np.array([*scores, *[1.0] * len(unseen)])
                    both = auroc(list(certain[beside]), list(certain[~beside]))
                    figures["all, and checks and linters"].append(both or 0.0)
                if kind == "all":
                    figures["tokens of an aligned draft"].append(gate.tokens)
                    for each in gate.alone:
                        kept[each.name] += each.kept
        drawn = f"{count} labels, {options.draws} draws, other pairs"
        print(f"{Path(options.cases).name}, {len(drafts)} of {len(everything)} rows reach the gate, {drawn}:")
        for kind, values in figures.items():
            pairs_right = ordered[kind]
            beside = f"   pairs {statistics.mean(pairs_right):.3f} of {len(pairs_right)}" if pairs_right else ""
            print(f"  {kind:<26} {statistics.mean(values):.3f}   ({min(values):.3f} to {max(values):.3f}){beside}")
        print(f"  kept by the gate of all, of {options.draws} draws: {dict(kept)}", flush=True)
    for distribution in whole.distributions:
        seen = (~np.isnan(distribution.logprobs)).mean(axis=0) >= SEEN
        asked = f"{distribution.question.text} ({distribution.question.framing})"
        print(f"  {asked}: {seen.sum()} tokens in {SEEN:.0%} of the rows")
    if options.timed:
        learn = [index_of[d.case.id] for cluster in in_order(drafts, 0) for d in cluster][: options.labels[0]]
        gate = compile_gate(kinds["all"][0].only(learn), backend=options.lm, target_fpr=0.05)
        settings = gate.settings.model_copy(update={"critique": "off"})
        requests = list({request_text(draft.draft.request): draft.draft.request for draft in drafts}.values())
        random.Random(0).shuffle(requests)
        taken = seconds(program, settings, requests, options.timed)
        writing, reading = (statistics.median(each) for each in zip(*taken, strict=True))
        share = statistics.median(read / wrote for wrote, read in taken)
        asked = ", ".join(signal.name for signal in settings.signals)
        print(f"  {len(taken)} answers of {LONG_ENOUGH} to {LONG} tokens, the gate of {options.labels[0]} labels: {asked}")
        print(f"  median: {writing:.2f} s to write, {1000 * reading:.0f} ms to read, {share:.1%} of it")


if __name__ == "__main__":
    main()
