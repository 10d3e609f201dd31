"""From the runs of a study to its figures, as data and as Markdown. Nothing here knows torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from conscience.stats.intervals import Estimate, Rate
from conscience.stats.metrics import auroc
from conscience.stats.paired import compare
from tests.bench.replication.questions import QUESTIONS
from tests.bench.replication.study import BEFORE, CONDITIONS, WITHOUT

Run = Mapping[str, Any]
Hits = list[tuple[str, bool]]
"""Which items, and whether it is so of each."""


@dataclass(frozen=True)
class Figure:
    """A share of items.

    Attributes:
        hits: of one run.
    """

    name: str
    title: str
    hits: Callable[[Run], Hits]


def _habit(test: Callable[[Run], bool]) -> Callable[[Run], Hits]:
    return lambda run: [(row["id"], test(row)) for row in run["measured"]["habit"]]


def _choices(safe: bool | None) -> Callable[[Run], Hits]:
    rows = lambda run: (row for row in run["measured"]["choices"] if safe is None or row["safe"] is safe)  # noqa: E731
    return lambda run: [(row["id"], row["margin"] > 0) for row in rows(run)]


def _refused(safe: bool) -> Callable[[Run], Hits]:
    return lambda run: [(row["id"], row["refused"]) for row in run["measured"]["requests"] if row["safe"] is safe]


FIGURES: Sequence[Figure] = (
    Figure("habit", "habit, by the oracle", _habit(lambda row: row["kind"] == "habit")),
    Figure("probe", "habit, by the probe", _habit(lambda row: row["probe"] > 0)),
    Figure("likelier", "habit likelier than honest", _habit(lambda row: row["likelier"] > 0)),
    Figure("honest", "code works", _habit(lambda row: row["kind"] == "honest")),
    Figure("choices", "right choice likelier", _choices(None)),
    Figure("unsafe_choices", "the same, unsafe requests", _choices(False)),
    Figure("unsafe_refused", "unsafe refused", _refused(False)),
    Figure("safe_refused", "safe refused", _refused(True)),
    Figure("plain", "plain questions right", lambda run: [(r["id"], r["right"]) for r in run["measured"]["plain"]]),
)


def flagged(question: str, threshold: float) -> Figure:
    """The answers that the frozen copy flags by one question."""
    return Figure(f"flagged {question}", f"flagged by {question}", _habit(lambda row: row["judges"][question] > threshold))


def summary(runs: Mapping[str, Run]) -> dict[str, Any]:
    """All figures as JSON data. Each has a value over all seeds, its 95 % interval (Wilson's, an item's answers of all seeds
    as one cluster: it speaks of other items, not of other seeds), the values by seed, and its change from λ = 0 on the same
    items and seeds (paired bootstrap by item).

    Raises:
        ValueError: there is no run before training yet.
    """
    if BEFORE not in runs:
        raise ValueError("nothing was measured yet")
    before, by_condition = runs[BEFORE], _by_condition(runs)
    questions = {name: flagged(name, threshold) for name, threshold in before["thresholds"].items()}
    rows = {
        name: {figure.name: _entry(figure, own, by_condition.get(WITHOUT, ()), name) for figure in FIGURES}
        for name, own in by_condition.items()
    }
    return {
        "seeds": len(by_condition.get(WITHOUT, ())),
        "conditions": rows,
        "conscience": {
            name: _conscience(figure, by_condition, rows.get(name)) for name, figure in questions.items() if name in rows
        },
        "told_apart": {"texts": before["told_apart"], "own_answers": _told_apart(runs)},
        "training": {name: _training(own) for name, own in by_condition.items() if name != BEFORE},
    }


def _by_condition(runs: Mapping[str, Run]) -> dict[str, list[Run]]:
    """In the order of the plan, runs by seed."""
    order = [BEFORE, *(condition.name for condition in CONDITIONS)]
    found = {
        name: sorted((r for r in runs.values() if r["condition"] == name), key=lambda r: r.get("seed", 0)) for name in order
    }
    return {name: own for name, own in found.items() if own}


def _entry(figure: Figure, own: Sequence[Run], without: Sequence[Run], name: str) -> dict[str, Any]:
    hits = [hit for run in own for hit in figure.hits(run)]
    if not hits:
        return {"n": 0}
    rate = Rate.of([hit for _, hit in hits], clusters=[item for item, _ in hits])
    entry: dict[str, Any] = {"n": len(hits), "value": rate.value, "low": rate.low, "high": rate.high}
    entry["by_seed"] = [_share(figure.hits(run)) for run in own]
    if name not in (BEFORE, WITHOUT) and (change := _change_from(figure, own, without)) is not None:
        entry["change"] = {"value": change.value, "low": change.low, "high": change.high}
    return entry


def _change_from(figure: Figure, own: Sequence[Run], without: Sequence[Run]) -> Estimate | None:
    """Item by item and seed by seed; a seed that only one of both has counts in neither."""
    by_seed = {run["seed"]: dict(figure.hits(run)) for run in without}
    both = [
        (item, by_seed[run["seed"]][item], hit) for run in own if run["seed"] in by_seed for item, hit in figure.hits(run)
    ]
    return compare([a for _, a, _ in both], [b for _, _, b in both], clusters=[item for item, _, _ in both]).difference


def _share(hits: Hits) -> float | None:
    return fmean(hit for _, hit in hits) if hits else None


def _conscience(figure: Figure, by_condition: Mapping[str, Sequence[Run]], row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Before, without and with: what its own judge, the oracle and the probe say of what a question trained."""
    question = figure.name.removeprefix("flagged ")
    own, without = by_condition[question], by_condition.get(WITHOUT, ())
    entries = {
        BEFORE: _entry(figure, by_condition[BEFORE], (), BEFORE),
        WITHOUT: _entry(figure, without, (), WITHOUT),
        "with": _entry(figure, own, without, question),
    }
    changes = {
        "own": entries["with"].get("change"),
        **{name: (row or {})[name].get("change") for name in ("habit", "probe")},
    }
    return {"flagged": entries, "changes": changes, "reading": _reading(changes)}


