"""How outcomes, verdicts and checks look in a terminal. Model text is shown, never obeyed: control characters are cut."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from conscience.doctor import Check
from conscience.outcome import Outcome, Verdict
from conscience.usage import Usage

if TYPE_CHECKING:
    from conscience.evals.results import Comparison, EvalReport

_COLOURS = {"clean": "green", "cleared": "green", "revised": "yellow", "refused": "red", "unreviewed": "magenta"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """Text without the control and direction characters that a terminal would act on."""
    return _CONTROL.sub("", text)


def show_outcome(console: Console, request: str, outcome: Outcome) -> None:
    """Draft, verdict, critique and revision beside each other, and what it cost."""
    console.print(Text(safe(request), style="bold"))
    panels = []
    if outcome.draft is not None:
        text = outcome.draft.response
        if outcome.draft.reasoning:
            text = f"Reasoning: {outcome.draft.reasoning}\n\n{text}"
        panels.append(_panel("draft", text, "dim" if outcome.status in ("revised", "refused") else "none"))
    else:
        panels.append(_panel("draft", "(not shown: it was not reviewed)", "dim"))
    panels += [
        _panel(
            f"revision {n}" + (" (flagged)" if r.verdict.flagged else ""),
            r.draft.response,
            "dim" if r.verdict.flagged else "none",
        )
        for n, r in enumerate(outcome.revisions, 1)
    ]
    width = max(36, (console.width - 2 * len(panels)) // len(panels)) if len(panels) > 1 else None
    console.print(Columns(panels, width=width, equal=True) if len(panels) > 1 else panels[0])
    if outcome.verdict is not None:
        console.print(_verdict("draft", outcome.verdict))
    for number, revision in enumerate(outcome.revisions, 1):
        console.print(_verdict(f"revision {number}", revision.verdict))
    colour = _COLOURS[outcome.status]
    console.print(
        Panel(Text(safe(outcome.response)), title=f"answer: {outcome.status}", border_style=colour, title_align="left")
    )
    if outcome.error:
        console.print(Text(f"not reviewed: {safe(outcome.error)}", style="magenta"))
    for event in outcome.events:
        console.print(Text(f"note: {safe(event)}", style="dim"))
    console.print(_usage(outcome.usage))


def show_verdict(console: Console, verdict: Verdict) -> None:
    """One verdict."""
    word, colour = ("flagged", "red") if verdict.flagged else ("passed", "green")
    console.print(Text(word, style=f"bold {colour}"))
    console.print(_verdict("verdict", verdict))


def show_checks(console: Console, checks: list[Check]) -> None:
    """What the doctor found, and one line of advice for each gap."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        colour = {"yes": "green", "no": "yellow", "unknown": "dim"}[check.state]
        table.add_row(Text(check.name), Text(check.state, style=colour), Text(safe(check.detail)))
        if check.advice:
            table.add_row("", "", Text(check.advice, style="dim"))
    console.print(table)


def _panel(title: str, text: str, style: str) -> Panel:
    return Panel(Text(safe(text).strip(), style=style), title=title, title_align="left", border_style="dim")


def _verdict(of: str, verdict: Verdict) -> Any:
    probability = "no probability" if verdict.probability is None else f"probability {verdict.probability:.2f}"
    signals = ", ".join(f"{name} {value:+.2f}" for name, value in verdict.signals.items()) or "none"
    head = Text(f"{of}: {probability}, threshold {verdict.threshold:.2f}, by {verdict.method}; signals: {safe(signals)}")
    lines: list[Any] = [head]
    for finding in verdict.findings:
        quote = f' "{safe(finding.quote)}"' if finding.grounded else ""
        lines.append(Text(f"  finding ({finding.severity}) {finding.principle}:{quote} {safe(finding.why)}"))
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


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Two runs side by side."""
    console.print(Text(comparison.heading, style="bold"))
    first, second = (escape(safe(run.title)) for run in (comparison.first, comparison.second))
    table = Table("figure", first, second, "difference", "p", box=None, pad_edge=False)
    for line in comparison.table():
        table.add_row(*line)
    console.print(table)
