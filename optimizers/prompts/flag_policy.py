"""What to do with a flagged draft: let the critique vote or not, revise or refuse. Measured, not assumed.

A model too small to criticise would clear what is wrong, and one too small to rewrite would spoil what is right. So the ways
are tried on validation cases, and revising is given up for refusing where it does not pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conscience.gate.settings import CritiqueMode
from conscience.optimizers.objective import Row
from conscience.program import Conscience
from conscience.stats.metrics import worth_it


@dataclass(frozen=True)
class FlagPolicy:
    """One way to go on from a flagged draft.

    Attributes:
        name: shown in reports.
        max_revisions: 0 refuses at once.
        critique: the critique's part.
        override_threshold: the probability from which the critique only explains.
    """

    name: str
    max_revisions: int
    critique: CritiqueMode
    override_threshold: float = 1.0

    def on(self, program: Conscience) -> Conscience:
        """A copy of a program that goes this way."""
        settings = program.gate_settings.model_copy(
            update={"critique": self.critique, "override_threshold": self.override_threshold}
        )
        changed = program.with_gate(settings)
        changed.max_revisions = self.max_revisions
        return changed


def flag_policies(revisions: int, override_threshold: float) -> list[FlagPolicy]:
    """The ways to try, cheapest first.

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
        FlagPolicy("revise what the gate flags, without a critique", revisions, "off"),
    ]


def revising_pays(rows: Sequence[Row]) -> bool | None:
    """Whether ECR/EIR > Acc/(1−Acc) over the drafts that were revised (arXiv 2604.22273); None where that cannot be told."""
    revised = [row for row in rows if row.get("revisions") and row["draft_ok"] is not None]
    right, wrong = _split(revised)
    corrected = sum(row["outcome_ok"] for row in wrong)
    spoiled = sum(not row["outcome_ok"] for row in right)
    return worth_it(corrected, spoiled, len(wrong), len(right))


def mended(row: Row) -> bool:
    """Whether a revision made a wrong draft right."""
    return bool(row["status"] == "revised" and row["outcome_ok"] and row["draft_ok"] is False)


def _split(rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    return [row for row in rows if row["draft_ok"]], [row for row in rows if not row["draft_ok"]]
