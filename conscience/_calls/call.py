"""One call of a program: what it has come to so far, and the ways in which it can end."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import dspy

from conscience._base.lookalikes import looks_like, skeleton
from conscience._redaction import redact
from conscience._types import OnError, OnUnresolved, RefusalSpec
from conscience.backends.bound import BoundBackend
from conscience.backends.roles import Roles
from conscience.constitution.schema import Constitution
from conscience.errors import ConscienceError, UnresolvedError
from conscience.modules.refusal import prose_field, refusal_outputs, refusal_text
from conscience.observability.context import printable
from conscience.observability.hooks import OutcomeHook
from conscience.observability.log import VerdictLog
from conscience.observability.mode import Observe
from conscience.outcome import WITHOUT_A_MODEL, Draft, Outcome, Revision, Status, Verdict, with_reply
from conscience.usage import CallContext, Role, UsageTracker


@dataclass
class Call:
    """The state of one program call.

    Attributes:
        tracker: what the call has spent, and the events on its way.
        roles: which model serves which role.
        constitution: what answers are judged by; has the text that is returned in place of one.
        refusal: what the caller would rather have returned.
        threshold: the probability from which the gate flags.
        signature: that of the answer; None where a module of several steps or a callable answers.
        on_unresolved, on_error: the program's policies.
        program: its name.
        given_id: of the request, from its caller; empty where that gave none.
        tenant: for whom it is.
        observe: how the call is observed; None where it is enforced.
        log, hooks: where its end is told.
        loop: the event loop that it was made on, where it ends in a thread.
        began: when, in seconds since 1970.
        draft: what was generated first.
        verdict: the verdict on the draft.
        revisions: the revised drafts so far, with their verdicts.
        released: the beginning of the answer that was shown already: whatever is returned begins with it.
    """

    tracker: UsageTracker
    roles: Roles
    constitution: Constitution
    refusal: RefusalSpec | None
    threshold: float
    signature: type[dspy.Signature] | None
    on_unresolved: OnUnresolved
    on_error: OnError
    program: str = ""
    given_id: str = ""
    tenant: str = ""
    observe: Observe | None = None
    log: VerdictLog | None = None
    hooks: Sequence[OutcomeHook] = ()
    loop: asyncio.AbstractEventLoop | None = None
    began: float = field(default_factory=time.time)
    draft: Draft | None = None
    verdict: Verdict | None = None
    revisions: list[Revision] = field(default_factory=list)
    released: str = ""

    @cached_property
    def id(self) -> str:
        """The request's, as logs and spans show it: its caller's, which a client may have chosen, or one of its own."""
        return redact(printable(self.given_id)) or uuid.uuid4().hex

    def model(self, role: Role) -> BoundBackend:
        """The model of a role, paid for by this call."""
        return self.roles.bound(role, CallContext(self.tracker, role))

    def generator(self, brings_its_model: bool) -> BoundBackend:
        """The model that generates. What brings its own needs none of the program's; only its name is then that of the
        reviewing model."""
        if brings_its_model and not self.roles.knows("generate"):
            return BoundBackend(self.roles.backend("review"), CallContext(self.tracker, "generate"))
        return self.model("generate")

    def drafted(self, draft: Draft, model: BoundBackend) -> Draft:
        """The draft, marked where the model was cut off while it wrote it."""
        truncated = bool(model.exchanges) and model.exchanges[-1].completion.finish_reason == "length"
        if truncated:
            model.note("the answer was cut off at its token limit")
        return replace(draft, truncated=truncated).with_form(draft.form, draft.reply)

    def repeat(self, revised: Draft, others: Sequence[Revision] = ()) -> Revision | None:
        """A revision that is, to a reader's eye, a text that is known to be flagged, with that text's verdict: nothing was
        revised, so nothing is reviewed anew. None where it says something else.

        Args:
            revised: the text.
            others: flagged texts that the call does not keep, or not yet.
        """
        flagged = [(self.draft, self.verdict), *((known.draft, known.verdict) for known in (*self.revisions, *others))]
        for draft, verdict in flagged:
            if draft is not None and verdict is not None and _repeats(revised, draft, verdict):
                self.tracker.note("revise: the revision repeats what was flagged")
                note = "not reviewed again: it repeats what was flagged"
                notes = verdict.notes if note in verdict.notes else (*verdict.notes, note)
                return Revision(revised, replace(verdict, flagged=True, notes=notes))
        return None

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
        return self.ended("unresolved", min(texts, key=lambda text: _probability(text[0]))[1])

    def unreviewed(self, error: ConscienceError, pending: Draft | None = None) -> Outcome:
        """The review failed: as ``on_error`` says.

        Args:
            error: why.
            pending: the text whose review failed; None where the last text is known to be flagged. That is not shown even
                when the policy is "open", nor is a text that the gate had flagged when its review failed.

        Raises:
            ConscienceError: the error, where the policy is "raise".
        """
        error.in_review = True
        if self.on_error == "raise":
            raise error
        self.tracker.note(f"unreviewed: {error.message}")
        flagged = error.verdict is not None and error.verdict.gated
        if flagged and self.on_error == "open":
            self.tracker.note("the gate flagged the text: it is not shown, although on_error is open")
        shown = pending if self.on_error == "open" and not flagged else None
        return self.ended("unreviewed", shown, error=error)

    def failed(self, error: ConscienceError) -> ConscienceError:
        """An error that leaves the call, with the verdict, the usage and the events; it holds no text of a draft."""
        unresolved = isinstance(error, UnresolvedError)
        verdict = self._verdict_on("refused" if unresolved else "unreviewed", None, error.message)
        return error.explained(verdict.without_texts(), self.tracker.usage(), tuple(self.tracker.events))

    def ended(
        self, status: Status, shown: Draft | None, *, error: ConscienceError | None = None, verdict: Verdict | None = None
    ) -> Outcome:
        """The outcome; ``shown`` is the text to return, None for the refusal text, and ``verdict`` is on it: by default the
        last one that was reached on it."""
        if shown is None:
            return self._refused(status, error)
        outputs = {**shown.written, **shown.outputs}
        if shown.reasoning and self._has_reasoning():
            outputs = {"reasoning": shown.reasoning, **outputs}
        return self._outcome(outputs, response_of(shown), status, shown, error, verdict)

    def _refused(self, status: Status, error: ConscienceError | None) -> Outcome:
        """The outcome in place of an answer; a function that the caller gave sees it as it would be without that."""
        draft, signature = self.draft, self.signature
        if signature is not None and draft is not None and not set(draft.outputs) <= set(signature.output_fields):
            signature = None  # what was returned is not what the signature says
        outputs = draft.outputs if draft else {"response": ""}
        names = list(
            dict.fromkeys([*(draft.written if draft else ()), *(signature.output_fields if signature else outputs)])
        )
        prose = prose_field(signature, outputs)
        text = refusal_text(self.constitution, draft.request if draft else "")
        said = None if callable(self.refusal) else self.refusal
        outcome = self._outcome(*self._after_released(*refusal_outputs(names, prose, said, text)), status, None, error)
        if not callable(self.refusal):
            return outcome
        said = self.refusal(outcome)
        return self._outcome(*self._after_released(*refusal_outputs(names, prose, said, text)), status, None, error)

    def _after_released(self, outputs: dict[str, Any], response: str) -> tuple[dict[str, Any], str]:
        """What stands in place of the rest of an answer, after what of it was shown: in its first field, as only an answer
        that is one text is shown before its end."""
        if not self.released:
            return outputs, response
        (name, said), *others = outputs.items()
        said = "\n\n".join(filter(None, (self.released, said)))
        return {name: said, **dict(others)}, "\n\n".join(filter(None, (self.released, response)))

    def _outcome(
        self,
        outputs: dict[str, Any],
        response: str,
        status: Status,
        shown: Draft | None,
        error: ConscienceError | None,
        verdict: Verdict | None = None,
    ) -> Outcome:
        hidden = status == "unreviewed" and shown is None  # what nobody has reviewed is not shown as the draft either
        outcome = Outcome(
            outputs,
            response=response,
            status=status,
            verdict=verdict or self._verdict_on(status, shown, error.message if error else ""),
            draft_verdict=self.verdict,
            draft=None if hidden else self.draft,
            revisions=tuple(self.revisions),
            truncated=shown is not None and shown.truncated,
            usage=self.tracker.usage(),
            events=tuple(self.tracker.events),
            error="" if error is None else error,
        )
        return with_reply(outcome, None if shown is None else shown.reply)

    def _verdict_on(self, status: Status, shown: Draft | None, why: str) -> Verdict:
        """The verdict on the text that is returned; on the last text that was reviewed where that is the refusal text."""
        known = [(self.draft, self.verdict), *((revision.draft, revision.verdict) for revision in self.revisions)]
        verdicts = [verdict for draft, verdict in known if verdict is not None and (shown is None or draft is shown)]
        if status == "unreviewed" or not verdicts:
            return Verdict.unreviewed(why, threshold=self.threshold)
        return verdicts[-1]

    def _has_reasoning(self) -> bool:
        return self.signature is not None and "reasoning" in self.signature.output_fields


def _repeats(revised: Draft, draft: Draft, verdict: Verdict) -> bool:
    """Whether nothing that a reader sees has changed; where the findings are about the written reasoning alone, it is that
    which has to. What a check or a linter flagged may be mended by other lines, yet by no look-alike letters."""
    if not looks_like(draft.response, revised.response):
        return False
    if verdict.method in WITHOUT_A_MODEL:
        return _layout(draft.response) == _layout(revised.response)
    thought, said = skeleton(draft.reasoning), skeleton(draft.response)
    quotes = list(filter(None, (skeleton(finding.quote) for finding in verdict.findings)))
    if not quotes:
        return skeleton(revised.reasoning) in ("", thought)
    about_the_reasoning = any(quote in thought and quote not in said for quote in quotes)
    return not about_the_reasoning or skeleton(revised.reasoning) == thought


def _layout(text: str) -> list[int]:
    """How far each line is indented, blank ones aside."""
    return [len(line) - len(line.lstrip(" \t")) for line in text.strip().split("\n") if line.strip()]


def response_of(shown: Draft) -> str:
    """The field ``response`` where there is one, else all of them as one text."""
    named = shown.outputs.get("response")
    return named if isinstance(named, str) else shown.response


def _probability(verdict: Verdict | None) -> float:
    return 1.0 if verdict is None or verdict.probability is None else verdict.probability
