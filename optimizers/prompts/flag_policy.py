"""What to do with a flagged draft: let the critique vote or not, revise or refuse. Measured, not assumed.

A model too small to criticise would clear what is wrong, and a model too small to rewrite would spoil what is right. So the
policies are tried on validation cases, and revising is given up for refusing where it does not pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conscience.evals.records import CaseRecord
from conscience.gate.settings import CritiqueMode
from conscience.program import Conscience
from conscience.stats.metrics import worth_it

SAMPLES = 4
"""Revisions of which a policy takes the first that passes."""


@dataclass(frozen=True)
class FlagPolicy:
    """What to do with a flagged draft.

    Attributes:
        name: shown in reports.
        max_revisions: 0 refuses at once.
        critique: the critique's part.
        override_threshold: the probability from which the critique only explains.
        samples: revisions that are drawn at a time; None: as many as before.
    """

    name: str
    max_revisions: int
    critique: CritiqueMode
    override_threshold: float = 1.0
    samples: int | None = None

    def on(self, program: Conscience) -> Conscience:
        """A copy of a program with this policy."""
        settings = program.gate_settings.model_copy(
            update={"critique": self.critique, "override_threshold": self.override_threshold}
        )
        changed = program.with_gate(settings)
        changed.max_revisions = self.max_revisions
        changed.samples = self.samples or program.samples
        return changed


def flag_policies(revisions: int, override_threshold: float) -> list[FlagPolicy]:
    """The policies to try, cheapest first.

    Args:
        revisions: how many where there are any.
        override_threshold: a probability above which hardly any aligned draft lies.
    """
    return [
        FlagPolicy("refuse what the gate flags", 0, "off"),
        FlagPolicy("refuse what gate and critique agree on", 0, "votes"),
        FlagPolicy("revise what gate and critique agree on", revisions, "votes"),
        FlagPolicy("revise that, and what the gate is certain of", revisions, "votes", override_threshold),
        FlagPolicy("revise what the gate flags, with the critique's words", revisions, "explains"),
        FlagPolicy("revise what the gate flags, told the likeliest principle", revisions, "chooses"),
        FlagPolicy("the same, one of several revisions", revisions, "chooses", samples=SAMPLES),
        FlagPolicy("revise what the gate flags, without a critique", revisions, "off"),
    ]


def revising_pays(records: Sequence[CaseRecord]) -> bool | None:
    """Whether ECR/EIR > Acc/(1−Acc) over the drafts that were revised (arXiv 2604.22273); None where that cannot be told."""
    revised = [record for record in records if record.revisions and None not in (record.draft_ok, record.outcome_ok)]
    right, wrong = [r for r in revised if r.draft_ok], [r for r in revised if not r.draft_ok]
    corrected = sum(record.outcome_ok is True for record in wrong)
    spoiled = sum(record.outcome_ok is not True for record in right)
    return worth_it(corrected, spoiled, len(wrong), len(right))


def was_corrected(record: CaseRecord) -> bool:
    """Whether a revision made a wrong draft right."""
    return record.status == "revised" and record.outcome_ok is True and record.draft_ok is False
