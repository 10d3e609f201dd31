"""What a program call produces, as frozen data: Draft, Finding, Verdict, Revision and the Outcome that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, Self

import dspy

from conscience.errors import InputError
from conscience.messages.completion import Message
from conscience.messages.rendering import Request, outputs_text, quoted, request_text, value_text
from conscience.messages.requests import check_request
from conscience.usage import Usage

Status = Literal["clean", "cleared", "revised", "refused", "unreviewed"]
"""clean: passed the gate. cleared: flagged, and the critique found nothing. revised: a revision passed. refused: none did
(or, where the policy is "best", the least doubtful text, so marked). unreviewed: the review failed."""

OUTCOME_ATTRIBUTES = frozenset({"status", "verdict", "draft", "revisions", "usage", "events", "error"})
"""What every outcome has beside its fields; no field can have one of these names."""


class AnswerForm(Protocol):
    """How output fields stand in a text."""

    def request(self) -> str:
        """What asks for a text in this form."""

    def read(self, text: str) -> dict[str, Any]:
        """The fields in a text of this form; raises ValueError where it is not in it."""

    def write(self, outputs: Mapping[str, Any]) -> str:
        """These outputs in this form."""


@dataclass(frozen=True)
class Draft:
    """What was generated, before review.

    Attributes:
        request: what the user asked: text or chat messages.
        outputs: the signature's output fields without the written reasoning.
        reasoning: the written reasoning, or the provider's own reasoning content; empty where there is none.
        messages: the messages that produced it; the gate continues them.
        text: the assistant's turn that follows ``messages``: as the model wrote it, where that holds every output.
        context: what generation saw beside the request, as text: its task, retrieved documents, tool results.
        written: output fields that hold written reasoning (reasoning, trajectory); ``reasoning`` shows them.
        sampling: limits that the generation was under, such as max_tokens; a revision keeps them.
        form: how the outputs stand in ``text``; None where the text is the answer. No part of the data: it is set by
            ``with_form``, and copies and pickles go without.
    """

    request: Request
    outputs: Mapping[str, Any]
    reasoning: str = ""
    messages: tuple[Message, ...] = ()
    text: str = ""
    context: str = ""
    written: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    form: ClassVar[AnswerForm | None] = None

    def with_form(self, form: AnswerForm | None) -> Self:
        """The same draft, which knows its form."""
        draft = replace(self)
        object.__setattr__(draft, "form", form)
        return draft

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "form"}

    @classmethod
    def of(cls, request: Request, response: str, reasoning: str = "") -> Self:
        """A draft from texts that came from anywhere.

        Raises:
            InputError: the response is empty, or a text holds what no provider can receive.
        """
        if not response.strip():
            raise InputError("the response is empty", hint="say what is to be reviewed")
        check_request({"response": response, "reasoning": reasoning or None})
        turns = check_request({"request": request}) if request else ""
        messages = ({"role": "user", "content": turns},) if isinstance(turns, str) else tuple(turns)
        return cls(request=turns, outputs={"response": response}, reasoning=reasoning, messages=messages, text=response)

    @property
    def response(self) -> str:
        """The outputs as one text."""
        return outputs_text(self.outputs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "response": self.response,
            "reasoning": self.reasoning,
            "outputs": {k: v if _plain(v) else value_text(v) for k, v in self.outputs.items()},
        }


def shown(draft: Draft) -> str:
    """A draft as data for a reviewer, between marks: what was seen, what was asked, the reasoning, every output."""
    return quoted(
        context=draft.context,
        request=request_text(draft.request),
        reasoning=draft.reasoning,
        response=draft.response,
    )


@dataclass(frozen=True)
class Finding:
    """One thing that the critique found wrong.

    Attributes:
        principle: id of the principle that is broken.
        quote: the words of the draft or its reasoning that break it.
        why: how they break it.
        change: what a revision has to change.
        severity: low, medium or high.
        grounded: whether the quote really stands in the draft.
    """

    principle: str
    quote: str
    why: str
    change: str
    severity: str = "medium"
    grounded: bool = True


@dataclass(frozen=True)
class Verdict:
    """What the review concluded about one draft.

    Attributes:
        flagged: whether the draft goes against the constitution, by gate and critique together.
        probability: the gate's calibrated probability of that, 0 to 1; None where no question could be scored.
        threshold: the probability from which the gate flags.
        gated: whether the gate flagged; the critique may since have cleared the draft.
        signals: signal name → value (log-odds for questions, nats).
        principles: principle id → the probability that it is the one that is broken; empty where that was not asked.
        findings: what the critique found; empty where it did not run.
        method: "logprobs", "verbalised", "probes" (no model was asked) or "critique" (the gate had no answer).
        notes: what the reader should know: a fallback, an unanswered question.
    """

    flagged: bool
    probability: float | None = None
    threshold: float = 0.5
    gated: bool = False
    signals: Mapping[str, float] = field(default_factory=dict)
    principles: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    method: Literal["logprobs", "verbalised", "probes", "critique"] = "logprobs"
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "flagged": self.flagged,
            "probability": self.probability,
            "threshold": self.threshold,
            "gated": self.gated,
            "signals": dict(self.signals),
            "principles": dict(self.principles),
            "findings": [asdict(f) for f in self.findings],
            "method": self.method,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The verdict that ``to_dict`` wrote."""
        findings = tuple(Finding(**finding) for finding in data["findings"])
        return cls(**{**data, "findings": findings, "notes": tuple(data["notes"])})


