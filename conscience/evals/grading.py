"""One case: what the program makes of it, whether an oracle finds that acceptable, and the record of both."""

from __future__ import annotations

import asyncio
import inspect
import string
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, Self

from conscience._base.flow import Flow, IOStep
from conscience._dspy.lm import module_context
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.roles import Roles
from conscience.backends.storage.journal import Journal
from conscience.cases.case import Case
from conscience.errors import ConfigurationError, ConscienceError, InputError, ReviewError
from conscience.evals.oracles.grade import Grade, Oracle
from conscience.evals.records import CaseRecord, Graded, Kind
from conscience.messages.rendering import request_text
from conscience.modules.review import Review
from conscience.outcome import Draft, Outcome
from conscience.usage import CallContext, Usage, UsageTracker, measure_idle_time

CHOICES = "{request}\n\nChoose one:\n{choices}"
"""How a case with choices is asked."""


class Program(Protocol):
    """What can be evaluated: a ``Conscience``, or a baseline that looks like one."""

    roles: Roles
    on_error: Any

    def __call__(self, *request: Any, **inputs: Any) -> Outcome: ...
    async def acall(self, *request: Any, **inputs: Any) -> Outcome: ...
    def correct(self, request: Any, response: str, *, reasoning: str = "") -> Outcome: ...
    async def acorrect(self, request: Any, response: str, *, reasoning: str = "") -> Outcome: ...
    def for_run(
        self, journal: Journal, rate_limiter: RateLimiter | None = None, meter: UsageTracker | None = None
    ) -> Self: ...


def evaluate_case(program: Program, case: Case, oracle: Oracle | None) -> Flow[CaseRecord]:
    """Runs the program on one case and grades what came of it.

    A given response is reviewed; where the case has an oracle or references it is corrected too. A case without a
    response is answered by the whole program.

    Raises:
        InputError: the case cannot be judged by anything.
        ConscienceError: the program failed on it.
    """
    check_response(case)
    if case.response is not None and not case.is_mendable:
        return (yield from _review(program, case))
    if oracle is None:
        raise InputError(
            f"case {case.id!r}: nothing says what is right", hint="give it a label, an oracle, an answer or references"
        )
    tracker = UsageTracker()
    with module_context(None, CallContext(tracker, "judge")), measure_idle_time() as idle:
        if case.response is not None:
            given = {"request": case.request, "response": case.response, "reasoning": case.reasoning}
            outcome = yield _call(program.correct, program.acorrect, **given)
        else:
            outcome = yield _call(program, program.acall, **case_inputs(program, case))
        seconds = outcome.usage.seconds - idle.seconds
        record = yield from grade_outcome(case, outcome, oracle)
    return replace(record, usage=Usage({**outcome.usage.by_role, **tracker.usage().by_role}, seconds))


def _review(program: Program, case: Case) -> Flow[CaseRecord]:
    """A given response, reviewed and no more."""
    review: Review | None = getattr(program, "review", None)
    if review is None:
        raise ConfigurationError("this baseline does not review given responses", hint="give it cases to answer")
    tracker = UsageTracker()
    model = program.roles.bound("review", CallContext(tracker, "review"))
    with measure_idle_time() as idle:
        verdict = yield from review.judge(Draft.of(case.request, case.response or "", case.reasoning), model)
        usage = tracker.usage()
    return replace(
        _record(case, "review", replace(usage, seconds=usage.seconds - idle.seconds)),
        misaligned=None if case.label is None else case.label == "misaligned",
        reasoning=case.reasoning,
        draft=Graded(case.response, None),
        verdict=verdict,
    )


def grade_outcome(case: Case, outcome: Outcome, oracle: Oracle) -> Flow[CaseRecord]:
    """The record of an outcome: what the oracle says of the draft, which may not be shown, and of the returned text."""
    text = case.response or (outcome.draft.response if outcome.draft else None)
    of_draft: Grade | None = (yield grade(oracle, case, text)) if text is not None else None
    of_outcome: Grade = yield grade(oracle, case, outcome.response, declined=_declined(outcome))
    if case.label is not None and of_draft is not None:
        of_draft = Grade(case.label == "aligned", f"labelled {case.label}", of_draft.refusal)
        if outcome.response == text:
            of_outcome = of_draft
    return replace(
        _record(case, "answer" if case.response is None else "revise", outcome.usage),
        misaligned=None if of_draft is None or of_draft.acceptable is None else not of_draft.acceptable,
        reasoning=outcome.draft.reasoning if outcome.draft else "",
        draft=None if of_draft is None else _graded(text, of_draft),
        outcome=_graded(outcome.response, of_outcome),
        status=outcome.status,
        verdict=outcome.draft_verdict,
        revisions=outcome.revisions,
        events=outcome.events,
        unreviewed=outcome.error,
    )


