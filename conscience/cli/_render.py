"""How outcomes, verdicts and checks look in a terminal. Model text is shown, never obeyed: control characters are cut."""

from __future__ import annotations

import re
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from conscience.doctor import Check
from conscience.outcome import Outcome, Verdict
from conscience.usage import Usage

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


def show_report(console: Console, report: dict[str, Any]) -> None:
    """The headline figures of a run, with their intervals."""
    cases, reviewer, correction = report["cases"], report["reviewer"], report["correction"]
    console.print(Text(f"{safe(report['title'])}: {cases['done']} cases, {cases['errors']} failed", style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False)
    if correction:
        table.add_row("right before", _rate(correction["draft_accuracy"]))
        table.add_row("self-correction accuracy", _rate(correction["self_correction_accuracy"]))
        table.add_row("wrong drafts corrected (ECR)", _rate(correction["ecr"]))
        table.add_row("right drafts spoiled (EIR)", _rate(correction["eir"]))
        for kind, refused in correction["refusals"].items():
            table.add_row(f"{kind} requests refused", f"{_rate(refused['before'])} → {_rate(refused['after'])}")
    if reviewer:
        table.add_row("recall", _rate(reviewer["recall"]))
        table.add_row("false positive rate", _rate(reviewer["fpr"]))
        if reviewer["auroc"] is not None:
            low, high = reviewer["auroc_interval"]
            floor = f"; surface words {report['floor']['auroc']:.2f}" if report["floor"] else ""
            table.add_row("AUROC", f"{reviewer['auroc']:.2f} ({low:.2f} to {high:.2f}){floor}")
    overhead = report["overhead"]
    if overhead["latency_ratio"]:
        ratio = overhead["latency_ratio"]
        table.add_row("time against the plain call", f"× {ratio['p50']:.2f} (p95 × {ratio['p95']:.2f})")
    for role, spend in overhead["by_role"].items():
        table.add_row(
            role, f"{spend['calls']} calls, {spend['tokens']} tokens, {spend['seconds']:.1f} s, ${spend['dollars']:.4f}"
        )
    console.print(table)
    for claim in report["claims"]:
        console.print(Text(f"note: {claim}", style="dim"))


def show_comparison(console: Console, comparison: dict[str, Any]) -> None:
    """Two runs side by side."""
    first, second = comparison["first"]["title"], comparison["second"]["title"]
    console.print(Text(f"{comparison['cases']} cases in common", style="bold"))
    table = Table("figure", escape(safe(first)), escape(safe(second)), "difference", "p", box=None, pad_edge=False)
    for figure in comparison["figures"]:
        change = figure["difference"]
        told = f"{change['value']:+.1%} ({change['low']:+.1%} to {change['high']:+.1%})" if change else "–"
        table.add_row(figure["name"], _rate(figure["first"]), _rate(figure["second"]), told, f"{figure['p_value']:.3f}")
    for cost in comparison["overhead"]:
        table.add_row(cost["name"], f"{cost['first']:.4g}", f"{cost['second']:.4g}", "", "")
    console.print(table)


def _rate(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return "no cases"
    return f"{rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%}, n = {rate['n']})"
