"""Principles that need no model: what a regular expression, a linter or a function says of a draft is certain."""

from __future__ import annotations

from collections.abc import Iterator

from conscience.constitution.schema import Constitution, Principle
from conscience.linting.advice import ADVICE
from conscience.linting.linters import weaknesses_in
from conscience.linting.weakness import Weakness
from conscience.messages.rendering import value_text
from conscience.outcome import Draft, Finding


def broken_for_certain(draft: Draft, constitution: Constitution) -> tuple[Finding, ...]:
    """A finding for each principle whose pattern, weaknesses or check say that the draft breaks it, in their order.

    Patterns and checks look at reasoning and response, every output field included; linters at the code of each output. An
    error of a check passes through.
    """
    decided = [principle for principle in constitution.principles if principle.pattern or principle.cwe or principle.check]
    if not decided:  # as with most constitutions: then no text is made of the outputs
        return ()
    text = f"{draft.reasoning}\n{draft.response}" if draft.reasoning else draft.response
    weak = _weaknesses(draft) if any(principle.cwe for principle in decided) else []
    return tuple(finding for principle in decided for finding in _broken(principle, text, weak))


def unread_code(draft: Draft, constitution: Constitution) -> tuple[str, ...]:
    """A note where principles name weaknesses, and code of the draft was not looked at for them."""
    if not any(principle.cwe for principle in constitution.principles):
        return ()
    unread = {language for text in _texts(draft) for language in weaknesses_in(text).unread}
    return ("no linter read the Python: pip install 'dspy-conscience[bandit]'",) if unread else ()


def _broken(principle: Principle, text: str, weak: list[Weakness]) -> Iterator[Finding]:
    """One finding at most: of all that a linter found, and else of what its pattern or check did."""
    quote, why = principle.broken_in(text), "It holds what this principle rules out."
    change = principle.change or principle.short
    if own := [weakness for weakness in weak if weakness.cwe in principle.cwe]:
        quote, why = own[0].quote, " ".join(dict.fromkeys(f"{weakness.message}." for weakness in own))
        change = " ".join(dict.fromkeys(ADVICE.get(weakness.cwe, change) for weakness in own))
    if quote is not None:
        yield Finding(
            principle=principle.id,
            quote=quote,
            why=why,
            change=change,
            severity=principle.severity,
            grounded=bool(quote),
        )


def _weaknesses(draft: Draft) -> list[Weakness]:
    return [weakness for text in _texts(draft) for weakness in weaknesses_in(text).weaknesses]


def _texts(draft: Draft) -> list[str]:
    return [value_text(value) for value in draft.outputs.values()]
