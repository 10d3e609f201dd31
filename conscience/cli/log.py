"""The commands on verdict logs: log tail, log stats, log to-cases, and watch."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience.cli._shared.options import FILE, Amount
from conscience.cli._shared.output import print_json, printable, write
from conscience.errors import InputError

if TYPE_CHECKING:
    from conscience.monitoring.files import LogReader
    from conscience.monitoring.watching import WatchReport
    from conscience.observability.record import VerdictRecord

POLL = 0.5
"""Seconds between two looks at a log that is followed."""
SHOWN_BAD = 3
"""Lines that are no record and are named; all are counted."""


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A date or a time; in UTC where it does not say otherwise."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-26 or 2026-11-26T09:30", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_LOGS = click.argument("logs", nargs=-1, required=True, metavar="LOG...", type=click.Path(path_type=Path))
_SINCE = click.option("--since", type=Moment(), metavar="TIME", help="Only calls since then, as in 2026-11-26T09:30 (UTC).")
_PROGRAM_NAME = click.option("--name", metavar="NAME", help="Only calls of the program of this name.")
_TENANT = click.option("--tenant", metavar="NAME", help="Only calls for this tenant.")


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what says which records are meant."""
    for option in (_TENANT, _PROGRAM_NAME, _SINCE, _LOGS):
        command = option(command)
    return command


class _Log:
    """The records that a command is about, and what is wrong with the others."""

    def __init__(self, logs: tuple[Path, ...], since: datetime | None, name: str | None, tenant: str | None) -> None:
        from conscience.monitoring.files import readers

        self._said: list[str] = []
        self.readers: list[LogReader] = readers(logs, since=since, on_bad=self._bad)
        self._name, self._tenant = name, tenant
        self.read = 0

    def records(self) -> Iterator[VerdictRecord]:
        """Those that are new."""
        for reader in self.readers:
            for record in reader.records():
                if self._name in (None, record.program) and self._tenant in (None, record.tenant):
                    self.read += 1
                    yield record

    def _bad(self, said: str) -> None:
        if len(self._said) < SHOWN_BAD:
            self._said.append(said)

    def tell_bad(self) -> None:
        """Names the first lines that are no record."""
        for said in self._said:
            click.echo(f"conscience: passed over: {printable(said)}", err=True)
        if (bad := sum(reader.bad for reader in self.readers)) > len(self._said):
            click.echo(f"conscience: passed over: {bad} lines in all", err=True)

    def check_any(self) -> None:
        """Says that there was nothing.

        Raises:
            InputError: no record was read.
        """
        self.tell_bad()
        if not self.read:
            names = ", ".join(str(reader.path) for reader in self.readers)
            chosen = " of those that were asked for" if self._name or self._tenant or self.readers[0].since else ""
            raise InputError(f"{names}: no record of a verdict{chosen}", hint="name a file that a program logs to")


@click.group("log")
def log_command() -> None:
    """Read a verdict LOG, with the files that were rotated away from it."""


