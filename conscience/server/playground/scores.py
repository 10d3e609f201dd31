"""What a program's gate says of a pack's cases: each asked once, however often somebody looks and slides the threshold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, replace
from typing import Any

from conscience._base.flow import run_async
from conscience.cases.case import Case, load_cases
from conscience.errors import ContextTooLong, ReviewError
from conscience.messages.rendering import request_text
from conscience.outcome import WITHOUT_A_MODEL, Draft, Verdict
from conscience.program import Conscience
from conscience.usage import CallContext, UsageTracker

AT_ONCE = 4
"""Cases that are scored side by side."""


@dataclass(frozen=True)
class ScoredCase:
    """A case with the gate's probability.

    Attributes:
        id, label, group, request, response: the case's.
        probability: of the signals, against which a threshold is held; None where there is none.
        regardless: flagged at any threshold: by a principle that needs no model, or that was asked about by itself.
        error: why there is no probability; empty otherwise.
    """

    id: str
    label: str
    group: str
    request: str
    response: str
    probability: float | None = None
    regardless: bool = False
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class PackScores:
    """A pack's labelled answers, scored by a program's gate as they are asked for, and kept.

    Two who ask at once pay once. Whoever leaves stops the scoring; what was scored is kept.

    Args:
        program: whose gate.
        pack: a name of ``conscience.cases``' packs.

    Attributes:
        cases: those that hold an answer and a label.
    """

    def __init__(self, program: Conscience, pack: str) -> None:
        self._program = program
        self.cases = [case for case in load_cases(f"pack:{pack}") if case.response and case.label]
        self._scored: dict[int, ScoredCase] = {}
        self._locks = [asyncio.Lock() for _ in self.cases]

    async def rows(self) -> AsyncGenerator[ScoredCase, None]:
        """Every case in order, as soon as it is known.

        Raises:
            ConscienceError: the model cannot be asked; the next call goes on from there.
        """
        for start in range(0, len(self.cases), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(self.cases)))
            for row in await asyncio.gather(*(self._row(number) for number in numbers)):
                yield row

    async def _row(self, number: int) -> ScoredCase:
        async with self._locks[number]:
            if number not in self._scored:
                self._scored[number] = await scored(self._program, self.cases[number])
            return self._scored[number]


async def scored(program: Conscience, case: Case) -> ScoredCase:
    """What the gate says of a case's answer; the critique is not asked.

    Raises:
        ConscienceError: the model cannot be asked.
    """
    row = ScoredCase(case.id, case.label or "", case.group or "", request_text(case.request), case.response or "")
    model = program.roles.bound("review", CallContext(UsageTracker(program.budget), "review"))
    try:
        draft = Draft.of(case.request, case.response or "", case.reasoning)
        verdict = await run_async(program.review.score(draft, model))
    except (ContextTooLong, ReviewError) as failed:
        return replace(row, error=failed.message)
    probability = _probability(program, verdict)
    regardless = verdict.gated and (probability is None or probability < verdict.threshold)
    unknown = "" if regardless or probability is not None else "; ".join(verdict.notes)
    return replace(row, probability=probability, regardless=regardless, error=unknown)


def _probability(program: Conscience, verdict: Verdict) -> float | None:
    """What the signals alone come to: what flags for another reason has nothing to do with the threshold."""
    if verdict.probability is None or verdict.method in WITHOUT_A_MODEL:
        return None
    return program.gate_settings.probability(verdict.signals)
