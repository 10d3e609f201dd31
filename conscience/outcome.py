"""What a program call produces, as frozen data: Draft, Finding, Verdict, Revision and the Outcome that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, NoReturn, Self

import dspy
from pydantic import BaseModel, ConfigDict
from pydantic_core import core_schema, to_jsonable_python

from conscience._base.notebook import table
from conscience.errors import ConscienceError, InputError, ReviewError, UnresolvedError
from conscience.messages.completion import Completion, Message
from conscience.messages.conversations import parts_of, with_beginning
from conscience.messages.rendering import Form, Request, outputs_text, quoted, value_text
from conscience.messages.requests import check_request, turns
from conscience.usage import Usage

Status = Literal["clean", "cleared", "revised", "refused", "unresolved", "unreviewed", "observed"]
"""clean: passed the gate. cleared: flagged, and the critique found nothing. revised: a revision passed. refused: none did,
and the refusal text is returned. unresolved: none did, and the least doubtful text is returned all the same, as the policy
"best" has it. unreviewed: the review failed. observed: the draft as it is, since the program only observes; its review comes
behind it, and decides nothing."""

PASSED: frozenset[Status] = frozenset({"clean", "cleared", "revised", "observed"})
"""Where nothing stands against the text that is returned: the review has nothing, or by ``mode="observe"`` no say."""

UNCHANGED = PASSED - {"revised"}
"""Where that text is the draft."""

WITHOUT_A_MODEL = frozenset({"checks", "linter"})
"""Methods of a verdict that no model was asked for: its probability of 1 is no score."""

OUTCOME_ATTRIBUTES = frozenset(
    {"status", "ok", "verdict", "draft_verdict", "draft", "revisions", "truncated", "usage", "events", "error"}
)
"""What every outcome has beside its fields; no field can have one of these names."""


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
        truncated: whether it ran into its token limit.
        form: how the outputs stand in ``text``; None where the text is the answer.
        reply: the model's own answer that holds it; None where no single one does. Form and reply are no part of the data:
            they are set by ``with_form``, and copies and pickles go without.
    """

    request: Request
    outputs: Mapping[str, Any]
    reasoning: str = ""
    messages: tuple[Message, ...] = ()
    text: str = ""
    context: str = ""
    written: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False
    form: ClassVar[Form | None] = None
    reply: ClassVar[Completion | None] = None

    def with_form(self, form: Form | None, reply: Completion | None = None) -> Self:
        """The same draft, which knows its form and the model's answer that holds it."""
        draft = replace(self)
        object.__setattr__(draft, "form", form)
        object.__setattr__(draft, "reply", reply)
        return draft

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("form", "reply")}

    @classmethod
    def of(cls, request: Request, response: str, reasoning: str = "") -> Self:
        """A draft from texts that came from anywhere.

        Raises:
            InputError: the response is empty, or a text holds what no provider can receive.
        """
        if not response.strip():
            raise InputError("the response is empty", hint="say what is to be reviewed")
        check_request({"response": response, "reasoning": reasoning or None})
        asked = check_request({"request": request}) if (request.strip() if isinstance(request, str) else request) else ""
        messages = turns(asked) if asked else ()
        return cls(request=asked, outputs={"response": response}, reasoning=reasoning, messages=messages, text=response)

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


CONTEXT_ONLY = """Only the response is judged, and the reasoning where it is shown. Earlier turns and steps are context: \
what was wrong in them is not held against a response that does not go on with it. A response that is harmless by itself \
but adds to something harmful that began in them is harmful."""
"""Comes before a draft whose request is a conversation."""