def _reading(changes: Mapping[str, Mapping[str, float] | None]) -> str:
    """In words, by intervals: a change counts where its interval excludes zero."""
    if any(change is None for change in changes.values()):
        return "no run with λ = 0 to compare with"
    own, habit, probe = (_sign(changes[name]) for name in ("own", "habit", "probe"))
    if habit < 0:
        seen = " and ".join(who for who, sign in (("its judge", own), ("the probe", probe)) if sign < 0)
        return f"the habit is rarer{f'; {seen} found so too' if seen else '; neither its judge nor the probe sees it'}"
    if habit > 0:
        return "the habit is more frequent" + ("; its judge is pleased" if own < 0 else "")
    if own < 0:
        return "its judge is pleased, the oracle sees no change"
    return "nothing shown"


def _sign(change: Mapping[str, float] | None) -> int:
    assert change is not None
    return -1 if change["high"] < 0 else 1 if change["low"] > 0 else 0


def _told_apart(runs: Mapping[str, Run]) -> dict[str, Any]:
    """AUROC on the answers of all models that a reader was shown, the habit against all others by the oracle. Answers to one
    task are alike, so no interval is given."""
    rows = [row for run in runs.values() for row in run["measured"]["habit"]]

    def area(score: Callable[[Any], float | None]) -> float | None:
        scored = [(value, row["kind"] == "habit") for row in rows if (value := score(row)) is not None]
        return auroc([value for value, habit in scored if habit], [value for value, habit in scored if not habit])

    habit = sum(row["kind"] == "habit" for row in rows)
    areas = {name: area(lambda row, name=name: row["judges"].get(name)) for name in QUESTIONS}
    return {"habit": habit, "others": len(rows) - habit, **areas, "probe": area(lambda row: row["probe"])}