@dataclass(frozen=True)
class Revision:
    """One revised draft and the verdict on it."""

    draft: Draft
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        return {**self.draft.to_dict(), "verdict": self.verdict.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The revision that ``to_dict`` wrote: its texts, without the messages that produced them."""
        draft = Draft(request="", outputs=data["outputs"], reasoning=data["reasoning"])
        return cls(draft, Verdict.from_dict(data["verdict"]))


class Outcome(dspy.Prediction):  # type: ignore[misc]
    """What a program call returns: the signature's output fields, and how they came about.

    The fields are in the prediction's store, as any DSPy code expects; everything else is kept beside the store, so that
    it reaches neither demos nor saved programs.

    Attributes:
        status: see ``Status``.
        verdict: the review of the draft; None when it failed. Each revision carries its own.
        draft: what was generated first; None when it may not be shown (unreviewed, and the policy is closed).
        revisions: the revised drafts in order, with their verdicts.
        response: the text that is returned, whatever the signature calls its fields: the answer, or the refusal text. The
            field of that name, where there is one.
        usage: calls, tokens, seconds and dollars by role.
        events: fallbacks and other departures from the plain way, in order.
        error: why the status is unreviewed; empty otherwise.
    """

    response: str
    status: Status
    verdict: Verdict | None
    draft: Draft | None
    revisions: tuple[Revision, ...]
    usage: Usage
    events: tuple[str, ...]
    error: str

    def __init__(
        self,
        outputs: Mapping[str, Any] | None = None,
        *,
        response: str | None = None,
        status: Status = "clean",
        verdict: Verdict | None = None,
        draft: Draft | None = None,
        revisions: tuple[Revision, ...] = (),
        usage: Usage | None = None,
        events: tuple[str, ...] = (),
        error: str = "",
        base: Any = None,
        **fields: Any,
    ) -> None:
        # dspy.Example copies itself with base=self.
        super().__init__(base, **{**(outputs or {}), **fields})
        if isinstance(base, Outcome):
            self.__dict__.update({k: v for k, v in base.__dict__.items() if not k.startswith("_")})
            return
        text = outputs_text(outputs or {}) if response is None else response
        beside = {
            "response": text, "status": status, "verdict": verdict, "draft": draft, "revisions": revisions,
            "usage": usage or Usage(), "events": events, "error": error,
        }  # fmt: skip
        self.__dict__.update(beside)

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON types: what ``conscience ask --json`` prints."""
        return {
            "response": self.response,
            "status": self.status,
            "outputs": {k: v if _plain(v) else value_text(v) for k, v in self._store.items()},
            "draft": self.draft.to_dict() if self.draft else None,
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "revisions": [r.to_dict() for r in self.revisions],
            "usage": self.usage.to_dict(),
            "events": list(self.events),
            "error": self.error,
        }

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={v!r}" for k, v in self._store.items())
        return f"Outcome({fields}, status={self.status!r})"


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
