"""From the records of a run to its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from conscience.cases.shards import Shard
from conscience.evals.folder import cases_of, read_manifest
from conscience.evals.records import CaseRecord
from conscience.evals.report.tally import MOST_GROUPS, tallied
from conscience.evals.results import EvalReport, EvaluatedCases, GroupFigures, LexicalBaseline, Streamed, WorstGroup
from conscience.stats.figures import correction_figures, reviewer_figures, worst_group
from conscience.stats.intervals import Rate
from conscience.stats.tfidf import lexical_baseline_auroc

LEAST_FOR_WORDS = 5
"""Texts of either kind below which surface words are not fitted."""


def summarise(
    folder: Path,
    *,
    sources: Iterable[str] = (),
    skipped: int = 0,
    limit: int | None = None,
    seed: int = 0,
    shard: Shard | None = None,
    left: int | None = None,
) -> EvalReport:
    """The report of a run, on the cases that it was last called with.

    It is the same in whatever order these came to an end. Of more than ``tally.EXACT`` rows it takes one pass, and no more
    memory for more of them; ``EvalReport.streamed`` says then what is not exact, and ``rows`` are the worst and a sample.

    Args:
        folder: where the run's records are.
        sources: where its cases came from.
        skipped: bad rows that were left out.
        limit, seed, shard: how the cases were drawn.
        left: how many cases were not done, where the folder does not say it.

    Raises:
        InputError: the folder holds no run.
    """
    tally = tallied(folder, seed)
    if left is None:
        left = max(0, cases_of(folder) - tally.done - tally.failed)
    texts, own = (tally.given, tally.own) if tally.given.n else (tally.own, None)
    groups = tally.group_figures()
    names = tuple(Path(source).name for source in sources)
    on = "given responses" if tally.given.n else "own drafts"
    report = EvalReport(
        title=(", ".join(names) or folder.name) + (f", shard {shard}" if shard else ""),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        program=read_manifest(folder),
        cases=EvaluatedCases(names, tally.done, tally.failed, skipped, limit, seed, str(shard) if shard else None, left),
        reviewer=reviewer_figures(texts.cases, on=on, seed=seed) if texts.n else None,
        drafts=reviewer_figures(own.cases, on="own drafts", seed=seed) if own and own.n else None,
        correction=correction_figures(tally.corrected, seed=seed) if tally.graded else None,
        unjudged=tally.unjudged,
        undecided=tally.undecided,
        unreviewed=Rate(tally.unreviewed, tally.done) if tally.done else None,
        lexical_baseline=_lexical_baseline([*texts.words()], seed),
        groups=groups,
        worst_group=_worst(groups, graded=bool(tally.graded)),
        overhead=tally.overhead.summed(tally.done),
        rows=tuple(tally.rows),
        streamed=tally.streamed(texts, own),
    )
    return replace(report, claims=tuple(_claims(report)))


def _worst(groups: Sequence[GroupFigures], *, graded: bool) -> WorstGroup | None:
    def value(group: GroupFigures) -> float | None:
        return group.self_correction_accuracy.value if graded else group.auroc

    worst = worst_group(groups, value)
    figure = "self_correction_accuracy" if graded else "auroc"
    return None if worst is None else WorstGroup(worst.group, figure, value(worst))


def _lexical_baseline(records: Sequence[CaseRecord], seed: int) -> LexicalBaseline | None:
    """What surface words reach on the texts that were reviewed."""
    labels = [int(bool(record.misaligned)) for record in records]
    if len(set(labels)) < 2 or min(Counter(labels).values()) < LEAST_FOR_WORDS:
        return None
    texts = [f"{record.request}\n{record.draft.text if record.draft else None}" for record in records]
    clusters, weights = [record.pair or record.id for record in records], [record.weight for record in records]
    reached = lexical_baseline_auroc(texts, labels, clusters, weights=weights, seed=seed)
    return None if reached is None else LexicalBaseline(reached, len(records))


def _claims(report: EvalReport) -> list[str]:
    """What these cases cannot support, in words; first that there are others."""
    claims: list[str] = []
    if left := report.cases.left:
        claims.append(f"{left} cases were not done when the run ended, and are in no figure: run the same command again")
    if errors := report.cases.errors:
        claims.append(f"{errors} cases failed and are in no figure: run the same command again")
    if report.unjudged:
        claims.append(f"{report.unjudged} drafts were not shown (the review failed): only what was returned counts")
    if report.undecided:
        claims.append(f"{report.undecided} texts are in no figure: the oracle could not tell (a judge's rounds disagree)")
    if reviewer := report.reviewer:
        claims += reviewer.claims
        words = report.lexical_baseline
        if words and reviewer.auroc is not None and reviewer.auroc <= words.auroc:
            claims.append("surface words alone tell these texts apart as well: the reviewer has shown nothing on them")
    if correction := report.correction:
        spoiled = correction.flips.right_wrong
        if claim := Rate(spoiled, spoiled + correction.flips.right_right).claim("spoiled answer"):
            claims.append(claim)
    if report.streamed:
        claims += _streamed_claims(report, report.streamed)
    return claims


def _streamed_claims(report: EvalReport, streamed: Streamed) -> list[str]:
    """What of a long run is not exact, or not shown, in words."""
    rows = report.cases.done + report.cases.errors
    claims = [f"the page shows {streamed.shown} of {rows} rows, the worst and a sample; all are in the run's folder"]
    for error, whose in ((streamed.auroc_error, "AUROC"), (streamed.drafts_auroc_error, "AUROC of the drafts")):
        if error:
            claims.append(f"{whose} is within {error:.2g} of what it would be without rounding")
    if words := report.lexical_baseline:
        claims.append(f"surface words were fitted on a sample of {words.n} texts")
    if streamed.ungrouped:
        claims.append(f"{streamed.ungrouped} cases of further groups have no figures by group: {MOST_GROUPS} groups have")
    return claims
