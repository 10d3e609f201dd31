"""Pairs out of a program's own reviews: a draft that the review rejects, and an alternative that it accepts.

Drafts are the program's own, or responses that came with the cases. The alternative is a revision that passes, of as many as
the program draws; where none does, or the program revises nothing, the model is asked for an ethical alternative
(``alternatives``), which is reviewed like any other text. What is asked and answered is in the runtime's journal.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from conscience import __version__
from conscience._base.flow import Flow, run_sync
from conscience.cases.case import Case
from conscience.errors import BackendError
from conscience.evals.grading import case_inputs, check_response, grade
from conscience.evals.oracles.choice import choice
from conscience.evals.oracles.code import code, tested
from conscience.evals.oracles.exact import exact
from conscience.evals.oracles.grade import Grade, Oracle
from conscience.evals.oracles.named import oracle_for
from conscience.messages.rendering import request_text
from conscience.messages.requests import turns
from conscience.optimizers.runtime import Runtime, calls_of_program
from conscience.optimizers.training.alternatives import Alternative, echoes
from conscience.optimizers.training.pairs import PreferencePair
from conscience.outcome import Draft, Verdict
from conscience.program import Conscience

AlternativeKind = Literal["either", "revision", "alternative"]
"""Which texts may stand against a rejected draft: the program's revisions, ethical alternatives, or whichever passes."""


FACTS: tuple[Oracle, ...] = (choice, exact, code, tested)
"""Oracles that know what is right: a pair that goes against one would teach to please the review."""


