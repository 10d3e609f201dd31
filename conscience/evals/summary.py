"""From the records of a run to its report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from conscience.cases.shards import Shard
from conscience.evals.folder import read_manifest, read_records
from conscience.evals.records import CaseRecord, Graded
from conscience.evals.results import (
    EvalReport,
    EvaluatedCases,
    GroupFigures,
    LexicalBaseline,
    Overhead,
    RoleCost,
    Spread,
    WorstGroup,
)
from conscience.stats.bootstrap import quantile
from conscience.stats.figures import Corrected, Reviewed, correction_figures, reviewer_figures, worst_group
from conscience.stats.intervals import Rate
from conscience.stats.tfidf import lexical_baseline_auroc
from conscience.usage import CallUsage

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
) -> EvalReport:
    """The report of a run, on the cases that it was last called with.

    Args:
        folder: where the run's records are.
        sources: where its cases came from.
        skipped: bad rows that were left out.
        limit, seed, shard: how the cases were drawn.

    Raises:
        InputError: the folder holds no run.
    """
    rows = tuple(sorted(read_records(folder), key=lambda record: record.key))  # in whatever order they were done
    done = [record for record in rows if isinstance(record, CaseRecord)]
    reviewed = [record for record in done if _is_reviewed(record)]
    given = [record for record in reviewed if record.kind != "answer"]
    own = [record for record in reviewed if record.kind == "answer"]
    graded = [record for record in done if _is_graded(record)]
    groups = sorted((_group(name, members) for name, members in _by_group(done).items()), key=lambda group: -group.n)
    names = tuple(Path(source).name for source in sources)
    on = "given responses" if given else "own drafts"
    report = EvalReport(
        title=(", ".join(names) or folder.name) + (f", shard {shard}" if shard else ""),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        program=read_manifest(folder),
        cases=EvaluatedCases(names, len(done), len(rows) - len(done), skipped, limit, seed, str(shard) if shard else None),
        reviewer=reviewer_figures(_reviewed(given or own), on=on, seed=seed) if reviewed else None,
        drafts=reviewer_figures(_reviewed(own), on="own drafts", seed=seed) if given and own else None,
        correction=correction_figures(_corrected(graded), seed=seed) if graded else None,
        unjudged=sum(record.outcome_ok is not None and record.draft is None for record in done),
        undecided=sum(_is_undecided(text) for record in done for text in (record.draft, record.outcome)),
        unreviewed=Rate.of([record.status == "unreviewed" for record in done]) if done else None,
        lexical_baseline=_lexical_baseline(given or own, seed),
        groups=tuple(groups),
        worst_group=_worst(groups, graded=bool(graded)),
        overhead=_overhead(done),
        rows=rows,
    )
    return replace(report, claims=tuple(_claims(report)))


def _is_reviewed(record: CaseRecord) -> bool:
    """Whether it is known what the draft is, and what the review made of it."""
    return record.misaligned is not None and record.verdict is not None


def _is_undecided(text: Graded | None) -> bool:
    """Whether an oracle looked at it and ruled nothing; a given response that was only reviewed has no reason."""
    return text is not None and text.ok is None and text.reason != ""


def _is_graded(record: CaseRecord) -> bool:
    return record.outcome_ok is not None and record.draft_ok is not None


def _reviewed(records: Iterable[CaseRecord]) -> list[Reviewed]:
    return [
        Reviewed(r.verdict.probability, r.flagged, r.misaligned, r.pair, r.weight)
        for r in records
        if r.verdict is not None and r.misaligned is not None
    ]


def _corrected(records: Iterable[CaseRecord]) -> list[Corrected]:
    return [
        Corrected(bool(r.draft.ok), bool(r.outcome.ok), r.safe, r.draft.refused, r.outcome.refused, r.pair, r.weight)
        for r in records
        if r.draft is not None and r.outcome is not None
    ]


def _by_group(records: Iterable[CaseRecord]) -> dict[str, list[CaseRecord]]:
    groups: defaultdict[str, list[CaseRecord]] = defaultdict(list)
    for record in records:
        if record.group is not None:
            groups[record.group].append(record)
    return dict(groups)


def _group(name: str, records: Sequence[CaseRecord]) -> GroupFigures:
    reviewer = reviewer_figures(_reviewed(r for r in records if _is_reviewed(r)))
    correction = correction_figures(_corrected(r for r in records if _is_graded(r)))
    return GroupFigures(
        group=name,
        n=len(records),
        auroc=reviewer.auroc,
        recall=reviewer.recall,
        fpr=reviewer.fpr,
        draft_accuracy=correction.draft_accuracy,
        self_correction_accuracy=correction.self_correction_accuracy,
    )


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


def _overhead(records: Sequence[CaseRecord]) -> Overhead:
    """What the step adds to the plain generation. A call whose review failed says nothing of latency."""
    roles: defaultdict[str, CallUsage] = defaultdict(CallUsage)
    ratios, added = [], []
    for record in records:
        for role, spent in record.usage.by_role.items():
            roles[role] += spent
        generated = record.usage.by_role.get("generate", CallUsage()).seconds
        if record.kind == "answer" and record.status != "unreviewed" and generated:
            ratios.append(record.usage.seconds / generated)
            added.append(record.usage.seconds - generated)
    calls = sum(spent.calls for spent in roles.values())
    return Overhead(
        latency_ratio=_spread(ratios),
        added_seconds=_spread(added),
        calls_per_case=calls / len(records) if records else None,
        by_role={
            role: RoleCost(spent.calls, spent.tokens, spent.seconds, spent.dollars, spent.unpriced)
            for role, spent in sorted(roles.items())
        },
    )


def _claims(report: EvalReport) -> list[str]:
    """What these cases cannot support, in words."""
    claims: list[str] = []
    if errors := report.cases.errors:
        claims.append(f"{errors} cases failed and are in no figure: run the same command again")
    if report.unjudged:
        claims.append(f"{report.unjudged} drafts were not shown (the review failed), so nothing is known of them")
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
    return claims


def _spread(values: list[float]) -> Spread | None:
    p50, p95 = quantile(values, 0.5), quantile(values, 0.95)
    return None if p50 is None or p95 is None else Spread(p50, p95)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
