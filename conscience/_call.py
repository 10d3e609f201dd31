"""One call of a program: what it has come to so far, and the ways in which it can end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dspy

from conscience._types import OnError, OnUnresolved
from conscience.backends.bound import BoundBackend
from conscience.backends.roles import Roles
from conscience.errors import ConscienceError, UnresolvedError
from conscience.modules.outputs import text_field
from conscience.outcome import Draft, Outcome, Revision, Status, Verdict
from conscience.usage import CallContext, Role, UsageTracker


@dataclass
class Call:
    """The state of one program call.

    Attributes:
        tracker: what the call has spent, and the events on its way.
        roles: which model serves which role.
        refusal: the text that is returned in place of an answer.
        signature: that of the answer; None where a module of several steps or a callable answers.
        on_unresolved, on_error: the program's policies.
        draft: what was generated first.
        verdict: the verdict on the draft.
        revisions: the revised drafts so far, with their verdicts.
    """

    tracker: UsageTracker
    roles: Roles
    refusal: str
    signature: type[dspy.Signature] | None
    on_unresolved: OnUnresolved
    on_error: OnError
    draft: Draft | None = None
    verdict: Verdict | None = None
    revisions: list[Revision] = field(default_factory=list)

    def model(self, role: Role) -> BoundBackend:
        """The model of a role, paid for by this call."""
        return BoundBackend(self.roles.backend(role), CallContext(self.tracker, role))

    def generator(self, brings_its_model: bool) -> BoundBackend:
        """The model that generates. What brings its own needs none of the program's; only its name is then that of the
        reviewing model."""
        if brings_its_model and not self.roles.knows("generate"):
            return BoundBackend(self.roles.backend("review"), CallContext(self.tracker, "generate"))
        return self.model("generate")

    def judged(self, draft: Draft, verdict: Verdict) -> None:
        """Keeps the verdict on the first draft, or on a revision."""
        if draft is self.draft:
            self.verdict = verdict
        else:
            self.revisions.append(Revision(draft, verdict))

    def passed(self, shown: Draft) -> Outcome:
        """The review has nothing against this text."""
        cleared = self.verdict is not None and self.verdict.gated
        return self.ended("revised" if self.revisions else "cleared" if cleared else "clean", shown)

    def unresolved(self) -> Outcome:
        """Still flagged, and no further revision is to come: as ``on_unresolved`` says.

        Raises:
            UnresolvedError: where the policy is "raise".
        """
        if self.on_unresolved == "raise":
            raise UnresolvedError(
                f"still flagged after {len(self.revisions)} revisions",
                hint="rephrase the request, or set on_unresolved to refuse or best",
            )
        if self.on_unresolved == "refuse":
            return self.ended("refused", None)
        self.tracker.note("still flagged: the least doubtful text is shown, as on_unresolved says")
        texts = [(self.verdict, self.draft), *((revision.verdict, revision.draft) for revision in self.revisions)]
        return self.ended("refused", min(texts, key=lambda text: _probability(text[0]))[1])

    def unreviewed(self, error: ConscienceError, pending: Draft | None = None) -> Outcome:
        """The review failed: as ``on_error`` says.

        Args:
            error: why.
            pending: the text whose review failed; None where the last text is known to be flagged, which is not shown even
                when the policy is "open".

        Raises:
            ConscienceError: the error, where the policy is "raise".
        """
        if self.on_error == "raise":
            raise error
        self.tracker.note(f"unreviewed: {error.message}")
        shown = pending if self.on_error == "open" else None
        return self.ended("unreviewed", shown, error=str(error))

    def ended(self, status: Status, shown: Draft | None, *, error: str = "") -> Outcome:
        """The outcome; ``shown`` is the text to return, None for the refusal text."""
        outputs = self._refusal_outputs() if shown is None else dict(shown.outputs)
        if shown is not None:
            outputs = {**shown.written, **outputs}
            if shown.reasoning and self._has_reasoning():
                outputs = {"reasoning": shown.reasoning, **outputs}
        hidden = status == "unreviewed" and shown is None  # what nobody has reviewed is not shown as the draft either
        return Outcome(
            outputs,
            response=self.refusal if shown is None else _response(shown),
            status=status,
            verdict=self.verdict,
            draft=None if hidden else self.draft,
            revisions=tuple(self.revisions),
            usage=self.tracker.usage(),
            events=tuple(self.tracker.events),
            error=error,
        )

    def _has_reasoning(self) -> bool:
        return self.signature is not None and "reasoning" in self.signature.output_fields

    def _refusal_outputs(self) -> dict[str, Any]:
        """The refusal text in the last text field; every other field is None."""
        draft, signature = self.draft, self.signature
        if signature is not None and (draft is None or set(draft.outputs) <= set(signature.output_fields)):
            names, text = list(signature.output_fields), text_field(signature)
        else:
            outputs = draft.outputs if draft else {"response": ""}
            texts = [name for name, value in outputs.items() if isinstance(value, str) and name != "reasoning"]
            names, text = list(outputs), texts[-1] if texts else None
        written = draft.written if draft else {}
        return {name: self.refusal if name == text else None for name in (*written, *names)}


def _response(shown: Draft) -> str:
    """The field ``response`` where there is one, else all of them as one text."""
    named = shown.outputs.get("response")
    return named if isinstance(named, str) else shown.response


def _probability(verdict: Verdict | None) -> float:
    return 1.0 if verdict is None or verdict.probability is None else verdict.probability
