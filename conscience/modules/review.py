"""Review: what is certain without a model, the gate, the principles, then the critique on what is flagged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar

import dspy

from conscience._base.flow import Flow, StageEnded, StageStarted, run_async, run_sync
from conscience._types import ConstitutionSpec, RolesSpec
from conscience.backends.bound import BoundBackend
from conscience.backends.roles import Roles
from conscience.constitution.schema import Constitution
from conscience.errors import BackendError, BudgetExceeded, ContextTooLong, ReviewError
from conscience.gate.choosing import chosen
from conscience.gate.defaults import settings_for
from conscience.gate.gate import Gate
from conscience.gate.rules import RulesQuestion
from conscience.gate.settings import GateSettings
from conscience.messages.conversations import shortened
from conscience.messages.rendering import Request
from conscience.modules.checks import broken_for_certain, linted
from conscience.modules.critique import Critique
from conscience.outcome import WITHOUT_A_MODEL, Draft, Finding, Verdict
from conscience.usage import CallContext, UsageTracker

SHORTER = (0.5, 0.25, 0.0)
"""What of the earlier turns is shown, by characters, each time that the conversation is too long for the model."""

T = TypeVar("T")

CUT = "the conversation is too long: the review saw its latest turns only"
"""Noted on the verdict where turns were left out."""


class Review(dspy.Module):  # type: ignore[misc]
    """Judges a draft by a constitution.

    By default gate and critique must agree before a draft is touched, which keeps false positives down. The calibration
    may let the critique only explain, have it chosen among the principles, or leave it out (``GateSettings.critique``).

    Args:
        constitution: what to judge by: a built-in name, a file, a mapping or a Constitution.
        settings: the gate's questions, weights and threshold; by default the constitution's own question, or
            what is shipped for the model (see ``conscience/gate/defaults.py``).
        threshold: the probability from which the gate flags, 0 to 1, in place of the one in its settings.
        lm: the model that judges when the module is called by itself; a program judges with the model of its own role.
    """

    __getattribute__ = object.__getattribute__  # see Generate

    def __init__(
        self,
        constitution: ConstitutionSpec | None = None,
        *,
        settings: GateSettings | None = None,
        threshold: float | None = None,
        lm: RolesSpec | None = None,
    ) -> None:
        super().__init__()
        self.constitution = Constitution.load("general" if constitution is None else constitution)
        self.roles = Roles.of(lm, alone="review")
        self._default_gate = settings_for(self.constitution, self.roles)
        self.gate = Gate((settings or self._default_gate).with_threshold(threshold))
        self.critique = Critique()

    @property
    def gate_settings(self) -> GateSettings:
        """The gate's questions, weights, threshold, and the critique's part."""
        return self.gate.calibration.settings

    @gate_settings.setter
    def gate_settings(self, settings: GateSettings) -> None:
        self.gate.calibration.settings = settings

    def set_constitution(self, constitution: Constitution) -> None:
        """Judges by another constitution from now on; a gate that nobody compiled asks by it, too, with its threshold."""
        default, threshold = settings_for(constitution, self.roles), self.gate_settings.threshold
        if self.gate_settings == self._default_gate:
            self.gate_settings = default
        elif self.gate_settings == self._default_gate.with_threshold(threshold):
            self.gate_settings = default.with_threshold(threshold)
        self.constitution, self._default_gate = constitution, default

    def score(self, draft: Draft, model: BoundBackend) -> Flow[Verdict]:
        """The verdict before any critique: of what is certain without a model, else of the gate.

        Raises:
            BackendError: the model could not be asked, or not even the last request and the draft fit its context.
            BudgetExceeded: the budget is spent.
        """
        flagged, notes = self.without_model(draft)
        return _noted((yield from self._gated(draft, model)), notes) if flagged is None else flagged

    def without_model(self, draft: Draft) -> tuple[Verdict | None, tuple[str, ...]]:
        """The verdict on a draft that a check or a linter flags, so that the gate never sees it; and notes on what was not
        read. An error of a check passes through."""
        if findings := broken_for_certain(draft, self.constitution):
            return self._broken(findings, "checks"), ()
        suspected, notes = linted(draft, self.constitution)
        return (self._broken(suspected, "linter") if suspected else None), notes

    def judge(self, draft: Draft, model: BoundBackend) -> Flow[Verdict]:
        """The verdict on a draft, in the light of as much of its conversation as the model can take.

        Each error carries the verdict of the gate, or of a linter, where that had flagged the draft by then.

        Raises:
            ReviewError: the gate had no answer that counts, and the critique none either.
            BackendError: the model could not be asked, or not even the last request and the draft fit its context.
            BudgetExceeded: the budget is spent.
        """
        yield StageStarted("gate")
        verdict = yield from self.score(draft, model)
        yield StageEnded("gate", verdict)
        writer, mode = model.writer, self.gate_settings.critique
        if verdict.method == "linter" and writer is not None and mode == "votes":
            verdict = yield from self._suspected(verdict, draft, model, writer)
        if verdict.method in WITHOUT_A_MODEL:
            return verdict
        if verdict.probability is not None and (not verdict.gated or mode == "off"):
            return verdict
        doubtful = self.gate.parts_judged(draft, verdict)  # what is thin in a long answer would be overlooked again
        if verdict.probability is None:
            if writer is None or mode == "off":
                raise ReviewError(f"the gate has no verdict: {'; '.join(verdict.notes)}")
            yield StageStarted("critique")
            findings, notes = yield from self._criticised(doubtful, writer)
            flagged = bool(findings)
            return _noted(replace(verdict, flagged=flagged, gated=flagged, findings=findings, method="critique"), notes)
        if writer is None and mode != "chooses":
            return _noted(verdict, [f"no critique: {model.name} writes none, nor does another model"])
        if mode == "votes" and verdict.probability >= self.gate_settings.override_threshold:
            mode = "explains"
        yield StageStarted("critique")
        try:
            if writer is None or mode == "chooses":
                choose = partial(chosen, verdict, constitution=self.constitution, model=model)
                return _noted(*(yield from _fitting(lambda seen: choose(draft=seen), doubtful[0], model)))
            findings, notes = yield from self._criticised(doubtful, writer)
        except (ReviewError, BackendError, BudgetExceeded) as error:
            if mode == "votes" or isinstance(error, BudgetExceeded):
                error.verdict = verdict
                raise
            return _noted(verdict, [f"no explanation: {error.message}"])
        return _noted(replace(verdict, flagged=bool(findings) or mode == "explains", findings=findings), notes)

    def _gated(self, draft: Draft, model: BoundBackend) -> Flow[Verdict]:
        covering = RulesQuestion.of(self.constitution, "principles") if self._leaves_principles_out else None
        return _noted(*(yield from _fitting(partial(self.gate.score, model=model, covering=covering), draft, model)))

    def _suspected(self, verdict: Verdict, draft: Draft, model: BoundBackend, writer: BoundBackend) -> Flow[Verdict]:
        """A linter's verdict in the light of the critique. Where that finds nothing, the gate is asked, which has not seen
        the draft so far: its verdict counts, unless it passes the draft as well."""
        yield StageStarted("critique")
        try:
            findings, notes = yield from self._criticised([draft], writer)
        except (ReviewError, BackendError, BudgetExceeded) as error:
            error.verdict = verdict
            raise
        if findings:
            return _noted(replace(verdict, findings=(*verdict.findings, *findings)), notes)
        gated = yield from self._gated(draft, model)
        passed = not gated.gated and gated.probability is not None
        return _noted(replace(verdict, flagged=False, findings=()), notes) if passed else gated

    def _criticised(self, parts: Sequence[Draft], writer: BoundBackend) -> Flow[tuple[tuple[Finding, ...], tuple[str, ...]]]:
        """The critique's findings on the first part in which it finds any, and notes."""
        findings, notes = tuple[Finding, ...](), tuple[str, ...]()
        for part in parts:
            find = partial(self.critique.find, constitution=self.constitution, model=writer)
            findings, cut = yield from _fitting(find, part, writer)
            notes += cut
            if findings:
                break
        return findings, notes

    def _broken(self, findings: tuple[Finding, ...], method: Literal["checks", "linter"]) -> Verdict:
        """The verdict on a draft that breaks principles, as no model was asked."""
        principles = {finding.principle: 1.0 for finding in findings}
        return Verdict(
            flagged=True,
            gated=True,
            probability=1.0,
            threshold=self.gate_settings.threshold,
            principles=principles,
            findings=findings,
            method=method,
        )

    @property
    def _leaves_principles_out(self) -> bool:
        return self.gate_settings.coverage_threshold < 1 and not self.gate_settings.names_the_principles

    def forward(self, request: Request, response: str, reasoning: str = "") -> dspy.Prediction:
        """Judges one exchange: ``flagged``, and the whole verdict as ``.verdict``."""
        model = self._bound()
        return _prediction(run_sync(self.judge(Draft.of(request, response, reasoning), model)), model.ctx.tracker)

    async def aforward(self, request: Request, response: str, reasoning: str = "") -> dspy.Prediction:
        """The async form of ``forward``."""
        model = self._bound()
        return _prediction(await run_async(self.judge(Draft.of(request, response, reasoning), model)), model.ctx.tracker)

    def _bound(self) -> BoundBackend:
        return self.roles.bound("review", CallContext(UsageTracker(), "review"))

    def set_lm(self, lm: RolesSpec | None) -> None:
        """Sets the model that judges when the module is called by itself."""
        self.roles = Roles.of(lm, alone="review")


