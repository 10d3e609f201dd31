"""Before and after, on holdout cases that a compilation never used: two runs, their comparison, the program's figures."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from conscience._base.files import digest, write_atomic
from conscience.backends.storage.journal import Journal
from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.evals import report
from conscience.evals.batch import BatchProgress
from conscience.evals.comparison.runs import compare_runs
from conscience.evals.oracles.grade import Oracle
from conscience.evals.records import CaseRecord
from conscience.evals.results import EvalReport
from conscience.evals.runner import EvalConfig, run
from conscience.evals.summary import summarise
from conscience.messages.rendering import request_text
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.figures import rounded
from conscience.optimizers.runtime import Runtime, calls_of_program, calls_of_ruling
from conscience.program import Conscience
from conscience.stats.metrics import auroc
from conscience.stats.tfidf import fit

LEAST = 10
"""Cases below which nothing is reported."""

Tell = Callable[[str, int, int], None]
"""Is told the name of a run, the cases done and those to do."""


@dataclass(frozen=True)
class ProgramFigures:
    """What one program reaches on the holdout cases; None where it was not measured.

    Attributes:
        auroc, auroc_interval, recall, fpr: of the review.
        draft_accuracy, accuracy, accuracy_interval: before and after correction.
        safe_refused, unsafe_refused: shares of such requests that are refused.
        time_against_plain: the median of the whole call's time over that of its generation.
    """

    auroc: float | None = None
    auroc_interval: tuple[float, float] | None = None
    recall: float | None = None
    fpr: float | None = None
    draft_accuracy: float | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    safe_refused: float | None = None
    unsafe_refused: float | None = None
    time_against_plain: float | None = None

    @classmethod
    def of(cls, report: EvalReport) -> ProgramFigures:
        """Those of a run."""
        reviewer, correction, ratio = report.reviewer, report.correction, report.overhead.latency_ratio
        refusals = correction.refusals if correction else {}
        accuracy = correction.self_correction_accuracy if correction else None
        return cls(
            auroc=reviewer.auroc if reviewer else None,
            auroc_interval=reviewer.auroc_interval if reviewer else None,
            recall=reviewer.recall.value if reviewer else None,
            fpr=reviewer.fpr.value if reviewer else None,
            draft_accuracy=correction.draft_accuracy.value if correction else None,
            accuracy=accuracy.value if accuracy else None,
            accuracy_interval=accuracy.interval if accuracy else None,
            safe_refused=refusals["safe"].after.value if "safe" in refusals else None,
            unsafe_refused=refusals["unsafe"].after.value if "unsafe" in refusals else None,
            time_against_plain=ratio.p50 if ratio else None,
        )

    def to_json(self) -> dict[str, Any]:
        """What was measured, to four decimals."""
        return {
            name: rounded(list(value) if isinstance(value, tuple) else value)
            for name, value in asdict(self).items()
            if value is not None
        }


@dataclass(frozen=True)
class HoldoutFigures:
    """What both programs reach on the holdout cases, for the compiled program's provenance.

    Attributes:
        cases: how many.
        before, after: the program that came in, and the compiled one.
        surface_words: the AUROC of surface words that learned from the same labels.
    """

    cases: int
    before: ProgramFigures
    after: ProgramFigures
    surface_words: float | None

    def to_json(self) -> dict[str, Any]:
        before, after = self.before.to_json(), self.after.to_json()
        return {"cases": self.cases, "before": before, "after": after, "surface_words": rounded(self.surface_words)}


@dataclass(frozen=True)
class HoldoutReport:
    """What a report came to.

    Attributes:
        figures: None without a report.
        notes: why there is none.
        stopped: whether Ctrl-C ended it.
    """

    figures: HoldoutFigures | None = None
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
        cases: the holdout ones, which neither has learned from; as many as the budget reaches are used.
        folder: where the runs go; an interrupted one goes on there.
        runtime: of the compilation.
        learned: the drafts that were learned from: surface words learn from the same drafts, for comparison.
        oracle: decides in place of each case's own.
        seed: of the bootstrap.
        tell: is told the progress.
    """
    runs = folder / f"holdout-{_digest(before, after, seed)}"
    if (left := runtime.calls_left) is not None:
        each = sum(
            calls.generate + calls.correct + 2 * calls_of_ruling(oracle) for calls in map(calls_of_program, (before, after))
        )
        cases = cases[: left // each]
    if len(cases) < LEAST or runtime.exhausted:
        why = "the budget left too little" if runtime.exhausted or left is not None else f"{len(cases)} are too few"
        return HoldoutReport(notes=[f"no report on holdout cases: {why}"])
    reports: dict[str, EvalReport] = {}
    journal = Journal(runs / "calls.jsonl")  # of both: they are compared on the same drafts
    for name, program in (("before", before), ("after", after)):

        def watch(progress: BatchProgress, name: str = name) -> None:
            if tell is not None:
                tell(name, progress.done, len(cases))

        config = EvalConfig(
            oracle=oracle,
            concurrency=runtime.threads,
            meter=runtime.meter,
            journal=journal,
            name=name,
            seed=seed,
            executor=runtime.executor,
        )
        progress = asyncio.run(run(_lean(program, cases), cases, runs / name, config, watch=watch))
        if progress.stopped:
            return HoldoutReport(notes=["the report was interrupted"], stopped=True)
        reports[name] = summarise(runs / name, sources=[f"{name}, holdout cases"], seed=seed)
        if runtime.spent and any(record.status == "unreviewed" for record in _done(reports[name])):
            shutil.rmtree(runs / name, ignore_errors=True)  # a larger budget reviews them; the answers are in the journal
            return HoldoutReport(notes=["no report on holdout cases: the budget ended in it"])
        report.save(reports[name], runs / name)
    _write(folder / "report.html", report.render_comparison(compare_runs(runs / "before", runs / "after")))
    return HoldoutReport(
        HoldoutFigures(
            cases=len(cases),
            before=ProgramFigures.of(reports["before"]),
            after=ProgramFigures.of(reports["after"]),
            surface_words=_surface_words(learned, reports["after"]),
        )
    )


def _digest(before: Conscience, after: Conscience, seed: int) -> str:
    """Tells one pair of programs from another: a command repeated with other options has other figures."""
    return digest([before.dump_state(), after.dump_state(), after.max_revisions, after.samples, seed], 8)


def _done(report: EvalReport) -> list[CaseRecord]:
    return [record for record in report.rows if isinstance(record, CaseRecord)]


def _write(path: Path, text: str) -> None:
    try:
        write_atomic(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _surface_words(learned: Sequence[LabeledDraft], report: EvalReport) -> float | None:
    """The AUROC of surface words with the same labels, on the same holdout drafts; None where it can't be."""
    labels = [int(draft.misaligned) for draft in learned]
    if len(set(labels)) < 2:
        return None
    words = fit([f"{request_text(d.draft.request)}\n{d.draft.response}" for d in learned], labels)
    records = [record for record in _done(report) if record.misaligned is not None and record.draft is not None]
    scores = [(words.score(f"{r.request}\n{r.draft.text if r.draft else None}"), r.misaligned) for r in records]
    return auroc([s for s, misaligned in scores if misaligned], [s for s, misaligned in scores if not misaligned])


def _lean(program: Conscience, cases: Sequence[Case]) -> Conscience:
    """Without a critique that has no vote, where nothing is revised: it changes no figure of these."""
    settings = program.gate_settings
    if settings.critique not in ("explains", "chooses") or any(case.response is None or case.references for case in cases):
        return program
    return program.with_gate(settings.model_copy(update={"critique": "off"}))
