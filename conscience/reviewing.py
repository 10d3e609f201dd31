"""Review: the gate, then the critique on what it flags. (``conscience.review`` is the function, hence this file's name.)"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dspy

from conscience.backends import Backend, Roles
from conscience.calibration import Settings
from conscience.constitution import Constitution
from conscience.critique import Critique
from conscience.defaults import settings_for
from conscience.dspy_seam import Account
from conscience.errors import BackendError, InputError, ReviewError
from conscience.flow import Flow, Stage, adrive, drive
from conscience.gate import Gate
from conscience.generate import check_request
from conscience.rendering import Request
from conscience.usage import Budget, Ledger
from conscience.verdict import Draft, Verdict


class Review(dspy.Module):  # type: ignore[misc]
    """Judges a draft by a constitution.

    By default gate and critique must agree before a draft is touched, which keeps false positives down. The calibration
    may let the critique only explain, or leave it out (``Settings.critique``).

    Args:
        constitution: what to judge by: a built-in name, a file, a mapping or a Constitution.
        settings: the gate's questions, weights and threshold; by default see ``conscience.defaults``.
        lm: the model that judges when the module is called by itself; inside a program the program's roles decide.
    """

    def __init__(self, constitution: Any = None, *, settings: Settings | None = None, lm: Any = None) -> None:
        super().__init__()
        self.constitution = Constitution.load(constitution if constitution is not None else "general")
        self.roles = Roles.of(lm)
        self.gate = Gate(settings or settings_for(self.constitution, self.roles.own("review")))
        self.critique = Critique(self.constitution)

    def flow(self, draft: Draft, backend: Backend, who: Account) -> Flow[Verdict]:
        """The verdict on a draft.

        Raises:
            ReviewError: the gate had no answer that counts, and the critique none either.
            BackendError: the model could not be asked.
            BudgetExceeded: the budget is spent.
        """
        yield Stage("gate")
        verdict = yield from self.gate.flow(draft, backend, who)
        mode = self.gate.calibration.settings.critique
        if verdict.probability is None:
            if mode == "off":
                raise ReviewError(f"the gate has no verdict: {'; '.join(verdict.notes)}")
            yield Stage("critique")
            findings = yield from self.critique.flow(draft, backend, who)
            return replace(verdict, flagged=bool(findings), gated=bool(findings), findings=findings, method="critique")
        if not verdict.gated or mode == "off":
            return verdict
        if verdict.probability >= self.gate.calibration.settings.certain:
            mode = "explains"
        yield Stage("critique")
        try:
            findings = yield from self.critique.flow(draft, backend, who)
        except (ReviewError, BackendError) as error:
            if mode == "votes":
                raise
            return replace(verdict, notes=(*verdict.notes, f"no explanation: {error.message}"))
        return replace(verdict, flagged=bool(findings) or mode == "explains", findings=findings)

    def forward(self, request: Request, response: str, reasoning: str = "") -> dspy.Prediction:
        """Judges one exchange: ``flagged``, and the whole verdict as ``.verdict``."""
        who, backend = self._opened()
        return _prediction(drive(self.flow(given(request, response, reasoning), backend, who)), who)

    async def aforward(self, request: Request, response: str, reasoning: str = "") -> dspy.Prediction:
        """The async form of ``forward``."""
        who, backend = self._opened()
        return _prediction(await adrive(self.flow(given(request, response, reasoning), backend, who)), who)

    def _opened(self, budget: Budget | None = None) -> tuple[Account, Backend]:
        return Account(Ledger(budget), "review"), self.roles.backend("review")

    def set_lm(self, lm: Any) -> None:
        """Sets the model that judges."""
        self.roles = Roles.of(lm)


def given(request: Request, response: str, reasoning: str = "") -> Draft:
    """A draft from texts that came from anywhere.

    Raises:
        InputError: the response is empty, or a text holds what no provider can receive.
    """
    if not response.strip():
        raise InputError("the response is empty", hint="say what is to be reviewed")
    check_request({"response": response, "reasoning": reasoning or None})
    asked = check_request({"request": request}) if request else ""
    messages = ({"role": "user", "content": asked},) if isinstance(asked, str) else tuple(asked)
    return Draft(request=asked, outputs={"response": response}, reasoning=reasoning, messages=messages, text=response)


def review(
    request: Request,
    response: str,
    *,
    reasoning: str = "",
    constitution: Any = None,
    lm: Any = None,
    settings: Settings | None = None,
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
    constitution: Any = None,
    lm: Any = None,
    settings: Settings | None = None,
) -> Verdict:
    """The async form of ``review``."""
    module = Review(constitution, settings=settings, lm=lm)
    verdict: Verdict = (await module.acall(request=request, response=response, reasoning=reasoning)).verdict
    return verdict


def _prediction(verdict: Verdict, who: Account) -> dspy.Prediction:
    prediction = dspy.Prediction(flagged=verdict.flagged)
    prediction.__dict__.update(verdict=verdict, usage=who.ledger.usage(), events=tuple(who.ledger.events))
    return prediction
