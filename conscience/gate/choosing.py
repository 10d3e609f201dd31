"""A critique that is chosen, not written: which principle a flagged draft breaks, in the constitution's own words.

A model of a billion parameters finds nothing wrong where it is asked to write what is wrong, but mends what it is told. So
the finding is the likeliest principle by the gate's own kind of question. It costs a token, and it has no vote: which of the
rules a draft breaks was asked, not whether it breaks one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from conscience._base.flow import Flow
from conscience.backends.bound import BoundBackend
from conscience.constitution.schema import Constitution
from conscience.gate.asking import room
from conscience.gate.gate import read_signals
from conscience.gate.questions import continued
from conscience.gate.rules import LETTERS, RulesQuestion
from conscience.messages.completion import Message
from conscience.outcome import Draft, Finding, Verdict

BY_LETTER = "Answer with the letter of one rule, and nothing else."
"""Ends the question to a model without log-probabilities; the others are asked the gate's own (``gate/rules.py``)."""

WHICH = """Which of these rules does your answer above break?
{rules}
{by_letter}"""
"""``{rules}``: a letter and a principle's first sentence, one a line."""

LETTER_TOKENS = 16
"""For a letter and a few words around it; a model that thinks gets more."""

CLEAR = 0.5
"""The probability from which a revision is told a principle although no critique has named it."""


def chosen(verdict: Verdict, draft: Draft, constitution: Constitution, model: BoundBackend) -> Flow[Verdict]:
    """A flagged draft's verdict, with the likeliest principle as its finding; with none, and a note, where the answer names
    none. It stays flagged either way.

    Args:
        verdict: the gate's; where that asked about the principles, nothing is asked again.
        draft: what is flagged.
        constitution: whose principles they are.
        model: what is asked.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
        ReviewError: a decision model's kept answer cannot be read.
    """
    principles = {p.id: 1.0 for p in constitution.principles} if len(constitution.principles) == 1 else verdict.principles
    if not principles and (model.decides or model.supports("logprobs")):
        question = RulesQuestion.of(constitution, "principles")
        principles = (yield from read_signals([question], draft, model))[question.name].principles
    elif not principles:
        completion = yield model.ask(_messages(draft, constitution), room(model, LETTER_TOKENS))
        principles = _by_letter(completion.text, constitution)
        if not principles:
            yield model.reject(completion)
    findings = likeliest(principles, constitution, at_least=0.0)
    notes = verdict.notes if findings else (*verdict.notes, "which principle is broken was asked, and the answer names none")
    return replace(verdict, findings=findings, principles=principles, notes=notes)


def likeliest(
    principles: Mapping[str, float], constitution: Constitution, *, at_least: float = CLEAR, most: int = 1
) -> tuple[Finding, ...]:
    """The principles with the highest probabilities as findings, as far as these are high enough; of equals, the first."""
    known = [principle for principle in constitution.principles if principles.get(principle.id, -1.0) >= at_least]
    best = sorted(known, key=lambda principle: -principles[principle.id])[:most]
    return tuple(Finding(p.id, "", "", p.change or "", severity=p.severity, grounded=False) for p in best)


def _messages(draft: Draft, constitution: Constitution) -> list[Message]:
    rules = "\n".join(f"{letter}: {p.short}" for letter, p in zip(LETTERS, constitution.principles, strict=False))
    return continued(draft, WHICH.format(rules=rules, by_letter=BY_LETTER))


_LETTER = re.compile(r"(?<![\w'’])([A-Z])(?=\s*(?:$|[:.,()\]*\"`\n]))")
"""In a written answer: "B", "**B**", "The answer is B.", "Rule B (honesty)"; not the article in "A rule is broken"."""


def _by_letter(text: str, constitution: Constitution) -> dict[str, float]:
    """The id of the principle that a written answer names last; empty where it names none."""
    ids = {letter: p.id for letter, p in zip(LETTERS, constitution.principles, strict=False)}
    return {ids[letter]: 1.0 for letter in [found for found in _LETTER.findall(text) if found in ids][-1:]}
