"""Principles that need no model: what a regular expression or a function says of a draft is certain, what a linter says is
a suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience.constitution.schema import Constitution, Principle
from conscience.linting.advice import advice_on
from conscience.linting.linters import weaknesses_in
from conscience.messages.rendering import value_text
from conscience.outcome import Draft, Finding


def broken_for_certain(draft: Draft, constitution: Constitution) -> tuple[Finding, ...]:
    """A finding for each principle whose pattern or check says that the draft breaks it, in their order.

    Reasoning and response are looked at, every output field included. An error of a check passes through.
    """
    decided = [principle for principle in constitution.principles if principle.pattern or principle.check]
    if not decided:  # as with most constitutions: then no text is made of the outputs
        return ()
    text = f"{draft.reasoning}\n{draft.response}" if draft.reasoning else draft.response
    quotes = ((principle, principle.broken_in(text)) for principle in decided)
    why = "It holds what this principle rules out."
    return tuple(
        _finding(principle, quote, why, principle.change or principle.short)
        for principle, quote in quotes
        if quote is not None
    )


def linted(draft: Draft, constitution: Constitution) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """A finding for each principle of which linters find a weakness in the code of an output, in their order; and a note
    where there is code that could not be read."""
    if not any(principle.cwe for principle in constitution.principles):
        return (), ()
    read = [weaknesses_in(value_text(value)) for value in draft.outputs.values()]
    findings = []
    for principle in constitution.principles:
        if own := [weakness for each in read for weakness in each.weaknesses if weakness.cwe in principle.cwe]:
            why = " ".join(dict.fromkeys(f"{weakness.message}." for weakness in own))
            instead = " ".join(dict.fromkeys(advice_on(weakness) or principle.change or "" for weakness in own))
            findings.append(_finding(principle, own[0].quote, why, instead or principle.short))
    unread = any(each.unread for each in read)
    return tuple(findings), ("no linter read the Python: pip install 'dspy-conscience[bandit]'",) if unread else ()


def weak_lines(outputs: Mapping[str, Any], constitution: Constitution) -> list[tuple[str, Finding]]:
    """Each line of the code in the outputs that linters suspect: in which field, and which principle it breaks; the worst
    first."""
    found = [
        (name, _finding(principle, weakness.quote, f"{weakness.message}.", advice_on(weakness) or principle.change or ""))
        for name, value in outputs.items()
        for weakness in weaknesses_in(value_text(value)).weaknesses
        for principle in constitution.principles
        if weakness.cwe in principle.cwe
    ]
    return sorted(found, key=lambda each: rank(each[1]))


def rank(finding: Finding) -> int:
    """Where a finding comes among others, the worst first."""
    return ("high", "medium", "low").index(finding.severity)


def _finding(principle: Principle, quote: str, why: str, change: str) -> Finding:
    return Finding(
        principle=principle.id, quote=quote, why=why, change=change, severity=principle.severity, grounded=bool(quote)
    )
