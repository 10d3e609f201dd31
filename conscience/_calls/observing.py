"""A call under the eyes of whoever watches: its spans, its line in the log, the hooks; and calls that are only observed.

None of it can fail an answer, and where nobody watches it costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from conscience._base.flow import Flow, IOStep, StageEnded, StageStarted, run_sync
from conscience._calls.call import Call, response_of
from conscience._dspy.lm import settings
from conscience._dspy.streams import SILENT
from conscience.errors import BackendError, BudgetExceeded, ConfigurationError, ConscienceError, ReviewError, UnresolvedError
from conscience.observability import telemetry
from conscience.observability.background import Background
from conscience.observability.context import request_id
from conscience.observability.hooks import run_hooks
from conscience.observability.record import LoggedStatus, VerdictRecord
from conscience.observability.telemetry import CallSpans
from conscience.outcome import Draft, Outcome, Verdict

logger = logging.getLogger("conscience")

REVIEWS_AT_ONCE = 16
"""Threads that review observed answers: they mostly wait for a model."""


def watched(call: Call, flow: Flow[Outcome], *, behind: bool = False) -> Flow[Outcome]:
    """A call's flow, which leaves its traces however it ends.

    Args:
        behind: whether this is the review of an answer that its caller has already.
    """
    if not (call.log or call.hooks or telemetry.is_used() or logger.isEnabledFor(logging.INFO)):
        try:
            return (yield from flow)
        except ConscienceError as error:
            call.failed(error)
            raise
    token = None if request_id.get() else request_id.set(call.id)
    spans = _spans(call, behind) if telemetry.is_used() else None
    try:
        outcome = yield from (flow if spans is None else _staged(flow, spans))
    except GeneratorExit:
        _ended(call, None, None, spans, behind)
        raise
    except ConscienceError as error:
        call.failed(error)
        _ended(call, None, error, spans, behind)
        raise
    except Exception as error:
        _ended(call, None, error, spans, behind)
        raise
    else:
        _ended(call, outcome, None, spans, behind)
        return outcome
    finally:
        if token is not None:
            try:
                request_id.reset(token)
            except ValueError:  # the flow was closed from elsewhere
                pass


def _spans(call: Call, behind: bool) -> CallSpans | None:
    mode = "observe" if call.observe else "enforce"
    about = {"program": call.program, "id": call.id, "tenant": call.tenant, "mode": mode}
    with _contained("OpenTelemetry"):
        return CallSpans(call.tracker, call.roles, **about, behind=behind)
    return None


@contextmanager
def _contained(what: str) -> Iterator[None]:
    """Whatever fails in here stays here, since no answer may fail of it: disks, exporters, handlers. Its words may hold
    texts, so only its type is said."""
    try:
        yield
    except Exception as error:
        logger.error("%s: %s", what, type(error).__name__)


def _staged(flow: Flow[Outcome], spans: CallSpans) -> Flow[Outcome]:
    """The flow, with a span for each stage that it begins."""
    try:
        step = next(flow)
        while True:
            with _contained("OpenTelemetry"):
                if isinstance(step, StageStarted):
                    spans.stage(step.name)
                elif isinstance(step, StageEnded):
                    spans.end_stage()
            try:
                value = yield step
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        flow.close()


def _ended(call: Call, outcome: Outcome | None, error: Exception | None, spans: CallSpans | None, behind: bool) -> None:
    """Tells everybody how a call has ended."""
    judged = outcome is None or outcome.status != "observed"
    if spans is not None:
        with _contained("OpenTelemetry"):
            shown = None if outcome is None or behind else outcome
            request = call.draft.request if call.draft else None
            spans.end(record_of(call, outcome, error), shown, request, error, judged=judged)
    if not judged:
        return
    with _contained("the log of a call"):
        _log(call, outcome, error)
    if outcome is not None and call.hooks:
        with _contained("on_outcome"):
            run_hooks(call.hooks, outcome, call.loop)


def _log(call: Call, outcome: Outcome | None, error: Exception | None) -> None:
    says_so = logger.isEnabledFor(logging.INFO)
    if call.log is None and not says_so:
        return
    record = record_of(call, outcome, error)
    if call.log is not None:
        call.log.add(record if call.log.texts else record.without_texts())
    if says_so:
        probability = "none" if record.probability is None else f"{record.probability:.3f}"
        logger.info(
            "request %s: %s (%s), probability %s, %d calls, %.3f s%s",
            *(record.id, record.status, record.mode, probability, record.calls, record.seconds),
            f": {record.error}" if record.error else "",
        )


def record_of(call: Call, outcome: Outcome | None, error: Exception | None = None) -> VerdictRecord:
    """What the log holds of a call that has ended.

    Args:
        outcome: the one that it had, or would have had where it was only observed; None where it has none.
        error: what it raised; None as well where its caller went away.
    """
    verdict = call.verdict or Verdict.unreviewed(threshold=call.threshold)
    usage = call.tracker.usage() if outcome is None else outcome.usage
    total = usage.total
    draft = call.draft
    returned = response_of(draft) if draft is not None and call.observe else None if outcome is None else outcome.response
    return VerdictRecord(
        at=datetime.fromtimestamp(call.began, UTC).isoformat(timespec="milliseconds"),
        id=call.id,
        tenant=call.tenant,
        program=call.program,
        backend=_reviewer(call),
        mode="observe" if call.observe else "enforce",
        status=_status(call, outcome, error),
        flagged=verdict.flagged,
        probability=verdict.probability,
        threshold=verdict.threshold,
        gated=verdict.gated,
        method=verdict.method,
        signals=verdict.signals,
        principles=tuple(dict.fromkeys(finding.principle for finding in verdict.findings)),
        revisions=len(call.revisions),
        calls=total.calls,
        tokens=total.tokens,
        seconds=round(usage.seconds, 6),
        dollars=total.dollars,
        error=_reason(outcome, error),
        request=None if draft is None else draft.request if isinstance(draft.request, str) else tuple(draft.request),
        response=returned,
        draft=None if draft is None else draft.response,
    )


def _status(call: Call, outcome: Outcome | None, error: Exception | None) -> LoggedStatus:
    """A verdict is never told as an outage, nor an outage as a verdict, also where the policy is to raise."""
    if outcome is not None:
        return "unreviewed" if outcome.status == "observed" else outcome.status
    if isinstance(error, UnresolvedError):
        return "refused"
    if call.draft is not None and isinstance(error, ReviewError | BackendError | BudgetExceeded):
        return "unreviewed"
    return "failed"


def _reason(outcome: Outcome | None, error: Exception | None) -> str:
    """Why there is no verdict; of an error that is not ours only the type, since its words may be anything."""
    if outcome is not None:
        return outcome.error
    if error is None:
        return "the caller went away"
    return error.message if isinstance(error, ConscienceError) else type(error).__name__


def _reviewer(call: Call) -> str:
    try:
        return call.roles.backend("review").name
    except ConfigurationError:
        return ""


# Observed, not enforced -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Review:
    """The review of an answer that its caller has already.

    Attributes:
        call: whose answer.
        finish: from its draft to the outcome that it would have had.
        context: that of the call.
        waiting: the time that this waits for its turn, which is no part of what the call takes.
    """

    call: Call
    finish: Callable[[], Flow[Outcome]]
    context: Context
    waiting: AbstractContextManager[None]

    def run(self) -> None:
        self.waiting.__exit__(None, None, None)
        try:
            with settings.context(trace=None, usage_tracker=None, **SILENT):
                run_sync(watched(self.call, self.finish(), behind=True))
        except ConscienceError:
            pass  # as the policy "raise" has it; it is logged

    def dropped(self) -> None:
        """There is no room for it: the log says so."""
        waiting = ReviewError("not reviewed: too many observed answers wait for their review")
        _ended(self.call, None, waiting, None, behind=True)


def _review_all(reviews: Sequence[_Review]) -> None:
    for review in reviews:
        review.context.run(review.run)


_reviews: Background[_Review] = Background(_review_all, name="conscience-observe", threads=REVIEWS_AT_ONCE)


async def _put_soon(put: Callable[[], bool]) -> bool:
    """Tries again until there is room. A thread that waits for it would be missing to what reviews: of the loop's few."""
    while not put():  # noqa: ASYNC110 - what makes room is a thread, which sets no event of this loop
        await asyncio.sleep(0.01)
    return True


def observed(call: Call, draft: Draft, finish: Callable[[], Flow[Outcome]]) -> Flow[Outcome]:
    """The outcome of a call that is only observed: its draft as it is. The review is done behind it, in a thread of its own,
    and written down as if it had counted.

    Args:
        finish: from the draft to the outcome that the call would have had.
    """
    outcome = call.ended("observed", draft, verdict=Verdict.unreviewed("the program observes", threshold=call.threshold))
    how = call.observe
    if how is None or not how.reviews(call.given_id):
        return outcome
    try:
        call.loop = asyncio.get_running_loop()
    except RuntimeError:
        pass
    waiting = call.tracker.paused.counting()
    waiting.__enter__()
    review = _Review(call, finish, copy_context(), waiting)
    queued = _reviews.put(review, most=how.backlog)
    if not queued and how.when_full == "wait":
        put = partial(_reviews.put, review, most=how.backlog)
        queued = yield IOStep(partial(put, wait=True), partial(_put_soon, put))
    if not queued:
        review.dropped()
    return outcome