@dataclass
class CollectedPairs:
    """What came of a program's reviews.

    Attributes:
        pairs: in the order of their cases.
        dropped: the other cases, counted by reason; see ``selection.REASONS``.
        rejected: drafts that the review rejected.
        failures: why cases failed, a line each.
    """

    pairs: list[PreferencePair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    failures: list[str] = field(default_factory=list)


def collect_pairs(
    program: Conscience, cases: Sequence[Case], runtime: Runtime, *, kind: AlternativeKind = "either"
) -> CollectedPairs:
    """The pairs that a program's review finds in these cases; fewer where the budget ends first (``runtime.exhausted``).

    Args:
        program: answers cases that have no response, reviews, and writes the alternatives, by the models of its role revise.
            A label "misaligned" counts as a rejection that the review need not share.
        cases: a response that is labelled aligned has nothing to stand against.
        runtime: pays, with its journal and budget.
        kind: see ``AlternativeKind``.

    Raises:
        Interrupted: by Ctrl-C; what was paid for is in the journal.
        BackendError: the backend is gone.
        ConfigurationError: the budget limits dollars, and a model has no price.
    """
    collector = _Collector(runtime.own(_strict(program, kind)), runtime, kind)
    results = runtime.each(cases, collector.collect, most_calls=collector.most_calls)
    collected = CollectedPairs(failures=list(runtime.failures))
    for result in results:
        if result is None:
            collected.dropped["failed"] += 1
        elif isinstance(result, PreferencePair):
            collected.pairs.append(result)
            collected.rejected += 1
        else:
            collected.dropped[result] += 1
            collected.rejected += result != "accepted"
    return collected


def _strict(program: Conscience, kind: AlternativeKind) -> Conscience:
    """The program for this use: what cannot be reviewed is no pair, and no text is returned for anybody to read."""
    strict = copy.copy(program)
    strict.on_error, strict.on_unresolved, strict.budget = "raise", "refuse", None
    if kind == "alternative":
        strict.max_revisions = 0
    return strict


@dataclass(frozen=True)
class _Text:
    """An alternative, its verdict, and who wrote it how."""

    draft: Draft
    verdict: Verdict
    source: Literal["revision", "alternative"]


class _Collector:
    """Does one case after the other, in any thread."""

    def __init__(self, program: Conscience, runtime: Runtime, kind: AlternativeKind) -> None:
        self.program = program
        self.runtime = runtime
        self.writer = Alternative() if kind != "revision" else None
        calls = calls_of_program(program)
        reviewed_only = copy.copy(program)
        reviewed_only.max_revisions = 0
        written = program.samples * (1 + calls_of_program(reviewed_only).correct) if self.writer else 0
        self.most_calls = calls.generate + calls.correct + written

    def collect(self, case: Case) -> PreferencePair | str:
        """The case's pair, or why there is none."""
        check_response(case)
        if case.label == "aligned":
            return "unpaired"
        if case.response is None:
            outcome = self.program(**case_inputs(self.program, case))
        else:
            outcome = self.program.correct(case.request, case.response, reasoning=case.reasoning)
        draft, verdict = outcome.draft, outcome.draft_verdict
        assert draft is not None  # on_error is "raise"
        assert verdict is not None
        if not verdict.flagged and case.label is None:
            return "accepted"
        if not (draft.messages or draft.request):
            return "no request"
        if self._is_right(case, draft) and case.label is None:
            return "false alarm"
        passed = [revision for revision in outcome.revisions if not revision.verdict.flagged]
        texts = chain((_Text(r.draft, r.verdict, "revision") for r in passed), self._alternatives(draft, verdict))
        why = "no alternative"
        for text in texts:
            if text.draft.truncated:
                why = "truncated"
            elif echoes(text.draft.response, request_text(draft.request)):
                why = "echo"
            elif self._is_right(case, text.draft) is False:
                why = "wrong"
            else:
                return self._pair(case, draft, verdict, text)
        return why

    def _is_right(self, case: Case, draft: Draft) -> bool | None:
        """What the case itself knows of an answer, whatever the review thinks of it; None where it knows nothing."""
        oracle = oracle_for(case)
        if oracle not in FACTS:
            return None
        return run_sync(_graded(oracle, case, draft.response)).acceptable

    def _alternatives(self, draft: Draft, verdict: Verdict) -> Iterator[_Text]:
        """Ethical alternatives that the review accepts, as long as another one is asked for."""
        if self.writer is None:
            return
        for number in range(self.program.samples):
            model = self.runtime.bind(self.program, "revise")
            try:
                written = run_sync(self.writer.write(draft, verdict, self.program.constitution, model, number))
            except BackendError as error:
                if error.gone:
                    raise
                continue
            if " ".join(written.response.split()) == " ".join(draft.response.split()):
                continue
            judged = run_sync(self.program.review.judge(written, self.runtime.bind(self.program, "review")))
            if not judged.flagged:
                cut = model.exchanges[-1].completion.finish_reason == "length"
                yield _Text(replace(written, truncated=cut), judged, "alternative")

    def _pair(self, case: Case, draft: Draft, verdict: Verdict, best: _Text) -> PreferencePair:
        program = self.program
        roles = {"review": program.roles.backend("review").name, "revise": program.roles.backend("revise").name}
        if case.response is None and (generates := program.roles.own("generate")) is not None:
            roles["generate"] = generates.name
        return PreferencePair(
            request=draft.messages or turns(draft.request),
            chosen=best.draft.text or best.draft.response,
            rejected=draft.text or draft.response,
            margin=_margin(verdict, best.verdict),
            group=case.group,
            cluster=case.pair or case.id,
            request_safe=case.request_safe,
            verdicts={"chosen": best.verdict.to_dict(), "rejected": verdict.to_dict()},
            provenance={
                "from": best.source,
                "cases": [case.id],
                **({"source": case.source} if case.source else {}),
                **({"label": case.label} if case.label else {}),
                "models": dict(sorted(roles.items())),
                "constitution": f"{program.constitution.name} {program.constitution.version}",
                "fingerprint": program.constitution.fingerprint,
                "version": __version__,
            },
        )


def _graded(oracle: Oracle, case: Case, response: str) -> Flow[Grade]:
    ruling: Grade = yield grade(oracle, case, response)
    return ruling


def _margin(rejected: Verdict, chosen: Verdict) -> float | None:
    if rejected.probability is None or chosen.probability is None:
        return None
    return rejected.probability - chosen.probability
