"""A verdict log in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from conscience.observability.record import VerdictRecord
from conscience.stats.intervals import Rate

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class LogStats:
    """What a log holds.

    Attributes:
        records: how many.
        first, last: when the earliest and the latest of them began; empty without any.
        statuses, modes, backends, programs, tenants: name → records.
        principles: id → records whose findings name it.
        flagged: the share of the reviewed drafts that is flagged, by gate and critique together.
        gated: the share that the gate flagged.
        scores: quantile → probability that the gate gave, of the drafts that have one.
        seconds: quantile → seconds of a call.
        calls, tokens, dollars: in all.
        lost: records that a full disk or queue lost.
    """

    records: int
    first: str
    last: str
    statuses: dict[str, int]
    modes: dict[str, int]
    backends: dict[str, int]
    programs: dict[str, int]
    tenants: dict[str, int]
    principles: dict[str, int]
    flagged: Rate
    gated: Rate
    scores: dict[float, float]
    seconds: dict[float, float]
    calls: int
    tokens: int
    dollars: float
    lost: int

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        data: dict[str, Any] = dict(self.__dict__)
        data |= {name: data[name].to_dict() for name in ("flagged", "gated")}
        return data | {name: {str(q): v for q, v in data[name].items()} for name in ("scores", "seconds")}


def log_stats(records: Iterable[VerdictRecord]) -> LogStats:
    """The figures of a log. Rates have Wilson's 95 % interval, as if calls were independent."""
    counts = {name: Counter[str]() for name in ("status", "mode", "backend", "program", "tenant")}
    principles: Counter[str] = Counter()
    times: list[str] = []
    scores, seconds = [], []
    total = reviewed = flagged = gated = calls = tokens = lost = 0
    dollars = 0.0
    for record in records:
        total += 1
        for name, counter in counts.items():
            counter[getattr(record, name)] += 1
        principles.update(record.principles)
        times = [min(times[0], record.at), max(times[1], record.at)] if times else [record.at, record.at]
        if record.reviewed:
            reviewed, flagged, gated = reviewed + 1, flagged + record.flagged, gated + record.gated
        if record.probability is not None:
            scores.append(record.probability)
        seconds.append(record.seconds)
        calls, tokens, dollars, lost = (
            calls + record.calls,
            tokens + record.tokens,
            dollars + record.dollars,
            lost + record.lost,
        )
    statuses, modes, backends, programs, tenants = (dict(counter.most_common()) for counter in counts.values())
    return LogStats(
        records=total,
        first=times[0] if times else "",
        last=times[1] if times else "",
        statuses=statuses,
        modes=modes,
        backends=backends,
        programs=programs,
        tenants=tenants,
        principles=dict(principles.most_common()),
        flagged=Rate(flagged, reviewed),
        gated=Rate(gated, reviewed),
        scores=_quantiles(scores),
        seconds=_quantiles(seconds),
        calls=calls,
        tokens=tokens,
        dollars=round(dollars, 6),
        lost=lost,
    )


def _quantiles(values: list[float]) -> dict[float, float]:
    values.sort()
    return {quantile: values[min(len(values) - 1, int(quantile * len(values)))] for quantile in QUANTILES} if values else {}
