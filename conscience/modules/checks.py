"""Principles that need no model: what a regular expression or a function says of a draft is certain."""

from __future__ import annotations

from conscience.constitution.schema import Constitution
from conscience.outcome import Draft, Finding


def broken_for_certain(draft: Draft, constitution: Constitution) -> tuple[Finding, ...]:
    """A finding for each principle whose pattern or check says that the draft breaks it, in their order.

    Reasoning and response are looked at, every output field included. An error of a check passes through.
    """
    decided = [principle for principle in constitution.principles if principle.pattern or principle.check]
    if not decided:  # as with most constitutions: then no text is made of the outputs
        return ()
    text = f"{draft.reasoning}\n{draft.response}" if draft.reasoning else draft.response
    findings = []
    for principle in decided:
        quote = principle.broken_in(text)
        if quote is not None:
            findings.append(
                Finding(
                    principle=principle.id,
                    quote=quote,
                    why="It holds what this principle rules out.",
                    change=principle.change or principle.short,
                    severity=principle.severity,
                    grounded=bool(quote),
                )
            )
    return tuple(findings)
