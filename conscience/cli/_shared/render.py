"""How outcomes, verdicts, checks and reports look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from conscience.cli._shared.output import SHOWN_CHARACTERS, console, print_json, safe, shortened
from conscience.outcome import Outcome, Status, Verdict
from conscience.usage import Usage

if TYPE_CHECKING:
    from conscience.doctor import Check
    from conscience.evals.results import Comparison, EvalReport

_COLOURS: Mapping[Status, str] = {
    "clean": "green",
    "cleared": "green",
    "revised": "yellow",
    "refused": "red",
    "unresolved": "red",
    "unreviewed": "magenta",
    "observed": "blue",
}
SHOWN_FINDING = 400
"""Characters of a finding's quote, and of its reason."""
NARROWEST = 24
"""Columns that a panel needs to stand beside others: three do on a terminal of 80."""


def show_outcome(console: Console, request: str, outcome: Outcome, *, full: bool = False) -> None:
    """An answer that passed, once; draft, verdict and revision beside each other where it did not; and what it cost.

    Args:
        full: whether long texts are shown whole.
    """
    texts = _Texts(full)
    console.print(texts.shown(request, "bold"))
    panels, verdicts = _steps(texts, outcome)
    for part in (*_rows(panels, console.width), *verdicts):
        console.print(part)
    if outcome.draft is None:
        console.print(Text("the draft is not shown: it was not reviewed", style="dim"))
    if outcome.error:
        console.print(Text(f"not reviewed: {safe(outcome.error)}", style="magenta"))
    for event in outcome.events:
        console.print(Text(f"note: {safe(event)}", style="dim"))
    console.print(_usage(outcome.usage))
    texts.tell_missing(console)


def show_verdict(console: Console, verdict: Verdict, *, full: bool = False) -> None:
    """One verdict."""
    texts = _Texts(full)
    word, colour = ("flagged", "red") if verdict.flagged else ("passed", "green")
    console.print(Text(word, style=f"bold {colour}"))
    console.print(_verdict(texts, "verdict", verdict))
    texts.tell_missing(console)