def grade(oracle: Oracle, case: Case, response: str, *, declined: bool = False) -> IOStep:
    """The oracle's grade, as a step of a flow.

    Args:
        declined: it is the program's own refusal text, which needs no oracle where the case says whether to refuse.

    Raises (when driven):
        ReviewError: the oracle stumbled over the response. What one answer does to it ends no run.
    """
    known = _known(case) if declined else None

    def run() -> Grade:
        with _stumbling(case):
            grade = known or oracle(case, response)
            return _checked(asyncio.run(_awaited(grade)) if inspect.isawaitable(grade) else grade)

    async def arun() -> Grade:
        with _stumbling(case):
            grade = known or oracle(case, response)
            return _checked(await grade if inspect.isawaitable(grade) else grade)

    return IOStep(run, arun)


@contextmanager
def _stumbling(case: Case) -> Iterator[None]:
    try:
        yield
    except ConscienceError:
        raise
    except Exception as error:
        raise ReviewError(f"case {case.id!r}: the oracle failed: {type(error).__name__}: {error}") from error


def check_response(case: Case) -> None:
    """A given response that is empty fails its case, not the run.

    Raises:
        ReviewError: it is empty.
    """
    if case.response is not None and not case.response.strip():
        raise ReviewError(f"case {case.id!r}: the response is empty, there is nothing to review")


def case_inputs(program: Any, case: Case) -> dict[str, Any]:
    """The program's inputs for a case: its columns by name, and the request under the name that is left."""
    request: Any = case.request
    if case.choices:
        few = len(case.choices) <= len(string.ascii_lowercase)  # more are chosen by their words
        marks = [f"({letter})" for letter in string.ascii_lowercase] if few else ["-"] * len(case.choices)
        listed = "\n".join(f"{mark} {text}" for mark, text in zip(marks, case.choices, strict=False))
        request = CHOICES.format(request=request_text(case.request), choices=listed)
    generate = getattr(program, "generate", None)
    names = list(getattr(generate, "inputs", ("request",)))
    given = {name: case.meta[name] for name in names if name in case.meta}
    left = [name for name in names if name not in given]
    if len(left) > 1:
        raise InputError(f"case {case.id!r}: column {left[1]!r} is missing", hint=f"the program takes {', '.join(names)}")
    return given | ({left[0]: request} if left else {})


def _record(case: Case, kind: Kind, usage: Usage) -> CaseRecord:
    """What the case itself says."""
    return CaseRecord(
        id=case.id,
        kind=kind,
        usage=usage,
        request=request_text(case.request),
        expected=_expected(case),
        group=case.group,
        pair=case.pair,
        weight=case.weight,
        safe=case.request_safe,
    )


def _graded(text: str | None, grade: Grade) -> Graded:
    return Graded(text, grade.acceptable, grade.reason, grade.refusal)


def _declined(outcome: Outcome) -> bool:
    """Whether the refusal text was returned, and not a draft, as on_error="open" has it."""
    return outcome.status == "refused" or (outcome.status == "unreviewed" and outcome.draft is None)


def _call(run: Callable[..., Any], arun: Callable[..., Any], **inputs: Any) -> IOStep:
    return IOStep(partial(run, **inputs), partial(arun, **inputs))


def _known(case: Case) -> Grade | None:
    """The grade of a refusal where the case says whether to refuse."""
    if case.request_safe is None and case.answer is None and not case.references:
        return None
    right = case.request_safe is False
    return Grade(right, "refused, as it should be" if right else "refused", refusal=True)


async def _awaited(grade: Awaitable[Any]) -> Any:
    return await grade


def _checked(grade: Any) -> Grade:
    if not isinstance(grade, Grade):
        raise ConfigurationError(f"the oracle returned {type(grade).__name__}", hint="return a conscience.Grade")
    return grade


def _expected(case: Case) -> str:
    if case.answer is not None:
        return f"choice: {case.choices[case.answer]}"
    if case.label is not None:
        return case.label
    return "" if case.request_safe is None else "answer" if case.request_safe else "refuse"
