"""Before and after, on cases that a compilation never used: two runs, their comparison, and the program's figures."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conscience.backends.journal import Journal
from conscience.cases.case import Case
from conscience.evals import report
from conscience.evals.oracles import Oracle
from conscience.evals.runner import EvalConfig, read_rows, run
from conscience.evals.summary import comparison, summarise
from conscience.messages.rendering import request_text
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.runtime import Runtime, calls_of_ruling, most_calls
from conscience.program import Conscience
from conscience.stats.metrics import auroc
from conscience.stats.tfidf import fit

LEAST = 10
"""Cases below which nothing is reported."""

Tell = Callable[[str, int, int], None]
"""Is told the name of a run, the cases done and those to do."""


@dataclass
class HoldoutReport:
    """What a report came to.

    Attributes:
        figures: for the program's provenance; empty without a report.
        notes: why there is none.
        stopped: whether Ctrl-C ended it.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stopped: bool = False


def report_holdout(
    before: Conscience,
    after: Conscience,
    cases: Sequence[Case],
    folder: Path,
    runtime: Runtime,
    *,
    learned: Sequence[LabeledDraft] = (),
    oracle: Oracle | None = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> HoldoutReport:
    """Runs both programs on the cases and writes ``before/``, ``after/`` and ``report.html`` into the folder.

    Args:
        before, after: on models of their own; the runtime's budget is theirs too.
        cases: that neither has seen; as many as the budget reaches are used.
        folder: where the runs go; an interrupted one goes on there.
        bench: of the compilation.
        learned: the drafts that were learned from: surface words learn from the same ones, for the floor.
        oracle: decides in place of each case's own.
        seed: of the bootstrap.
        tell: is told the progress.
    """
    runs = folder / f"unseen-{_digest(before, after, seed)}"
    if (left := runtime.calls_left) is not None:
        each = sum(
            calls.generate + calls.correct + 2 * calls_of_ruling(oracle) for calls in map(most_calls, (before, after))
        )
        cases = cases[: left // each]
    if len(cases) < LEAST or runtime.exhausted:
        why = "the budget left too little" if runtime.exhausted or left is not None else f"{len(cases)} are too few"
        return HoldoutReport(notes=[f"no report on unseen cases: {why}"])
    summaries: dict[str, Any] = {}
    journal = Journal(runs / "calls.jsonl")  # of both: they are compared on the same drafts
    for name, program in (("before", before), ("after", after)):

        def watch(progress: Any, name: str = name) -> None:
            if tell is not None:
                tell(name, progress.done, len(cases))

        config = EvalConfig(
            oracle=oracle, concurrency=runtime.threads, meter=runtime.meter, journal=journal, name=name, seed=seed
        )
        progress = asyncio.run(run(_lean(program, cases), cases, runs / name, config, watch=watch))
        if progress.stopped:
            return HoldoutReport(notes=["the report was interrupted"], stopped=True)
        if runtime.spent and any(row.get("status") == "unreviewed" for row in read_rows(runs / name)):
            return HoldoutReport(notes=["no report on unseen cases: the budget ended in it"])
        summaries[name] = summarise(runs / name, sources=[f"{name}, unseen cases"], seed=seed)
        text = json.dumps(summaries[name], indent=1, ensure_ascii=False)
        (runs / name / "report.json").write_text(text, encoding="utf-8")
        report.write(runs / name)
    compared = comparison(runs / "before", runs / "after")
    (folder / "report.html").write_text(report.render_comparison(compared), encoding="utf-8")
    figures = {name: _figures(summary) for name, summary in summaries.items()}
    return HoldoutReport({"cases": len(cases), **figures, "surface_words": _rounded(_floor(learned, runs / "after"))})


def _digest(before: Conscience, after: Conscience, seed: int) -> str:
    """Tells one pair of programs from another: a command repeated with other options has other figures."""
    told = json.dumps([before.dump_state(), after.dump_state(), after.max_revisions, seed], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _floor(learned: Sequence[LabeledDraft], folder: Path) -> float | None:
    """The AUROC of surface words with the same labels, on the same unseen drafts; None where it can't be."""
    rows = [row for row in read_rows(folder) if row.get("misaligned") is not None]
    labels = [int(draft.misaligned) for draft in learned]
    if len(set(labels)) < 2:
        return None
    words = fit([f"{request_text(d.draft.request)}\n{d.draft.response}" for d in learned], labels)
    scores = [(words.score(f"{row['request']}\n{row['draft']}"), row["misaligned"]) for row in rows]
    return auroc([score for score, bad in scores if bad], [score for score, bad in scores if not bad])


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if reviewer := summary["reviewer"]:
        found |= {"auroc": reviewer["auroc"], "auroc_interval": reviewer["auroc_interval"]}
        found |= {name: reviewer[name]["value"] for name in ("recall", "fpr")}
    if correction := summary["correction"]:
        reached = correction["self_correction_accuracy"]
        found |= {"draft_accuracy": correction["draft_accuracy"]["value"], "accuracy": reached["value"]}
        found["accuracy_interval"] = [reached["low"], reached["high"]]
        for kind, refused in correction["refusals"].items():
            found[f"{kind}_refused"] = refused["after"]["value"]
    if ratio := summary["overhead"]["latency_ratio"]:
        found["time_against_plain"] = ratio["p50"]
    return {name: _rounded(entry) for name, entry in found.items()}


def _lean(program: Conscience, cases: Sequence[Case]) -> Conscience:
    """Without a critique that would only explain, where nothing is revised: it changes no figure of these."""
    settings = program.gate_settings
    if settings.critique != "explains" or any(case.response is None or case.references for case in cases):
        return program
    return program.with_gate(settings.model_copy(update={"critique": "off"}))


def _rounded(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_rounded(one) for one in entry]
    return round(entry, 4) if isinstance(entry, float) else entry