def show_checks(console: Console, checks: list[Check]) -> None:
    """What the doctor found, and one line of advice for each gap."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        colour = {"yes": "green", "no": "yellow", "unknown": "dim"}[check.state]
        table.add_row(Text(check.name), Text(check.state, style=colour), Text(safe(check.detail)))
        if check.advice:
            table.add_row("", "", Text(check.advice, style="dim"))
    console.print(table)


class _Texts:
    """Model text for one screen: cut where it is long, which the last line then says."""

    def __init__(self, full: bool) -> None:
        self._full = full
        self._missing = False

    def shown(self, text: str, style: str = "none", characters: int = SHOWN_CHARACTERS) -> Text:
        text = safe(text).strip()
        kept, missing = (text, 0) if self._full else shortened(text, characters)
        shown = Text(kept, style=style)
        if missing:
            self._missing = True
            shown.append(f" … ({missing} more characters)", style="dim italic")
        return shown

    def tell_missing(self, console: Console) -> None:
        if self._missing:
            console.print(Text("long texts are cut; --full shows them whole, and --json prints everything", style="dim"))


def _steps(texts: _Texts, outcome: Outcome) -> tuple[list[Panel], list[Group]]:
    """A panel for each text and alarm on the way to the answer, and the verdicts that are lines below them."""
    steps = [] if outcome.draft is None else [("draft", outcome.draft, outcome.draft_verdict)]
    steps += [(f"revision {n}", revision.draft, revision.verdict) for n, revision in enumerate(outcome.revisions, 1)]
    answer = max((n for n, (_, text, _) in enumerate(steps) if text.response == outcome.response), default=None)
    panels: list[Panel] = []
    lines: list[Group] = []
    for number, (name, text, verdict) in enumerate(steps):
        if number == answer:
            title = f"answer: {outcome.status}" + (f" ({name})" if number < len(steps) - 1 else "")
            panels.append(_answer(texts, outcome, title, text.reasoning))
        else:
            panels.append(_panel(name, _text(texts, text.response, text.reasoning, "dim"), "dim"))
        if verdict is not None and verdict.flagged:
            panels.append(_panel(f"verdict on {name}", _verdict(texts, "", verdict), "red"))
        elif verdict is not None:
            lines.append(_verdict(texts, name, verdict))
    if answer is None:
        panels.append(_answer(texts, outcome, f"answer: {outcome.status}"))
    return panels, lines


def _answer(texts: _Texts, outcome: Outcome, title: str, reasoning: str = "") -> Panel:
    text = _text(texts, outcome.response, reasoning, "none")
    return _panel(title, text, _COLOURS[outcome.status])


def _text(texts: _Texts, response: str, reasoning: str, style: str) -> RenderableType:
    shown = texts.shown(response, style)
    return Group(texts.shown(f"Reasoning: {reasoning}", "dim"), "", shown) if reasoning else shown


def _panel(title: str, content: RenderableType, colour: str) -> Panel:
    return Panel(content, title=title, title_align="left", border_style=colour)


def _rows(panels: list[Panel], width: int) -> list[Table]:
    """The panels side by side, as many in a row as the terminal is wide enough for."""
    together = min(len(panels), max(1, width // NARROWEST))
    rows = []
    for start in range(0, len(panels), together):
        row = Table.grid(expand=True)
        for _ in range(together):
            row.add_column(ratio=1)
        row.add_row(*panels[start : start + together])
        rows.append(row)
    return rows


def _verdict(texts: _Texts, of: str, verdict: Verdict) -> Group:
    probability = "no probability" if verdict.probability is None else f"probability {verdict.probability:.2f}"
    signals = ", ".join(f"{name} {value:+.2f}" for name, value in verdict.signals.items()) or "none"
    head = f"{of}: " * bool(of) + f"{probability}, threshold {verdict.threshold:.2f}, by {verdict.method}"
    lines: list[RenderableType] = [Text(f"{head}; signals: {safe(signals)}")]
    for finding in verdict.findings:
        line = Text(f"  finding ({safe(finding.severity)}) {safe(finding.principle)}: ")
        if finding.grounded:
            line.append('"').append_text(texts.shown(finding.quote, characters=SHOWN_FINDING)).append('" ')
        lines.append(line.append_text(texts.shown(finding.why, characters=SHOWN_FINDING)))
    lines += [Text(f"  {safe(note)}", style="dim") for note in verdict.notes]
    return Group(*lines)


def _usage(usage: Usage) -> Text:
    roles = "; ".join(
        f"{role}: {s.calls} calls, {s.tokens} tokens, {s.seconds:.1f} s" + (f", {s.cached} cached" if s.cached else "")
        for role, s in usage.by_role.items()
    )
    price = f", ${usage.dollars:.5f}" if usage.dollars else ""
    return Text(f"cost: {usage.seconds:.1f} s{price} ({roles})", style="dim")


def show_report(console: Console, report: EvalReport) -> None:
    """The headline figures of a run, with their intervals."""
    console.print(Text(safe(report.heading), style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in report.headline():
        table.add_row(Text(safe(name)), Text(safe(value)))
    console.print(table)
    for claim in report.claims:
        console.print(Text(f"note: {safe(claim)}", style="dim"))


def tell_report(report: EvalReport, page: Path, *, as_json: bool) -> None:
    """Prints a run's report, and where its page is; or all of it as JSON."""
    if as_json:
        print_json(report.to_dict())
    else:
        show_report(console(), report)
        click.echo(f"report: {page}")


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Two runs side by side."""
    console.print(Text(comparison.heading, style="bold"))
    first, second = (escape(safe(run.title)) for run in (comparison.first, comparison.second))
    table = Table("figure", first, second, "difference", "p", box=None, pad_edge=False)
    for line in comparison.table():
        table.add_row(*line)
    console.print(table)
