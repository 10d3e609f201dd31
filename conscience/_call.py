"""One call of a program: its state, and the ways in which it can end."""

from __future__ import annotations

from typing import Any, Protocol

from conscience.backends.bound import BoundBackend
from conscience.backends.roles import Roles
from conscience.constitution.schema import Constitution
from conscience.errors import ConscienceError, UnresolvedError
from conscience.modules.generate import Generate
from conscience.outcome import Draft, Outcome, Revision, Status, Verdict
from conscience.usage import CallContext, Role, UsageTracker


class CalledProgram(Protocol):
    """What a call needs to know of its program."""

    generate: Generate
    roles: Roles
    on_unresolved: str
    on_error: str

    @property
    def constitution(self) -> Constitution: ...


class Call:
    """Call state of one program call, and the ways in which it can end."""

    def __init__(self, program: CalledProgram, tracker: UsageTracker) -> None:
        self.program = program
        self.tracker = tracker

    def model(self, role: Role) -> BoundBackend:
        """The program's backend for a role, paid for by this call."""
        return BoundBackend(self.program.roles.backend(role), CallContext(self.tracker, role))

    def passed(self, draft: Draft, current: Draft, verdict: Verdict, revisions: list[Revision]) -> Outcome:
        status: Status = "revised" if revisions else "cleared" if verdict.gated else "clean"
        return self.ended(status, draft, verdict, revisions, current)

    def unresolved(self, draft: Draft, first: Verdict | None, revisions: list[Revision]) -> Outcome:
        policy = self.program.on_unresolved
        if policy == "raise":
            raise UnresolvedError(
                f"still flagged after {len(revisions)} revisions",
                hint="rephrase the request, or set on_unresolved to refuse or best",
            )
        if policy == "refuse":
            return self.ended("refused", draft, first, revisions, None)
        self.tracker.note("still flagged: the least doubtful text is shown, as on_unresolved says")
        reviewed = [(first, draft), *((r.verdict, r.draft) for r in revisions)]
        return self.ended("refused", draft, first, revisions, min(reviewed, key=_doubt)[1])

    def unreviewed(
        self,
        draft: Draft | None,
        pending: Draft | None,
        error: ConscienceError,
        first: Verdict | None = None,
        revisions: list[Revision] | None = None,
    ) -> Outcome:
        """``pending`` is the text whose review failed; a text known to be flagged is not shown even when open."""
        policy = self.program.on_error
        if policy == "raise":
            raise error
        self.tracker.note(f"unreviewed: {error.message}")
        shown = pending if policy == "open" else None
        return self.ended(
            "unreviewed", draft if shown else None, first, revisions or [], shown, error=str(error), like=draft
        )

    def ended(
        self,
        status: Status,
        draft: Draft | None,
        verdict: Verdict | None,
        revisions: list[Revision],
        shown: Draft | None,
        *,
        error: str = "",
        like: Draft | None = None,
    ) -> Outcome:
        """The outcome; ``shown`` is the text to return, None for the refusal text in the fields of ``like`` or the draft."""
        outputs = dict(shown.outputs) if shown else self._refusal(like or draft)
        if shown and shown.reasoning and self._has_reasoning():
            outputs = {"reasoning": shown.reasoning, **outputs}
        return Outcome(
            outputs,
            response=_response(shown) if shown else self.program.constitution.refusal,
            status=status,
            verdict=verdict,
            draft=draft,
            revisions=tuple(revisions),
            usage=self.tracker.usage(),
            events=tuple(self.tracker.events),
            error=error,
        )

    def _has_reasoning(self) -> bool:
        signature = self.program.generate.signature
        return signature is not None and "reasoning" in signature.output_fields

    def _refusal(self, draft: Draft | None) -> dict[str, Any]:
        """The refusal text in the last text field; every other field is None."""
        signature = self.program.generate.signature
        fields = {name: isinstance(value, str) for name, value in (draft.outputs if draft else {"response": ""}).items()}
        if signature is not None and (draft is None or set(draft.outputs) <= set(signature.output_fields)):
            fields = {name: field.annotation is str for name, field in signature.output_fields.items()}
        outputs: dict[str, Any] = dict.fromkeys(fields)
        texts = [name for name, is_text in fields.items() if is_text and name != "reasoning"]
        if texts:
            outputs[texts[-1]] = self.program.constitution.refusal
        return outputs


def text_field(signature: Any) -> str | None:
    """The last text output of a signature, its reasoning aside; None where it has none."""
    texts = [name for name, field in signature.output_fields.items() if field.annotation is str and name != "reasoning"]
    return texts[-1] if texts else None


def _response(shown: Draft) -> str:
    """The field ``response`` where there is one, else all of them as one text."""
    named = shown.outputs.get("response")
    return named if isinstance(named, str) else shown.response


def _doubt(reviewed: tuple[Verdict | None, Draft]) -> float:
    verdict = reviewed[0]
    return 1.0 if verdict is None or verdict.probability is None else verdict.probability
