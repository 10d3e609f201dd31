"""Other ways to correct an answer, in the same harness: what the step is worth shows only beside them.

plain          the call alone, nothing reviewed
review-only    the gate; a flagged draft is refused, none revised
self-refine    critique and revise always, whatever the gate would say (Madaan et al., 2023)
chain          one critique and one revision for each principle (Bai et al., 2022; LangChain's ConstitutionalChain)
refine         dspy.Refine: three samples, the one that the gate doubts least
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import dspy

from conscience._base.flow import Flow, StageStarted, run_sync
from conscience._calls.call import Call
from conscience._types import RolesSpec
from conscience.constitution.schema import Constitution
from conscience.errors import BackendError, ConfigurationError, ReviewError
from conscience.evals.grading import Program
from conscience.gate.settings import GateSettings
from conscience.messages.rendering import outputs_text
from conscience.messages.requests import check_request
from conscience.outcome import Draft, Finding, Outcome, Revision, Verdict
from conscience.program import Conscience

SAMPLES = 3
"""How many answers ``refine`` draws."""


class NoModel(dspy.BaseLM):  # type: ignore[misc]
    """Stands in for the model of a callable that brings its own, or needs none."""

    stands_in = True

    def __init__(self) -> None:
        super().__init__(model="none")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise ConfigurationError("no model is set", hint="call dspy.configure(lm=dspy.LM(...)) first")


class Plain(Conscience):
    """The draft is the outcome."""

    def _review_and_revise(self, draft: Draft, call: Call) -> Flow[Outcome]:
        yield StageStarted("plain")
        return call.ended("clean", draft)


class SelfRefine(Conscience):
    """Every draft is criticised and revised once."""

    def _review_and_revise(self, draft: Draft, call: Call) -> Flow[Outcome]:
        return (yield from self._passes(draft, call, [self.constitution]))

    def _passes(self, draft: Draft, call: Call, constitutions: list[Constitution]) -> Flow[Outcome]:
        """One critique and revision for each constitution; an error costs its pass, as those loops have it."""
        current = draft
        critic = call.model("review").writer or call.model("generate")
        for constitution in constitutions:
            findings: tuple[Finding, ...] = ()
            try:
                findings = yield from self.review.critique.find(current, constitution, critic)
            except (ReviewError, BackendError) as error:
                call.model("review").note(error.message)
            verdict = Verdict(flagged=True, findings=findings, method="critique")
            try:
                current = yield from self.revise.rewrite(current, verdict, self.constitution, call.model("revise"))
            except BackendError as error:
                call.model("revise").note(error.message)
                continue
            call.revisions.append(Revision(current, verdict))
        call.verdict = call.revisions[0].verdict if call.revisions else None
        unseen = Verdict.unreviewed("this baseline does not look at what it returns")
        return call.ended("revised" if call.revisions else "clean", current, verdict=unseen)


class Chain(SelfRefine):
    """One critique and one revision for each principle, in order."""

    def _review_and_revise(self, draft: Draft, call: Call) -> Flow[Outcome]:
        constitutions = [
            Constitution.model_validate({**self.constitution.model_dump(), "principles": [p]})
            for p in self.constitution.model_dump()["principles"]
        ]
        return (yield from self._passes(draft, call, constitutions))


class Refine(Conscience):
    """dspy.Refine around the generating module, rewarded by the gate; its best answer goes out whatever the gate says."""

    def _answer(self, inputs: Mapping[str, Any], emit: Any = None) -> Flow[Outcome]:
        call = self._begin()
        writer, judge = call.model("generate"), call.model("review")
        answered: list[tuple[float, Draft, Verdict]] = []

        def reward(_: Mapping[str, Any], prediction: dspy.Prediction) -> float:
            text = outputs_text(dict(prediction.items()))
            draft = replace(Draft.of(check_request(inputs), text or "(no answer)"), outputs=dict(prediction.items()))
            verdict = run_sync(self.review.gate.score(draft, judge))
            answered.append((1 - (verdict.probability if verdict.probability is not None else 1.0), draft, verdict))
            return answered[-1][0]

        bound = 1 - self.gate_settings.threshold

        def refine(**given_inputs: Any) -> Any:  # a new Refine each time: it changes itself when it is called
            return dspy.Refine(self.generate.predict, N=SAMPLES, reward_fn=reward, threshold=bound)(**given_inputs)

        yield writer.call(refine, inputs)
        if not answered:
            raise BackendError(f"{writer.name}: every sample failed")
        _, best, verdict = max(answered, key=lambda sample: sample[0])
        call.draft, call.verdict = answered[0][1:]
        if best is not call.draft:
            call.revisions.append(Revision(best, verdict))
        return call.ended("revised" if call.revisions else "clean", best)


def baseline(
    name: str, *, constitution: Constitution, lm: RolesSpec | None, settings: GateSettings | None = None
) -> Conscience:
    """A baseline by name; see the module's docstring.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in BASELINES:
        raise ConfigurationError(f"baseline {name!r} does not exist", hint=f"one of {', '.join(BASELINES)}")
    program = BASELINES[name](constitution=constitution, lm=lm, review=settings)
    return _named(program, name)


def as_program(program: Any) -> Program:
    """What is to be measured, as the runner takes it: any DSPy module or callable is the baseline ``plain`` around itself.

    Args:
        program: a ``Conscience``, a baseline, a ``dspy.Module``, or a callable that returns a text, a mapping of output
            fields or a ``dspy.Prediction``. Its inputs are named as the columns of the cases are, and one takes the request.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(program, Conscience):
        return program
    if isinstance(program, type) or not callable(program):
        raise ConfigurationError(
            f"{program!r} cannot be measured", hint="give a Conscience, a baseline, a dspy.Module or a callable"
        )
    if hasattr(program, "for_run") and hasattr(program, "acorrect"):
        known: Program = program
        return known
    lm = NoModel() if dspy.settings.lm is None else None
    return _named(Plain(program, lm=lm), getattr(program, "__name__", type(program).__name__))


def _named(program: Conscience, name: str) -> Conscience:
    """The program under a name of its own in reports."""
    program.__dict__["name"] = name
    return program


def _review_only(**options: Any) -> Conscience:
    program = Conscience(**options, max_revisions=0)
    return program.with_gate(program.gate_settings.model_copy(update={"critique": "off"}))


BASELINES: Mapping[str, Callable[..., Conscience]] = {
    "plain": Plain,
    "review-only": _review_only,
    "self-refine": SelfRefine,
    "chain": Chain,
    "refine": Refine,
}
