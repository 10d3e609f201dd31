"""Conscience: generate, review, revise as one program. The loop is written once and driven sync, async or streaming."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, get_args

import dspy

from conscience._base.attributes import Checked
from conscience._base.copies import StateCopied
from conscience._base.flow import Flow, StageEnded, StageStarted, run_async, run_sync
from conscience._calls.call import Call
from conscience._calls.models import check_models, warm
from conscience._calls.observing import observed, watched
from conscience._calls.rounds import revised
from conscience._dspy.lm import settings
from conscience._dspy.streams import Listened, ReviewedStream, listened, looking_for, silent
from conscience._types import (
    ConstitutionSpec,
    GenerateSpec,
    OnError,
    OnUnresolved,
    PolicyArgs,
    RefusalSpec,
    ReleaseMode,
    RolesSpec,
)
from conscience.artifacts.io import open_program, to_artifact
from conscience.artifacts.loading import Load
from conscience.artifacts.schema import Provenance
from conscience.backends.backend import Backend
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.roles import Roles
from conscience.backends.storage.journal import Journal
from conscience.constitution.schema import Constitution
from conscience.errors import (
    BackendError,
    BudgetExceeded,
    ConfigurationError,
    ReviewError,
)
from conscience.gate.settings import GateSettings
from conscience.messages.rendering import Request
from conscience.modules.generate import Generate
from conscience.modules.given import given_draft
from conscience.modules.refusal import check_refusal
from conscience.modules.review import Review
from conscience.modules.revise import Revise
from conscience.observability.context import call_mode, request_id, tenant
from conscience.observability.hooks import OutcomeHook, hooks_of
from conscience.observability.log import LogSpec, VerdictLog
from conscience.observability.mode import ModeSpec, check_mode, observation
from conscience.outcome import Draft, Outcome
from conscience.streaming.events import ProgramStream
from conscience.streaming.release import Emit, windowed
from conscience.usage import Budget, Role, UsageTracker


class Conscience(StateCopied, dspy.Module):  # type: ignore[misc]
    """A program that answers, reviews its own answer, and corrects it before anyone sees it.

    It stands where a plain DSPy module stood: ``dspy.ChainOfThought("question -> answer")`` becomes
    ``Conscience("question -> answer")``. A call returns an ``Outcome`` with the signature's fields.

    Args:
        generate: a DSPy signature (string or class), any ``dspy.Module``, or a plain callable.
        constitution: a built-in name (general, medical, code, hiring), a file, a mapping or a Constitution.
        lm: a LiteLLM model string, ``"local"``, a ``dspy.LM``, a Backend, a list of these (fallbacks in order), or a mapping
            from role to any of them; by default the LM configured in DSPy.
        review: a Review of your own, or the GateSettings of a calibrated gate.
        revise: a Revise of your own.
        max_revisions: how often a flagged draft may be revised; 0 refuses at once.
        samples: how many revisions are drawn each time, of which the review lets the first pass that it has nothing against.
        threshold: the probability from which the gate flags, 0 to 1; by default the gate's own.
        on_unresolved: still flagged after the last revision: "refuse", "best" (the least doubtful text, with the status
            ``unresolved``) or "raise".
        on_error: the review failed: "closed" (refusal text, draft not shown), "open" (the draft, marked, unless the gate
            flagged it) or "raise".
        refusal: what is said in place of an answer: a text, a mapping by output field, or a function of the outcome that
            returns either; by default the constitution's text, in the request's language where it has one. A text goes into
            the one field that is prose by type and name, and into ``outcome.response``; the other fields are None.
        budget: what one call may spend: a Budget or a mapping with calls, tokens, seconds, dollars.
        mode: "enforce", or "observe": the draft is returned as it is, with the status ``observed``, and its review comes
            behind it, into the log and the hooks. An Observe observes a share of the calls.
        log: a VerdictLog, or its path: a line for each call.
        on_outcome: a function, or several, sync or async, that is told each outcome; of an observed call the outcome that
            it would have had.
        name: of the program, in logs and spans.

    Raises:
        ConfigurationError: an argument is not one of the above.
        ConstitutionError: the constitution cannot be read.
    """

    def __init__(
        self,
        generate: GenerateSpec = "request -> response",
        *,
        constitution: ConstitutionSpec | None = None,
        lm: RolesSpec | None = None,
        review: Review | GateSettings | None = None,
        revise: Revise | None = None,
        max_revisions: int = 1,
        samples: int = 1,
        threshold: float | None = None,
        on_unresolved: OnUnresolved = "refuse",
        on_error: OnError = "closed",
        refusal: RefusalSpec | None = None,
        budget: Budget | Mapping[str, float] | None = None,
        mode: ModeSpec = "enforce",
        log: LogSpec | None = None,
        on_outcome: OutcomeHook | Sequence[OutcomeHook] | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        _check_choice("on_unresolved", on_unresolved, get_args(OnUnresolved))
        _check_choice("on_error", on_error, get_args(OnError))
        for option, value, least in (("max_revisions", max_revisions, 0), ("samples", samples, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigurationError(f"{option}={value!r} is not a whole number of {least} or more")
        self.roles = Roles.of(lm)
        self.generate = generate if isinstance(generate, Generate) else Generate(generate)
        if isinstance(review, Review):
            if constitution is not None and Constitution.load(constitution) != review.constitution:
                raise ConfigurationError("constitution= and review= disagree", hint="give the constitution to the Review")
            if threshold is not None:
                raise ConfigurationError("threshold= and review= disagree", hint="give the threshold to the Review")
            self.review = review
        else:
            self.review = Review(constitution, settings=review, threshold=threshold, lm=self.roles)
        self.revise = revise or Revise()
        check_refusal(refusal, self.generate.signature)
        self.max_revisions = max_revisions
        self.samples = samples
        self.chosen_threshold = threshold
        self.on_unresolved: OnUnresolved = on_unresolved
        self.on_error: OnError = on_error
        self.refusal = refusal
        self.budget = Budget.of(budget)
        self.mode = mode
        self.log = log
        self.on_outcome = on_outcome
        self.name = name
        self.calibrations: tuple[GateSettings, ...] = ()
        self.provenance: Provenance | None = None

    if TYPE_CHECKING:  # DSPy's own methods, which lead to ``forward`` and ``aforward``, with the types of those

        def __call__(self, *request: Any, **inputs: Any) -> Outcome: ...
        async def acall(self, *request: Any, **inputs: Any) -> Outcome: ...

    load = Load()
    mode = Checked(check_mode)
    log = Checked(VerdictLog.of)
    on_outcome = Checked(hooks_of)

    def save(self, path: str | Path) -> None:
        """Writes the program as one JSON file: constitution, gate, prompts, demos, policy; neither models nor keys.

        ``Conscience.load(path, lm=…)`` opens it again; ``program.load(path)`` loads it into a program. A ``refusal=`` that
        is a mapping or a function stays with the process.

        Raises:
            ArtifactError: the file cannot be written.
        """
        to_artifact(self).write(path)

    @property
    def constitution(self) -> Constitution:
        """What answers are judged by; see ``set_constitution``."""
        return self.review.constitution

    @property
    def gate_settings(self) -> GateSettings:
        """What a compiler may change about the gate; see ``with_gate``."""
        return self.review.gate_settings

    @property
    def threshold(self) -> float:
        """The probability from which the gate flags."""
        return self.gate_settings.threshold

    def with_gate(self, settings: GateSettings) -> Self:
        """A copy of the program with another gate."""
        changed = copy.deepcopy(self)
        changed.review.gate_settings = settings
        return changed

    def set_constitution(self, constitution: Constitution) -> None:
        """Judges by another constitution from now on."""
        self.review.set_constitution(constitution)

    def forward(self, *request: Any, **inputs: Any) -> Outcome:
        """Answers a request. See ``acall`` for the async form and ``stream`` for the streaming one.

        Each error carries ``verdict``, ``usage`` and ``events``, and no draft.

        Raises:
            InputError: the request is empty or holds what no provider can receive.
            ConfigurationError: no model, no key, a missing extra.
            BackendError: generation failed after retries and fallbacks.
            UnresolvedError, ReviewError, BudgetExceeded: where the policy is "raise".
        """
        return self._run(self._answer(self._inputs(request, inputs)))

    async def aforward(self, *request: Any, **inputs: Any) -> Outcome:
        """The async form of ``forward``."""
        return await self._arun(self._answer(self._inputs(request, inputs)))

    def correct(
        self, request: Request | Mapping[str, Any], response: str | Mapping[str, Any], *, reasoning: str = ""
    ) -> Outcome:
        """Reviews an answer from anywhere as if the program had drafted it, and revises it where it must be.

        Whoever wrote it is not asked: the program needs a model that reviews and, where it comes to that, revises.

        Args:
            request: what was asked: a text, chat messages, or a mapping with the inputs of the signature (a question and the
                documents that were retrieved for it); may be empty.
            response: the answer: a text, which takes the place of the signature's last text field, or a mapping of output
                fields, every one of which is reviewed and keeps its name and type in a revision.
            reasoning: the reasoning that led to it, reviewed with it.

        Raises:
            InputError: the response is empty, or a text holds what no provider can receive.
        """
        return self._run(self._correct(partial(given_draft, self.generate, request, response, reasoning)))

    async def acorrect(
        self, request: Request | Mapping[str, Any], response: str | Mapping[str, Any], *, reasoning: str = ""
    ) -> Outcome:
        """The async form of ``correct``."""
        return await self._arun(self._correct(partial(given_draft, self.generate, request, response, reasoning)))

    def correct_draft(self, draft: Draft) -> Outcome:
        """``correct`` for a draft that says more than texts do: the messages that led to it, its form, its limits."""
        return self._run(self._correct(lambda: draft))

    async def acorrect_draft(self, draft: Draft) -> Outcome:
        """The async form of ``correct_draft``."""
        return await self._arun(self._correct(lambda: draft))

    def stream(self, *request: Any, release: ReleaseMode = "hold", **inputs: Any) -> ProgramStream:
        """Streams a call: a StageStarted when each begins, the reviewed text in pieces, then the Outcome; for ``async for``
        or a plain ``for``. No word leaves before it is reviewed: the pieces together are the text that the outcome holds.

        Args:
            release: "hold" releases the text when all of it is reviewed; "window", about sentence by sentence while it is
                generated, each reviewed with all before it. What was released then stays: where what follows is flagged,
                that is revised. Answers that are not one plain text are held all the same, as an event says.

        Raises:
            ConscienceError: while it is read, as a call does; also after some of the text was released.
        """
        _check_choice("release", release, get_args(ReleaseMode))

        def flow(emit: Emit) -> Flow[Outcome]:
            return self._answer(self._inputs(request, inputs), emit if release == "window" else None)

        return ProgramStream(flow, lambda: silent(ReviewedStream(self._is_ours)))

    def warm(self) -> None:
        """Does ahead, for every role, what the first call would have to wait for: starts the embedded engine, imports
        LiteLLM where it is needed. Nothing is sent to a model. From any thread, and again, where it costs nothing.

        Raises:
            ConfigurationError, BackendError: a model that cannot answer, such as one without a key.
        """
        warm(self)

    async def awarm(self) -> None:
        """The async form of ``warm``; the event loop goes on meanwhile."""
        await asyncio.to_thread(self.warm)

    def named_parameters(self) -> list[tuple[str, Any]]:
        """As any DSPy module's; where ``dspy.streamify`` looks for who writes a field, the program writes it."""
        wanted, found = looking_for(), super().named_parameters()
        if not wanted:
            return found  # type: ignore[no-any-return]
        return list(listened(self, [(name, part) for name, part in found if isinstance(part, dspy.Predict)], wanted))

    def set_lm(self, lm: RolesSpec | None) -> None:
        """Sets the model of every role, and that of every predictor: some of DSPy's optimizers want each to have one."""
        self.roles = Roles.of(lm)
        self.review.set_lm(self.roles)
        for role in _PARTS:
            for predictor in getattr(self, role).predictors():
                predictor.lm = (self.roles.writer(role) or self.roles.backend(role)).lm

    def for_run(self, journal: Journal, rate_limiter: RateLimiter | None = None, meter: UsageTracker | None = None) -> Self:
        """A copy for one run: every model of it keeps the run's journal and rate, and spends on its meter. It enforces, and
        neither logs nor tells its outcomes: what a run asks is no traffic."""
        program = copy.deepcopy(self)
        program.mode, program.log, program.on_outcome = "enforce", None, ()
        program.roles = self.roles.for_run(journal, rate_limiter, meter)
        program.review.set_lm(program.roles)
        for _, part in program.named_sub_modules():  # those that an optimizer has frozen too, which ``predictors`` passes by
            if isinstance(part, dspy.Predict) and part.lm is not None:
                part.lm = Backend.of(part.lm).for_run(journal, rate_limiter, meter).lm
        return program

    def get_lm(self) -> Any:
        """The LM that generates."""
        return self.roles.backend("generate").lm

    def _inputs(self, request: tuple[Any, ...], inputs: dict[str, Any]) -> dict[str, Any]:
        return self.generate.named(request, inputs)

    def _run(self, flow: Flow[Outcome]) -> Outcome:
        """Drives a call; where it is streamed by DSPy, what it returns is sent, and nothing of what led there."""
        stream = ReviewedStream(self._is_ours)
        with silent(stream):
            outcome = run_sync(flow)
        stream.send(dict(outcome.items()), self._model_name)
        return outcome

    async def _arun(self, flow: Flow[Outcome]) -> Outcome:
        stream = ReviewedStream(self._is_ours)
        with silent(stream):
            outcome = await run_async(flow)
        await stream.asend(dict(outcome.items()), self._model_name)
        return outcome

    def _is_ours(self, predictor: Any) -> bool:
        """Whether what this predictor writes comes out of this program."""
        if settings.caller_modules and settings.caller_modules[0] is self:
            return True
        inside = any(predictor is part for _, part in self.named_sub_modules())
        return inside or (isinstance(predictor, Listened) and predictor.program is self)

    @property
    def _model_name(self) -> str:
        backend = self.roles.own("generate")
        return backend.name if backend is not None else str(getattr(settings.lm, "model", ""))

    def _begin(self) -> Call:
        """The state of a new call, which is refused where its models cannot serve it or its budget would not hold."""
        check_models(self)
        return Call(
            tracker=UsageTracker(self.budget),
            roles=self.roles,
            constitution=self.constitution,
            refusal=self.refusal,
            threshold=self.threshold,
            signature=self.generate.signature,
            on_unresolved=self.on_unresolved,
            on_error=self.on_error,
            program=self.name,
            given_id=request_id.get(),
            tenant=tenant.get(),
            observe=observation(call_mode.get() or self.mode, request_id.get()),
            log=self.log,
            hooks=self.on_outcome,
        )

    def _answer(self, inputs: Mapping[str, Any], emit: Emit | None = None) -> Flow[Outcome]:
        """The outcome of a call; ``emit`` is given what of its text can be released before."""
        call = self._begin()
        return (yield from watched(call, self._generate_and_review(inputs, call, emit)))

    def _generate_and_review(self, inputs: Mapping[str, Any], call: Call, emit: Emit | None) -> Flow[Outcome]:
        writer = call.generator(self.generate.brings_its_model)
        yield StageStarted("generate")
        try:
            if emit is None:
                draft = yield from self.generate.draft(inputs, writer)
            else:
                draft, call.verdict = yield from windowed(self.generate, self.review, inputs, call, writer, emit)
        except BudgetExceeded as error:
            return call.unreviewed(error)
        call.draft = call.drafted(draft, writer)
        yield StageEnded("generate", call.draft)
        return (yield from self._enforce_or_observe(call.draft, call))

    def _correct(self, draft: Callable[[], Draft]) -> Flow[Outcome]:
        call = self._begin()
        return (yield from watched(call, self._review_given(draft, call)))

    def _review_given(self, draft: Callable[[], Draft], call: Call) -> Flow[Outcome]:
        call.draft = draft()
        return (yield from self._enforce_or_observe(call.draft, call))

    def _enforce_or_observe(self, draft: Draft, call: Call) -> Flow[Outcome]:
        if call.observe is None:
            return (yield from self._review_and_revise(draft, call))
        return (yield from observed(call, draft, partial(self._review_and_revise, draft, call)))

    def _review_and_revise(self, draft: Draft, call: Call) -> Flow[Outcome]:
        """From the call's draft, which may have a verdict already, to its outcome."""
        try:
            call.verdict = call.verdict or (yield from self.review.judge(draft, call.model("review")))
        except (ReviewError, BackendError, BudgetExceeded) as error:
            return call.unreviewed(error, pending=draft)
        yield StageEnded("review", call.verdict)
        if not call.verdict.flagged:
            return call.passed(draft)
        limits = {"rounds": self.max_revisions, "samples": self.samples}
        return (yield from revised(draft, call.verdict, call, self.review, self.revise, **limits))


def load(
    path: str | Path,
    *,
    lm: RolesSpec | None = None,
    generate: GenerateSpec | None = None,
    **policy: Unpack[PolicyArgs],
) -> Conscience:
    """A program from a file that ``program.save`` or the compiler wrote.

    Args:
        path: the file.
        lm: what answers, reviews and revises, as for ``Conscience``.
        generate: what answers, where the file says that a module or callable did.
        policy: any of ``max_revisions``, ``samples``, ``threshold``, ``on_unresolved``, ``on_error``, ``refusal`` and
            ``budget``: what the caller says holds. What is left out is the stricter of the file's and the default, and a
            warning tells what the file would have loosened: a file from a stranger cannot open what is closed, nor spend
            more.

    Raises:
        ArtifactError: the file holds no program, or not one for this ``generate``.
    """
    return open_program(Conscience, path, lm=lm, generate=generate, **policy)


_PARTS: tuple[Role, ...] = ("generate", "review", "revise")


def _check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigurationError(f"{name}={value!r} does not exist", hint=f"choose among {', '.join(allowed)}")
