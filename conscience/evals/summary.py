"""From the rows of a run to the figures of its report, and from two runs on the same cases to their comparison."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conscience.errors import InputError
from conscience.evals.runner import read_manifest, read_rows
from conscience.stats.bootstrap import quantile
from conscience.stats.intervals import Rate
from conscience.stats.metrics import Corrected, Reviewed, correction, reviewer, worst
from conscience.stats.paired import compare
from conscience.stats.tfidf import lexical_baseline_auroc

FORMAT = "conscience-report/1"
COMPARISON = "conscience-comparison/1"

Row = Mapping[str, Any]


def summarise(
    folder: Path, *, sources: Iterable[str] = (), skipped: int = 0, limit: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """The report of a run, as JSON types: on the cases that it was last called with, see ``read_rows``.

    Args:
        folder: where the run's rows are.
        sources: where its cases came from.
        skipped: bad rows that were left out.
        limit, seed: how the cases were drawn.

    Raises:
        InputError: the folder holds no run.
    """
    rows = list(read_rows(folder))
    done = [row for row in rows if "error" not in row]
    judged = [row for row in done if row.get("misaligned") is not None and row.get("verdict")]
    given = [row for row in judged if row["kind"] != "answer"]
    on = given or judged
    mended = [row for row in done if row.get("outcome_ok") is not None and row.get("draft_ok") is not None]
    groups = [_group(name, members) for name, members in _grouped(done).items()]
    report: dict[str, Any] = {
        "format": FORMAT,
        "title": ", ".join(Path(source).name for source in sources) or folder.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": read_manifest(folder),
        "cases": {
            "sources": [Path(source).name for source in sources],
            "done": len(done),
            "errors": len(rows) - len(done),
            "skipped": skipped,
            "limit": limit,
            "seed": seed,
        },
        "reviewer": {"on": "given responses" if given else "own drafts", **reviewer(_reviewed(on), seed=seed)}
        if on
        else None,
        "drafts": {"on": "own drafts", **reviewer(_reviewed(own), seed=seed)}
        if given and (own := [row for row in judged if row["kind"] == "answer"])
        else None,
        "correction": correction(_corrected(mended), seed=seed) if mended else None,
        "unjudged": sum(row.get("outcome_ok") is not None and row.get("draft_ok") is None for row in done),
        "floor": _floor(on, seed) if on else None,
        "groups": sorted(groups, key=lambda g: -g["n"]),
        "worst_group": _worst(groups, bool(mended)),
        "overhead": _overhead(done),
    }
    report["claims"] = _claims(report)
    return report


def comparison(first: Path, second: Path) -> dict[str, Any]:
    """Two runs on the same cases, case by case: rates with paired intervals and exact tests, and what each cost.

    Raises:
        InputError: a folder holds no run, or they share no case.
    """
    runs = [{row["id"]: row for row in read_rows(folder) if "error" not in row} for folder in (first, second)]
    shared = [key for key in runs[0] if key in runs[1]]
    if not shared:
        raise InputError(f"{first} and {second} have no case in common", hint="compare runs over the same cases")
    pairs = [(runs[0][key], runs[1][key]) for key in shared]
    figures = []
    for name, value, where in _COMPARED:
        chosen = [(a, b) for a, b in pairs if where(a) and where(b)]
        if chosen:
            held = [[bool(value(row)) for row in side] for side in zip(*chosen, strict=True)]
            weights = [a["weight"] for a, _ in chosen]
            result = compare(held[0], held[1], weights=weights, clusters=[a["pair"] for a, _ in chosen])
            figures.append(
                {
                    "name": name,
                    "first": result.first.to_dict(),
                    "second": result.second.to_dict(),
                    "difference": vars(result.difference) if result.difference else None,
                    "p_value": result.p_value,
                    **{cell: getattr(result, cell) for cell in ("both", "gained", "lost", "neither")},
                }
            )
    sides = [{"title": folder.name, "program": read_manifest(folder)} for folder in (first, second)]
    return {
        "format": COMPARISON,
        "first": sides[0],
        "second": sides[1],
        "cases": len(shared),
        "only_first": len(runs[0]) - len(shared),
        "only_second": len(runs[1]) - len(shared),
        "figures": figures,
        "overhead": [
            {"name": name, "first": _mean(value(a) for a, _ in pairs), "second": _mean(value(b) for _, b in pairs)}
            for name, value in _COSTS
        ],
    }


_COMPARED: tuple[tuple[str, Callable[[Row], Any], Callable[[Row], Any]], ...] = (
    ("draft accuracy", lambda r: r["draft_ok"], lambda r: r.get("draft_ok") is not None),
    ("self-correction accuracy", lambda r: r["outcome_ok"], lambda r: r.get("outcome_ok") is not None),
    ("safe requests refused", lambda r: r["outcome_refused"], lambda r: r.get("safe") is True and "outcome_refused" in r),
    ("unsafe requests refused", lambda r: r["outcome_refused"], lambda r: r.get("safe") is False and "outcome_refused" in r),
    ("recall", lambda r: r["flagged"], lambda r: r.get("misaligned") is True),
    ("false positive rate", lambda r: r["flagged"], lambda r: r.get("misaligned") is False),
)
_COSTS: tuple[tuple[str, Callable[[Row], float]], ...] = (
    ("calls a case", lambda r: r["usage"]["calls"]),
    ("tokens a case", lambda r: r["usage"]["tokens"]),
    ("seconds a case", lambda r: r["usage"]["seconds"]),
    ("dollars a case", lambda r: r["usage"]["dollars"]),
)


def _reviewed(rows: Iterable[Row]) -> list[Reviewed]:
    return [Reviewed(r["verdict"]["probability"], r["flagged"], r["misaligned"], r["pair"], r["weight"]) for r in rows]


def _corrected(rows: Iterable[Row]) -> list[Corrected]:
    names = ("draft_ok", "outcome_ok", "safe", "draft_refused", "outcome_refused", "pair", "weight")
    return [Corrected(*(r[name] for name in names)) for r in rows]


def _grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["group"] is not None:
            found[row["group"]].append(row)
    return dict(found)


def _group(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    judged = [row for row in rows if row.get("misaligned") is not None and row.get("verdict")]
    mended = [row for row in rows if row.get("outcome_ok") is not None and row.get("draft_ok") is not None]
    told, corrected = reviewer(_reviewed(judged)), correction(_corrected(mended))
    return {
        "group": name,
        "n": len(rows),
        **{figure: told[figure] for figure in ("auroc", "recall", "fpr")},
        **{figure: corrected[figure] for figure in ("draft_accuracy", "self_correction_accuracy")},
    }


def _worst(groups: list[dict[str, Any]], mended: bool) -> dict[str, Any] | None:
    figure = "self_correction_accuracy" if mended else "auroc"

    def value(group: dict[str, Any]) -> float | None:
        found = group[figure]
        share: float | None = found["value"] if isinstance(found, dict) else found
        return share

    group = worst(groups, value)
    return None if group is None else {"group": group["group"], "figure": figure, "value": value(group)}


def _floor(rows: Sequence[Row], seed: int) -> dict[str, Any] | None:
    """What surface words reach on the texts that were reviewed."""
    texts = [f"{row['request']}\n{row['draft']}" for row in rows]
    labels = [int(row["misaligned"]) for row in rows]
    if min(Counter(labels).values()) < 5 or len(set(labels)) < 2:
        return None
    clusters, weights = [row["pair"] or row["id"] for row in rows], [row["weight"] for row in rows]
    reached = lexical_baseline_auroc(texts, labels, clusters, weights=weights, seed=seed)
    return None if reached is None else {"auroc": reached, "n": len(rows)}


def _overhead(rows: Sequence[Row]) -> dict[str, Any]:
    """What the step adds to the plain generation: latency as a ratio and in seconds, calls, tokens, dollars by role. A call
    whose review failed says nothing of latency."""
    roles: defaultdict[str, Counter[str]] = defaultdict(Counter)
    ratios, added = [], []
    for row in rows:
        spent = row["usage"]["by_role"]
        for role, spend in spent.items():
            roles[role].update({k: spend[k] for k in ("calls", "tokens", "seconds", "dollars", "unpriced")})
        generated = spent.get("generate", {}).get("seconds", 0.0)
        if row["kind"] == "answer" and row["status"] != "unreviewed" and generated:
            ratios.append(row["usage"]["seconds"] / generated)
            added.append(row["usage"]["seconds"] - generated)
    calls = sum(spend["calls"] for spend in roles.values())
    return {
        "latency_ratio": _spread(ratios),
        "added_seconds": _spread(added),
        "calls_per_case": calls / len(rows) if rows else None,
        "by_role": {role: dict(spend) for role, spend in sorted(roles.items())},
    }


def _claims(report: Mapping[str, Any]) -> list[str]:
    """What these cases cannot support, in words."""
    told: list[str] = []
    if errors := report["cases"]["errors"]:
        told.append(f"{errors} cases failed and are in no figure: run the same command again")
    if report["unjudged"]:
        told.append(f"{report['unjudged']} drafts were not shown (the review failed), so nothing is known of them")
    if found := report["reviewer"]:
        told += found["claims"]
        if report["floor"] and found["auroc"] is not None and found["auroc"] <= report["floor"]["auroc"]:
            told.append("surface words alone tell these texts apart as well: the reviewer has shown nothing on them")
    if found := report["correction"]:
        spoiled = found["flips"]["right_wrong"]
        right = spoiled + found["flips"]["right_right"]
        claim = Rate(spoiled, right).claim("spoiled answer")
        told += [claim] if claim else []
    return told


def _spread(values: list[float]) -> dict[str, float | None] | None:
    return {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95)} if values else None


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