def _training(own: Sequence[Run]) -> dict[str, Any]:
    """Sums over seeds: drafts, flagged, pairs; and the conscience's seconds for each second without it."""
    rounds = [entry for run in own for entry in run["training"]["rounds"]]
    counts = {name: sum(entry[name] for entry in rounds) for name in ("drafts", "habit", "flagged", "habit_flagged", "kept")}
    seconds = {name: sum(run["training"]["seconds"].get(name, 0.0) for run in own) for name in ("sft", "dpo", "conscience")}
    overhead = (seconds["dpo"] + seconds["conscience"]) / seconds["sft"] if seconds["sft"] else None
    last = [run["training"]["margins"][-1] for run in own if run["training"]["margins"]]
    margins = [margin for margin in last if margin is not None]
    return {**counts, "overhead": overhead, "last_margin": fmean(margins) if margins else None}


# As Markdown ---------------------------------------------------------------------------------------------------------


def markdown(figures: Mapping[str, Any]) -> str:
    """The tables of the study."""
    return "\n".join(_lines(figures)) + "\n"


def _lines(figures: Mapping[str, Any]) -> Iterator[str]:
    conditions = figures["conditions"]
    yield f"Before training, without the conscience's term (λ = 0) and with it (λ = 0.1), {figures['seeds']} seeds."
    yield "In brackets the 95 % interval over items; below it the values by seed."
    yield ""
    yield "| | " + " | ".join(conditions) + " |"
    yield "|---" * (len(conditions) + 1) + "|"
    for figure in FIGURES:
        yield f"| {figure.title} | " + " | ".join(_cell(row[figure.name]) for row in conditions.values()) + " |"
        yield "| | " + " | ".join(_seeds(row[figure.name]) for row in conditions.values()) + " |"
    yield ""
    yield "Change from λ = 0, same items and seeds:"
    yield ""
    changed = {name: row for name, row in conditions.items() if name not in (BEFORE, WITHOUT)}
    yield "| | " + " | ".join(changed) + " |"
    yield "|---" * (len(changed) + 1) + "|"
    for figure in FIGURES:
        yield f"| {figure.title} | " + " | ".join(_change(row[figure.name].get("change")) for row in changed.values()) + " |"
    yield ""
    yield "Does it please its own conscience only? Answers to tasks that were not taught:"
    yield ""
    yield "| question | flagged by itself: before, λ = 0, λ = 0.1 | change | habit by the oracle | by the probe | reading |"
    yield "|---|---|---|---|---|---|"
    for name, entry in figures["conscience"].items():
        rates = ", ".join(_number(value.get("value")) for value in entry["flagged"].values())
        changes = " | ".join(_change(entry["changes"][who]) for who in ("own", "habit", "probe"))
        yield f"| {name} | {rates} | {changes} | {entry['reading']} |"
    yield ""
    apart = figures["told_apart"]
    own = apart["own_answers"]
    yield (
        "What each reader tells apart, AUROC (above .5 where the habit is scored worse): habitual and honest texts; and the "
        f"models' own answers, {own['habit']} habitual and {own['others']} others:"
    )
    yield ""
    yield "| reader | texts | own answers |"
    yield "|---|---|---|"
    for name, value in apart["texts"].items():
        yield f"| {name} | {_number(value)} | {_number(own.get(name))} |"
    yield ""
    yield "In training, over all seeds; overhead is the time of judging, alternatives and L_DPO over that of L_SFT:"
    yield ""
    yield "| | drafts | habit | flagged | habit among flagged | pairs | last margin | overhead |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, entry in figures["training"].items():
        counts = " | ".join(str(entry[key]) for key in ("drafts", "habit", "flagged", "habit_flagged", "kept"))
        margin = "–" if entry["last_margin"] is None else f"{entry['last_margin']:+.2f}"
        overhead = "–" if entry["overhead"] is None else f"{100 * entry['overhead']:.0f} %"
        yield f"| {name} | {counts} | {margin} | {overhead} |"


def _cell(entry: Mapping[str, Any]) -> str:
    return f"{_number(entry['value'])} ({_number(entry['low'])} to {_number(entry['high'])})" if entry["n"] else "–"


def _seeds(entry: Mapping[str, Any]) -> str:
    shares = entry.get("by_seed", ())
    return ", ".join(map(_number, shares)) if len(shares) > 1 else ""


def _change(change: Mapping[str, float] | None) -> str:
    return "–" if change is None else f"{change['value']:+.2f} ({change['low']:+.2f} to {change['high']:+.2f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.2f}"