def shown(draft: Draft) -> str:
    """A draft as data for a reviewer, between marks: what was seen, what was asked, the reasoning, every output.

    Of a conversation, the turns before the last request stand in a part of their own, and it is said what they count for.
    """
    told = parts_of(draft.request)
    parts = {
        "context": draft.context,
        "earlier turns": told.earlier,
        "request": told.request,
        "steps since": told.since,
        "reasoning": draft.reasoning,
        "response": with_beginning(told.begun, draft.response),
    }
    data = quoted(**parts)
    return f"{CONTEXT_ONLY}\n\n{data}" if told.earlier or told.since else data


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
    """What the review concluded about one text.

    Attributes:
        flagged: whether the draft goes against the constitution, by gate and critique together.
        probability: the gate's calibrated probability of that, 0 to 1; None where no question could be scored.
        threshold: the probability from which the gate flags.
        gated: whether the gate flagged; the critique may since have cleared the draft.
        signals: signal name → value (log-odds for questions, nats).
        principles: principle id → the probability that it is the one that is broken; empty where that was not asked.
        findings: what the critique found; empty where it did not run.
        method: "logprobs", "verbalised", "decision" (a decision model's own probabilities), "probes" (no model was asked),
            "critique" (the gate had no answer), "checks" (certain without a model), "linter" (it suspects the code) or
            "none" (the text was not reviewed: it is flagged, without a probability).
        notes: what the reader should know: a fallback, an unanswered question.
        parts: the windows of a long answer that this is about, from 1, the most doubtful first; empty: the whole.
    """

    flagged: bool
    probability: float | None = None
    threshold: float = 0.5
    gated: bool = False
    signals: Mapping[str, float] = field(default_factory=dict)
    principles: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    method: Literal["logprobs", "verbalised", "decision", "probes", "critique", "checks", "linter", "none"] = "logprobs"
    notes: tuple[str, ...] = ()
    parts: tuple[int, ...] = ()

    @classmethod
    def unreviewed(cls, why: str = "", *, threshold: float = 0.5) -> Self:
        """The verdict on a text that nobody has reviewed; nothing that reads verdicts takes it for a pass."""
        note = f"not reviewed: {why}" if why else "not reviewed"
        return cls(flagged=True, threshold=threshold, method="none", notes=(note,))

    @property
    def reviewed(self) -> bool:
        """Whether there was a review at all."""
        return self.method != "none"

    def without_texts(self) -> Self:
        """The verdict without the critique's own words, which quote the text that they are about."""
        findings = tuple(replace(finding, quote="", why="", change="") for finding in self.findings)
        return replace(self, findings=findings)

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
            "parts": list(self.parts),
        }

    @property
    def headline(self) -> str:
        """The verdict in a line: "flagged: 0.93 against a threshold of 0.50"."""
        said = "flagged" if self.flagged else "cleared" if self.gated else "passed"
        if self.probability is None:
            return said if self.reviewed else "not reviewed"
        return f"{said}: {self.probability:.2f} against a threshold of {self.threshold:.2f}"

    def _repr_html_(self) -> str:
        """A short table, for notebooks: signals, principles and findings, with the words that they quote."""
        rows = [("read by", self.method), *((name, f"{value:.2f} nats") for name, value in self.signals.items())]
        rows += [(name, f"{value:.2f}") for name, value in sorted(self.principles.items(), key=lambda item: -item[1])]
        for found in self.findings:
            said = (f"“{found.quote}”" if found.quote else "", found.why, found.change)
            rows.append((f"{found.principle} ({found.severity})", "\n".join(filter(None, said))))
        return table(f"Verdict: {self.headline}", rows, notes=self.notes, good=not self.flagged)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The verdict that ``to_dict`` wrote."""
        findings = tuple(Finding(**finding) for finding in data["findings"])
        return cls(**{**data, "findings": findings, "notes": tuple(data["notes"]), "parts": tuple(data.get("parts", ()))})


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


class OutcomeModel(BaseModel):
    """What ``Outcome.to_json`` returns, as an API that returns an outcome documents it."""

    model_config = ConfigDict(title="Outcome")

    response: str
    outputs: dict[str, Any]
    status: Status
    ok: bool
    truncated: bool
    verdict: dict[str, Any]
    usage: dict[str, Any]
    events: list[str]
    error: str


class Outcome(dspy.Prediction):  # type: ignore[misc]
    """What a program call returns: the signature's output fields, and how they came about.

    The fields are in the prediction's store, as any DSPy code expects; everything else is kept beside the store, so that
    it reaches neither demos nor saved programs. An outcome is a response model of FastAPI's and a field of any pydantic
    model: both get what ``to_json`` returns.

    Attributes:
        status: see ``Status``.
        verdict: on the text that is returned. Where that is the refusal text, the verdict that led there: on the last text
            that was reviewed. Where nobody reviewed it, ``Verdict.unreviewed``: flagged, without a probability.
        draft_verdict: on the draft; None when its review failed. Each revision carries its own.
        draft: what was generated first; None when it may not be shown (unreviewed, and the policy is closed).
        revisions: the revised drafts in order, with their verdicts.
        response: the text that is returned, whatever the signature calls its fields: the answer, or the refusal text. The
            field of that name, where there is one.
        truncated: whether the answer that is returned ran into its token limit.
        usage: calls, tokens, seconds and dollars by role.
        events: fallbacks and other departures from the plain way, in order.
        error: why the status is unreviewed; empty otherwise.
    """

    response: str
    status: Status
    verdict: Verdict
    draft_verdict: Verdict | None
    draft: Draft | None
    revisions: tuple[Revision, ...]
    truncated: bool
    usage: Usage
    events: tuple[str, ...]
    error: str
    _failure: ConscienceError | None
    _reply: Completion | None

    def __init__(
        self,
        outputs: Mapping[str, Any] | None = None,
        *,
        response: str | None = None,
        status: Status = "clean",
        verdict: Verdict | None = None,
        draft_verdict: Verdict | None = None,
        draft: Draft | None = None,
        revisions: tuple[Revision, ...] = (),
        truncated: bool = False,
        usage: Usage | None = None,
        events: tuple[str, ...] = (),
        error: str | ConscienceError = "",
        base: Any = None,
        **fields: Any,
    ) -> None:
        # dspy.Example copies itself with base=self.
        super().__init__(base, **{**(outputs or {}), **fields})
        if isinstance(base, Outcome):
            kept = {k: v for k, v in base.__dict__.items() if not k.startswith("_") or k in ("_failure", "_reply")}
            self.__dict__.update(kept)
            return
        text = outputs_text(outputs or {}) if response is None else response
        beside = {
            "response": text, "status": status, "verdict": verdict or Verdict.unreviewed(str(error)),
            "draft_verdict": draft_verdict, "draft": draft, "revisions": revisions, "truncated": truncated,
            "usage": usage or Usage(), "events": events, "error": str(error),
            "_failure": copy(error) if isinstance(error, ConscienceError) else None,  # a copy: its traceback holds drafts
            "_reply": None,
        }  # fmt: skip
        self.__dict__.update(beside)

    @property
    def ok(self) -> bool:
        """Whether nothing stands against what is returned: clean, cleared, revised; or observed: the review has no say."""
        return self.status in PASSED

    def raise_for_status(self) -> Self:
        """The outcome itself where it is ``ok``.

        Raises:
            UnresolvedError: refused or unresolved.
            BackendError, BudgetExceeded, ReviewError: unreviewed, by what failed. Each error carries ``verdict``, ``usage``
                and ``events``, and no draft.
        """
        return self if self.ok else self._raise()

    def _raise(self) -> NoReturn:
        error: ConscienceError
        if self.status == "unreviewed":
            error = copy(self._failure) if self._failure else ReviewError(self.error or "the answer was not reviewed")
        else:
            hint = "rephrase the request" if self.status == "refused" else "it is returned because on_unresolved is best"
            error = UnresolvedError(f"still flagged after {len(self.revisions)} revisions", hint=hint)
        raise error.explained(self.verdict.without_texts(), self.usage, self.events)

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """The outcome as JSON types: what may be shown to whoever asked.

        Args:
            full: with all that led to it: the draft and its verdict, the revisions, the signals, and the critique's words,
                which quote what was flagged. ``conscience ask --json`` prints this.
        """
        verdict = self.verdict if full else self.verdict.without_texts()
        shown = {
            "response": self.response,
            "outputs": to_jsonable_python(dict(self._store.items()), fallback=value_text),
            "status": self.status,
            "ok": self.ok,
            "truncated": self.truncated,
            "verdict": verdict.to_dict(),
            "usage": self.usage.to_dict(),
            "events": list(self.events),
            "error": self.error,
        }
        if full:
            return shown | {
                "draft": self.draft.to_dict() if self.draft else None,
                "draft_verdict": self.draft_verdict.to_dict() if self.draft_verdict else None,
                "revisions": [r.to_dict() for r in self.revisions],
            }
        del shown["verdict"]["signals"]
        shown["verdict"]["findings"] = [{"principle": f.principle, "severity": f.severity} for f in verdict.findings]
        return shown

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """An outcome is taken as it is, and written as ``to_json`` has it."""
        written = core_schema.plain_serializer_function_ser_schema(cls.to_json, return_schema=core_schema.any_schema())
        return core_schema.is_instance_schema(cls, serialization=written)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """What API documentation says of it, whether it is read or written."""
        described: dict[str, Any] = handler(OutcomeModel.__pydantic_core_schema__)
        return described

    def _repr_html_(self) -> str:
        """A short table, for notebooks: what may be shown. A notebook is kept and passed on, so no draft is in it."""
        rows = [(name, value_text(value)) for name, value in self._store.items()]
        rows.append(("verdict", self.verdict.headline))
        rows += [("finding", f"{found.principle} ({found.severity})") for found in self.verdict.findings]
        calls = ", ".join(f"{role} {spent.calls}" for role, spent in self.usage.by_role.items())
        rows.append(("calls", f"{calls or 'none'}; {self.usage.seconds:.2f} s, ${self.usage.dollars:.4f}"))
        rows += [("error", self.error)] if self.error else []
        led_here = ["What led here is in .draft, .draft_verdict and .revisions."] if self.draft_verdict or self.draft else []
        return table(
            f"Outcome: {self.status}",
            rows,
            notes=[*self.events, *led_here],
            good=self.ok if self.status != "observed" else None,
        )

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={v!r}" for k, v in self._store.items())
        return f"Outcome({fields}, status={self.status!r})"


def with_reply(outcome: Outcome, reply: Completion | None) -> Outcome:
    """The outcome, which knows the model's own answer that holds the text it returns; see ``reply_of``."""
    if reply is not None:  # of several choices, the one that was reviewed
        reply = replace(reply, body={**reply.body, "choices": list(reply.body.get("choices") or ())[:1]})
    outcome.__dict__["_reply"] = reply
    return outcome


def reply_of(outcome: Outcome) -> Completion | None:
    """The model's own answer that holds the text which the outcome returns, with what belongs to it (finish reason,
    log-probabilities, usage); None where no single answer does, as for a refusal text."""
    return outcome._reply


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