@log_command.command("tail")
@_which
@click.option("-n", "count", type=click.IntRange(0), default=10, show_default=True, help="The last so many calls.")
@click.option("--follow", "-f", is_flag=True, help="Go on with each new one.")
@click.option("--json", "as_json", is_flag=True, help="Print each as one line of JSON.")
def tail_command(
    logs: tuple[Path, ...],
    since: datetime | None,
    name: str | None,
    tenant: str | None,
    count: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the last calls in LOG."""
    log = _Log(logs, since, name, tenant)
    show = _json_line if as_json else _line
    for record in deque(log.records(), maxlen=count):
        click.echo(show(record))
    log.tell_bad()
    while follow:
        time.sleep(POLL)
        for record in log.records():
            click.echo(show(record))


def _json_line(record: VerdictRecord) -> str:
    return json.dumps(record.to_json(), ensure_ascii=True)


def _line(record: VerdictRecord) -> str:
    score = "   –  " if record.probability is None else f"{record.probability:6.3f}"
    parts = [record.at, record.id, f"{record.status:<10}", record.mode, f"{score} of {record.threshold:.3f}"]
    parts += [f"{record.seconds:.2f} s", ", ".join(record.principles), record.tenant, record.error]
    return printable("  ".join(part for part in parts if part))


@log_command.command("stats")
@_which
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def stats_command(
    logs: tuple[Path, ...], since: datetime | None, name: str | None, tenant: str | None, as_json: bool
) -> None:
    """Sum LOG up: verdicts, scores, time and cost."""
    from conscience.monitoring.summary import log_stats

    log = _Log(logs, since, name, tenant)
    stats = log_stats(log.records())
    log.check_any()
    if as_json:
        print_json({**stats.to_json(), "unreadable": sum(reader.bad for reader in log.readers)})
        return
    rows = {
        "calls": f"{stats.records} from {stats.first} to {stats.last}",
        "status": _listed(stats.statuses),
        "mode": _listed(stats.modes),
        "reviewed by": _listed(stats.backends),
        "program": _listed(stats.programs),
        "tenant": _listed(stats.tenants),
        "gate flagged": str(stats.gated),
        "flagged": str(stats.flagged),
        "principles": _listed(stats.principles),
        "probability": ", ".join(f"{100 * quantile:.0f} % up to {value:.3f}" for quantile, value in stats.scores.items()),
        "seconds": ", ".join(f"{100 * quantile:.0f} % within {value:.2f}" for quantile, value in stats.seconds.items()),
        "spent": f"{stats.calls} calls of models, {stats.tokens} tokens, ${stats.dollars:.4f}",
        "lost": f"{stats.lost} records, to a full disk or queue" if stats.lost else "",
    }
    for row, value in rows.items():
        if value:
            click.echo(f"{row:<13} {value}")


def _listed(counts: Mapping[str, int], most: int = 8) -> str:
    """Names with their counts, the most frequent first; empty where there are no names."""
    if not any(counts):
        return ""
    shown = [f"{printable(name) or '(none)'} {count}" for name, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f", {len(counts) - most} more" if len(counts) > most else "")


@log_command.command("to-cases")
@_which
@click.option("--out", type=FILE, required=True, metavar="FILE.jsonl", help="Where the cases go; no file may be there.")
@click.option("--count", "-n", type=click.IntRange(1), default=40, show_default=True, help="How many cases.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random part.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def to_cases_command(
    logs: tuple[Path, ...],
    since: datetime | None,
    name: str | None,
    tenant: str | None,
    out: Path,
    count: int,
    seed: int,
    as_json: bool,
) -> None:
    """Write drafts in LOG as cases to label: half next to the threshold, the rest at random, with weights that undo that."""
    from conscience.monitoring.sampling import case_rows, sample_cases

    if out.suffix != ".jsonl":
        raise InputError(f"{out}: cases to label are kept in .jsonl files", hint="choose another --out")
    if out.exists():
        raise InputError(f"{out} exists, and may hold somebody's labels", hint="choose another --out")
    log = _Log(logs, since, name, tenant)
    records = list(log.records())
    log.check_any()
    sample = sample_cases(records, count, seed=seed)
    write(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in case_rows(sample.cases)), private=True)
    drawn = len(sample.cases) - sample.near
    if as_json:
        print_json(
            {"cases": len(sample.cases), "near": sample.near, "drawn": drawn, "scored": sample.scored,
             "left_out": sample.left_out, "out": str(out)}
        )  # fmt: skip
        return
    click.echo(
        f"{len(sample.cases)} cases → {out}: {sample.near} next to the threshold, {drawn} drawn at random from the other "
        f"{sample.scored - sample.near}; {sample.left_out} records left out. Label them: conscience label {out}"
    )


@click.command("watch")
@_which
@click.option("--program", required=True, metavar="FILE", help="The compiled program that wrote the log.")
@click.option("--labels", "labels", multiple=True, metavar="FILE.jsonl", help="Cases from log to-cases, with labels.")
@click.option("--risk", type=Amount(1e-9, 1, max_open=True), default=0.05, show_default=True,
              help="Of a false alarm, ever, however often you look.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Wait for new calls until there is something to tell.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def watch_command(
    logs: tuple[Path, ...],
    since: datetime | None,
    name: str | None,
    tenant: str | None,
    program: str,
    labels: tuple[str, ...],
    risk: float,
    follow: bool,
    as_json: bool,
) -> None:
    """Tell when the scores in LOG are no longer those of compile time, or labels show more errors. Then exit with 1."""
    from conscience.monitoring.watching import Watch, load_labelled

    labelled = load_labelled(labels, since=since, program=name, tenant=tenant)
    watching = Watch(program, risk=risk, labelled=labelled)
    log = _Log(logs, since, name, tenant)
    for record in log.records():
        watching.add(record)
    if follow:
        log.tell_bad()
    else:
        log.check_any()
    report = watching.report()
    if not follow:
        _check_compared(report, labels)
    while follow and not report.told:
        time.sleep(POLL)
        for record in log.records():
            watching.add(record)
        report = watching.report()
    _show(report, as_json)
    if report.told:
        raise click.exceptions.Exit(1)


def _check_compared(report: WatchReport, labels: tuple[str, ...]) -> None:
    """Nothing to tell since nothing could be compared must not look as if all were well.

    Raises:
        InputError: no record has a score of the program's, or no label can be used.
    """
    why = "; ".join(report.notes)
    if not report.scored:
        raise InputError(f"none of the {report.records} records can be compared: {why}")
    if labels and not any(check.n for check in report.checks if check.name in ("false positives", "misses")):
        raise InputError(f"none of the labels can be compared: {why or 'no case has a label'}")


def _show(report: WatchReport, as_json: bool) -> None:
    if as_json:
        print_json(report.to_json())
        return
    click.echo(f"{report.records} calls, {report.scored} scores, {report.labelled} labels")
    several = len(set(report.backends)) > 1
    for backend, check in zip(report.backends, report.checks, strict=True):
        whose = f"{backend}: " if several else ""
        where = f" (told at {check.told_at}, since about {check.since})" if check.told else ""
        click.echo(printable(f"{'!' if check.told else ' '} {whose}{check.name}: {check.message}{where}"))
        click.echo(f"    evidence {check.e_value:.3g}; {check.needed:.0f} is enough")
    for note in report.notes:
        click.echo(f"conscience: {printable(note)}", err=True)
