"""From a flagged draft to the outcome of the call: rounds of revision, until a text passes or none is left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from conscience._base.flow import Flow, StageEnded, StageStarted, run_concurrently
from conscience._calls.call import Call
from conscience.errors import BackendError, BudgetExceeded, ConscienceError, ReviewError
from conscience.modules.review import Review
from conscience.modules.revise import Revise
from conscience.outcome import Draft, Outcome, Revision, Verdict


def revised(
    draft: Draft, verdict: Verdict, call: Call, review: Review, revise: Revise, *, rounds: int, samples: int
) -> Flow[Outcome]:
    """The outcome of a call whose draft is flagged.

    In a round some revisions are drawn: at once where the model bears it, otherwise one after the other. Each is reviewed
    like a draft, in order, and the first to pass ends the call. Where none does, the least doubtful one stands for the
    round, and the next round revises that.

    Args:
        draft: what is flagged.
        verdict: why.
        call: has the models, and keeps what comes of it.
        review: judges the revisions.
        revise: writes them.
        rounds: at most.
        samples: revisions of a round at most.
    """
    drawn = 0
    while len(call.revisions) < rounds:
        flagged: list[Revision] = []
        repeats: list[Revision] = []
        failures: list[ConscienceError] = []
        for wave in _waves(drawn, samples, at_once=call.model("revise").supports("parallel")):
            yield StageStarted("revise")
            texts = yield from run_concurrently([partial(_revision, draft, verdict, call, revise, n) for n in wave])
            for text, failure in texts:
                if failure is not None:
                    failures.append(failure)
                    continue
                yield StageEnded("revise", text)
                if repeat := call.repeat(text, flagged):
                    repeats.append(repeat)
                else:
                    try:
                        new = yield from review.judge(text, call.model("review"))
                    except (ReviewError, BackendError, BudgetExceeded) as error:
                        call.revisions.extend(_best(flagged))
                        return call.unreviewed(error, pending=text)
                    yield StageEnded("review", new)
                    if not new.flagged:
                        call.revisions.append(Revision(text, new))
                        return call.passed(text)
                    flagged.append(Revision(text, new))
        drawn += samples
        if not flagged and not repeats:
            if isinstance(failures[0], BudgetExceeded):
                return call.unreviewed(failures[0])
            return call.unresolved()
        call.revisions.extend(_best(flagged or repeats))
        if flagged:
            draft, verdict, drawn = call.revisions[-1].draft, call.revisions[-1].verdict, 0
    return call.unresolved()


def _waves(start: int, samples: int, *, at_once: bool) -> Sequence[Sequence[int]]:
    """The numbers of a round's revisions: all of them in one wave, or each in one of its own."""
    numbers = range(start, start + samples)
    return [numbers] if at_once else [[number] for number in numbers]


def _revision(
    draft: Draft, verdict: Verdict, call: Call, revise: Revise, number: int
) -> Flow[tuple[Draft, ConscienceError | None]]:
    """One revision; the draft, and why, where there is none: the others of its wave go on."""
    writer = call.model("revise")
    try:
        beginning = {"released": call.released} if call.released else {}
        text = yield from revise.rewrite(draft, verdict, call.constitution, writer, number, **beginning)
    except ConscienceError as error:
        if not isinstance(error, BudgetExceeded):
            writer.note(error.message)
        return draft, error
    return call.drafted(text, writer), None


def _best(revisions: Sequence[Revision]) -> Sequence[Revision]:
    """The least doubtful one; none of none."""
    return sorted(revisions, key=lambda revision: _doubt(revision.verdict))[:1]


def _doubt(verdict: Verdict) -> float:
    return 1.0 if verdict.probability is None else verdict.probability