def _fitting(look: Callable[[Draft], Flow[T]], draft: Draft, model: BoundBackend) -> Flow[tuple[T, tuple[str, ...]]]:
    """What a look at a draft finds, and notes; where its conversation does not fit the model's context, at less of it.

    Raises:
        ContextTooLong: nothing more can be left out.
        Others as ``look``.
    """
    seen, shares, notes = draft, iter(SHORTER), tuple[str, ...]()
    while True:
        try:
            return (yield from look(seen)), notes
        except ContextTooLong:
            shorter = next(filter(None, (_with_less(draft, share) for share in shares)), None)
            if shorter is None:
                raise
            seen, notes = shorter, (CUT,)
            model.note(CUT)


def _noted(verdict: Verdict, notes: Sequence[str]) -> Verdict:
    return replace(verdict, notes=(*verdict.notes, *notes)) if notes else verdict


def _with_less(draft: Draft, share: float) -> Draft | None:
    """The draft with a shorter conversation, see ``shortened``; None where nothing can be left out."""
    messages, request = shortened(draft.messages, share), shortened(draft.request, share)
    if messages is None and request is None:
        return None
    shorter = replace(draft, messages=messages or draft.messages, request=request or draft.request)
    return shorter.with_form(draft.form)


def review(
    request: Request,
    response: str,
    *,
    reasoning: str = "",
    constitution: ConstitutionSpec | None = None,
    lm: RolesSpec | None = None,
    settings: GateSettings | None = None,
) -> Verdict:
    """Judges a text from anywhere by a constitution.

    Args:
        request: what was asked: a text or chat messages; may be empty.
        response: the text to judge.
        reasoning: the reasoning that led to it, judged with it.
        constitution: a built-in name, a file, a mapping or a Constitution; "general" by default.
        lm: the model that judges; by default the one configured in DSPy.
        settings: a calibrated gate.

    Raises:
        InputError, ConfigurationError, BackendError, ReviewError: see ``conscience.errors``.
    """
    verdict: Verdict = Review(constitution, settings=settings, lm=lm)(
        request=request, response=response, reasoning=reasoning
    ).verdict
    return verdict


async def areview(
    request: Request,
    response: str,
    *,
    reasoning: str = "",
    constitution: ConstitutionSpec | None = None,
    lm: RolesSpec | None = None,
    settings: GateSettings | None = None,
) -> Verdict:
    """The async form of ``review``."""
    module = Review(constitution, settings=settings, lm=lm)
    verdict: Verdict = (await module.acall(request=request, response=response, reasoning=reasoning)).verdict
    return verdict


def _prediction(verdict: Verdict, tracker: UsageTracker) -> dspy.Prediction:
    prediction = dspy.Prediction(flagged=verdict.flagged)
    prediction.__dict__.update(verdict=verdict, usage=tracker.usage(), events=tuple(tracker.events))
    return prediction
