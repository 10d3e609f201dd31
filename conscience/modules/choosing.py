"""A critique that is chosen, not written: which principle a flagged draft breaks, in the constitution's own words.

A model of a billion parameters finds nothing wrong where it is asked to write what is wrong, but mends what it is told. So
the finding is the likeliest principle by the gate's own kind of question. It costs a token, and it has no vote: which of the
rules a draft breaks was asked, not whether it breaks one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from conscience._base.flow import Flow
from conscience.backends.bound import BoundBackend
from conscience.constitution.schema import Constitution
from conscience.gate.asking import ask
from conscience.gate.gate import read_signals
from conscience.gate.questions import continued, strip_token
from conscience.gate.rules import LETTERS, RulesQuestion
from conscience.messages.completion import Completion, Message
from conscience.outcome import Draft, Finding, Verdict

BY_LETTER = "Answer with the letter of one rule, and nothing else."
"""Ends the question."""

WHICH = """Which of these rules does your answer above break?
{rules}
{by_letter}"""
"""``{rules}``: a letter and a principle's first sentence, one a line."""

CLEAR = 0.5
"""The probability from which a principle that the gate itself asked about needs no further question."""


def chosen(verdict: Verdict, draft: Draft, constitution: Constitution, model: BoundBackend) -> Flow[Verdict]:
    """A flagged draft's verdict, with the likeliest principle as its finding; with none, and a note, where the answer names
    none. It stays flagged either way.

    Args:
        verdict: the gate's; where that asked about each principle and found one, nothing is asked.
        draft: what is flagged.
        constitution: whose principles they are.
        model: what is asked.

    Raises:
        BackendError: the model could not be asked.
        BudgetExceeded: the budget is spent.
        ReviewError: a decision model's kept answer cannot be read.
    """
    principles = verdict.principles
    if len(constitution.principles) == 1:
        principles = {constitution.principles[0].id: 1.0}
    elif model.decides and not principles:
        question = RulesQuestion.of(constitution, "principles")
        principles = (yield from read_signals([question], draft, model))[question.name].principles
    elif not model.decides and max(principles.values(), default=0.0) < CLEAR:
        completion = yield from ask(model, lambda written: _messages(draft, constitution))
        principles = _by_letter(completion, constitution)
        if not principles:
            yield model.reject(completion)
    findings = likeliest(principles, constitution, at_least=0.0)
    notes = verdict.notes if findings else (*verdict.notes, "which principle is broken was asked, and the answer names none")
    return replace(verdict, findings=findings, principles=principles or verdict.principles, notes=notes)


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


def _by_letter(completion: Completion, constitution: Constitution) -> dict[str, float]:
    """Principle id → its probability among those that were named."""
    ids = {letter: p.id for letter, p in zip(LETTERS, constitution.principles, strict=False)}
    candidates: Sequence[tuple[str, float]] = completion.first_token
    if not candidates:
        candidates = [(letter, 0.0) for letter in _LETTER.findall(completion.text) if letter in ids][-1:]
    shares: dict[str, float] = {}
    for token, logprob in candidates:
        if (id := ids.get(strip_token(token))) is not None:
            shares[id] = shares.get(id, 0.0) + math.exp(logprob)
    total = math.fsum(shares.values())
    return {id: share / total for id, share in shares.items()} if total else {}
