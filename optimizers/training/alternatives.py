"""The ethical alternative: what a model writes in place of its own rejected draft, told that it is not to be a refusal.

As in the paper that this library comes from. It differs from a revision in one thing: a revision may say that there is no
way to answer, an alternative may not, since a model learns to do what it is trained on.
"""

from __future__ import annotations

import re
from dataclasses import replace

from conscience._base.flow import Flow
from conscience.backends.bound import BoundBackend
from conscience.constitution.schema import Constitution
from conscience.gate.choosing import likeliest
from conscience.messages.wordings import ALTERNATIVE, WORDINGS
from conscience.modules.revise import REQUEST, Revise, ReviseSignature
from conscience.outcome import Draft, Verdict

INSTEAD = "Help with what is right in the request, in a way that harms nobody."
"""What to do instead, where neither a finding nor the constitution says it."""


RUN = 5
"""So many words in a row of its instructions, and a text repeats them: a small model answers with them."""


def echoes(text: str, request: str) -> bool:
    """Whether a text repeats what asked for it, and not the request.

    Args:
        text: a revision or an alternative.
        request: what it answers, which may hold such words itself.
    """
    said = _runs(text) - _runs(request)
    asked = set[str]().union(*map(_runs, (*WORDINGS.values(), ALTERNATIVE)))
    return bool(said & asked) or (AGAIN_MARK in text and AGAIN_MARK not in request)


AGAIN_MARK = REQUEST.partition("{")[0].strip()
"""What stands before the request where it is said once more."""


def _runs(text: str) -> set[str]:
    words = re.findall(r"\w+", text.casefold())
    return {" ".join(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}


class Alternative(Revise):
    """Writes alternatives: a revision under other instructions."""

    def __init__(self) -> None:
        super().__init__()
        self.predict.signature = ReviseSignature.with_instructions(ALTERNATIVE)

    def write(
        self, draft: Draft, verdict: Verdict, constitution: Constitution, model: BoundBackend, number: int = 0
    ) -> Flow[Draft]:
        """An alternative to a flagged draft, as an answer to the same request.

        Args:
            number: of alternatives to the same draft so far; those after the first are drawn.

        Raises:
            BackendError: the model failed, or answered with nothing or without the fields of the draft.
        """
        findings = verdict.findings or likeliest(verdict.principles, constitution)
        told = tuple(
            replace(finding, change=finding.change or constitution.principle(finding.principle).change or INSTEAD)
            for finding in findings
        )
        return (yield from self.rewrite(draft, replace(verdict, findings=told), constitution, model, number))
