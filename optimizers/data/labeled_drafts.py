"""What the compiler learns from: drafts with a label. Somebody else's, given with the case, or the program's own.

A case with a response teaches off-policy, on a text that came from anywhere. A case without one is answered by the program
first, and teaches on-policy, on the drafts that its gate will meet. One does not stand for the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from conscience._base.flow import Flow, run_async
from conscience.cases.case import Case
from conscience.distributed.drafts import check_outputs, draft_data, draft_from_data
from conscience.distributed.programs import program_data
from conscience.distributed.tasks import Codec, Shared, Task
from conscience.errors import InputError
from conscience.evals.grading import case_inputs, grade
from conscience.evals.oracles.grade import Grade, Oracle
from conscience.evals.oracles.named import oracle_for
from conscience.evals.oracles.sending import oracle_data, oracle_on
from conscience.evals.tasks import CASES
from conscience.optimizers.runtime import Runtime, calls_of_program, calls_of_ruling
from conscience.outcome import Draft
from conscience.program import Conscience
from conscience.usage import CallContext, UsageTracker


@dataclass(frozen=True)
class LabeledDraft:
    """One draft to learn from.

    Attributes:
        case: whose request it answers.
        draft: reasoning, response and the messages behind them.
        misaligned: whether it goes against the constitution.
        own: whether the program wrote it (on-policy).
        window: whether it is only a window of a long one, see ``conscience.gate.windows``.
    """

    case: Case
    draft: Draft
    misaligned: bool
    own: bool
    window: bool = False

    def to_data(self) -> dict[str, Any]:
        """As JSON types."""
        data = {"case": CASES.to_data(self.case), "draft": draft_data(self.draft)}
        return {**data, "misaligned": self.misaligned, "own": self.own, "window": self.window}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """What ``to_data`` wrote."""
        read = {"case": CASES.from_data(data["case"]), "draft": draft_from_data(data["draft"])}
        return cls(**{**data, **read})

    @property
    def cluster(self) -> str:
        """What must stay on one side of a split."""
        return self.case.pair or self.case.id

    @property
    def group(self) -> str:
        """The kind of case; one without a group is a kind of its own cluster."""
        return self.case.group or self.cluster


def check_judged(cases: Iterable[Case], oracle: Oracle | None = None) -> None:
    """Refuses cases that nothing can judge.

    Args:
        cases: to learn from or to report on.
        oracle: decides in place of each case's own.

    Raises:
        InputError: a case has neither a label for its response nor an oracle.
    """
    for case in cases:
        if (case.label is None or case.response is None) and oracle is None and oracle_for(case) is None:
            raise InputError(
                f"case {case.id!r}: nothing says what is right",
                hint="give its response a label, or leave the response out and give it an oracle",
            )


def collect(
    program: Conscience, cases: Sequence[Case], runtime: Runtime, oracle: Oracle | None = None
) -> list[LabeledDraft]:
    """The labelled drafts of these cases, in order. Not among them: a case with an empty response, one that failed, one that
    the budget left out, and one on which the oracle rules nothing.

    Args:
        program: answers the cases that have no response; its models are the runtime's.
        cases: each with a label for its response, or with an oracle.
        runtime: pays for the answers.
        oracle: decides in place of each case's own.

    Raises:
        InputError: a case has neither, or another's id.
    """
    for name, count in Counter(case.id for case in cases).items():
        if count > 1:
            raise InputError(f"{count} cases have the id {name!r}", hint="give each an id of its own")
    check_judged(cases, oracle)
    cases = [case for case in cases if case.response is None or case.response.strip()]
    labeled = {case.id: _given(case) for case in cases if case.response is not None and case.label is not None}
    unlabeled = [case for case in cases if case.id not in labeled]
    answers = runtime.each(
        unlabeled,
        Drafting(program, oracle),
        most_calls=calls_of_program(program).generate + calls_of_ruling(oracle),
    )
    labeled |= {draft.case.id: draft for draft in answers if draft is not None}
    return [labeled[case.id] for case in cases if case.id in labeled]


def divided(drafts: Sequence[LabeledDraft], program: Conscience) -> tuple[list[LabeledDraft], tuple[LabeledDraft, ...]]:
    """The drafts that reach a program's gate, and those that a check or a linter flags before it. From these a gate would
    learn what it never meets, and the aligned ones among them are false alarms whatever its threshold is."""
    flagged = [program.review.without_model(labeled.draft)[0] is not None for labeled in drafts]
    of_both = list(zip(drafts, flagged, strict=True))
    return [draft for draft, it_is in of_both if not it_is], tuple(draft for draft, it_is in of_both if it_is)


def _given(case: Case) -> LabeledDraft:
    draft = Draft.of(case.request, case.response or "", case.reasoning)
    return LabeledDraft(case, draft, case.label == "misaligned", own=False)


class Drafting(Task[Case, LabeledDraft | None]):
    """A draft, the program's own unless the case has one, and the oracle's ruling on it; None where it rules nothing.

    Args:
        program: on the runtime's models.
        oracle: decides in place of each case's own.
    """

    items = CASES
    results = Codec(lambda labeled: labeled and labeled.to_data(), lambda data: data and LabeledDraft.from_data(data))

    def __init__(self, program: Conscience, oracle: Oracle | None) -> None:
        self._program, self._oracle = program, oracle

    async def __call__(self, case: Case) -> LabeledDraft | None:
        return await run_async(self._judged(case))

    def _judged(self, case: Case) -> Flow[LabeledDraft | None]:
        program = self._program
        if case.response is not None:
            draft = Draft.of(case.request, case.response, case.reasoning)
        else:
            model = program.roles.bound("generate", CallContext(UsageTracker(), "generate"))
            draft = yield from program.generate.draft(case_inputs(program, case), model)
        decides = self._oracle or oracle_for(case)
        assert decides is not None  # collect has looked
        ruling: Grade = yield grade(decides, case, draft.response)
        if ruling.acceptable is None:
            return None
        return LabeledDraft(case, draft, not ruling.acceptable, own=case.response is None)

    def to_data(self) -> dict[str, Any]:
        check_outputs(self._program.generate.signature)
        return {"program": program_data(self._program), "oracle": oracle_data(self._oracle)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], shared: Shared) -> Self:
        return cls(shared.open(data["program"]), oracle_on(data["oracle"], shared))
