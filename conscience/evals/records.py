"""What is known of each case of a run: one frozen record a case, which figures, report and optimizers share.

Every record has ``to_json`` and ``from_json``: a line of ``rows.jsonl``. ``RUN_FORMAT`` is the version of these lines and
stands in the run's ``run.json``. A record read back has the texts, but no longer the chat messages that produced them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from conscience.outcome import Revision, Status, Verdict
from conscience.usage import Usage

RUN_FORMAT = "conscience-run/2"
"""The version of a run's folder: of ``run.json`` and of the lines in ``rows.jsonl``."""

Kind = Literal["review", "revise", "answer"]
"""review: a given response was reviewed. revise: it was reviewed and corrected. answer: the program answered the request."""


@dataclass(frozen=True)
class Graded:
    """A text and what the oracle said of it.

    Attributes:
        text: None where it may not be shown.
        ok: whether it is acceptable; None where nothing judged it.
        reason: why, in the oracle's words.
        refused: whether it declines to answer.
    """

    text: str | None
    ok: bool | None
    reason: str = ""
    refused: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True)
class CaseRecord:
    """One case that was done: what was asked, drafted, judged and returned, and what it cost.

    Attributes:
        id: the case's.
        key: a digest of everything that the record depends on; empty until the run writes it.
        kind: see ``Kind``.
        request: what was asked, as text.
        expected: what is right, in a few words: "answer", "refuse", a label, or a choice.
        group, pair, weight: the case's.
        safe: whether the request should be answered; None where that is not known.
        misaligned: whether the draft is; None where nothing says so.
        reasoning: the draft's.
        draft: the text that was reviewed; None where it may not be shown, since its review failed.
        outcome: the text that was returned; None where a given response was only reviewed.
        status: of the outcome; None where a given response was only reviewed.
        verdict: on the draft; None where the review failed.
        revisions: in order, each with its verdict.
        events: fallbacks and other departures from the plain way.
        unreviewed: why the review failed; empty where it did not.
        usage: calls, tokens, seconds and dollars by role.
    """

    id: str
    kind: Kind
    usage: Usage
    key: str = ""
    request: str = ""
    expected: str = ""
    group: str | None = None
    pair: str | None = None
    weight: float = 1.0
    safe: bool | None = None
    misaligned: bool | None = None
    reasoning: str = ""
    draft: Graded | None = None
    outcome: Graded | None = None
    status: Status | None = None
    verdict: Verdict | None = None
    revisions: tuple[Revision, ...] = ()
    events: tuple[str, ...] = ()
    unreviewed: str = ""

    @property
    def flagged(self) -> bool:
        """Whether the review flagged the draft."""
        return self.verdict is not None and self.verdict.flagged

    @property
    def draft_ok(self) -> bool | None:
        """Whether the draft is acceptable; None where it is not shown or nothing judged it."""
        return None if self.draft is None else self.draft.ok

    @property
    def outcome_ok(self) -> bool | None:
        """Whether the returned text is acceptable; None where a given response was only reviewed."""
        return None if self.outcome is None else self.outcome.ok

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types. ``flagged`` stands in it for those who read the file."""
        return {
            "id": self.id,
            "key": self.key,
            "kind": self.kind,
            "request": self.request,
            "expected": self.expected,
            "group": self.group,
            "pair": self.pair,
            "weight": self.weight,
            "safe": self.safe,
            "misaligned": self.misaligned,
            "flagged": self.flagged,
            "reasoning": self.reasoning,
            "draft": self.draft.to_json() if self.draft else None,
            "outcome": self.outcome.to_json() if self.outcome else None,
            "status": self.status,
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "revisions": [revision.to_dict() for revision in self.revisions],
            "events": list(self.events),
            "unreviewed": self.unreviewed,
            "usage": self.usage.to_dict(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record that ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is none.
        """
        fields = {name: value for name, value in data.items() if name != "flagged"}
        fields |= {name: Graded.from_json(fields[name]) for name in ("draft", "outcome") if fields[name] is not None}
        if fields["verdict"] is not None:
            fields["verdict"] = Verdict.from_dict(fields["verdict"])
        fields["revisions"] = tuple(Revision.from_dict(revision) for revision in fields["revisions"])
        fields["events"] = tuple(fields["events"])
        fields["usage"] = Usage.from_dict(fields["usage"])
        return cls(**fields)


@dataclass(frozen=True)
class ReviewRecord:
    """One given response that ``conscience review`` reviewed.

    Attributes:
        id, key: see ``CaseRecord``.
        verdict: on the response.
        label: the case's, if it has any.
        usage: what it cost; the file holds only calls, tokens and dollars.
        reviewer: a digest of all that the verdict depends on besides the case.
    """

    id: str
    verdict: Verdict
    usage: Usage
    label: str | None = None
    key: str = ""
    reviewer: str = ""

    @property
    def flagged(self) -> bool:
        return self.verdict.flagged

    @property
    def outcome_ok(self) -> None:
        """Nothing was returned that could be right."""
        return

    def to_json(self) -> dict[str, Any]:
        """One flat line: the verdict's fields beside the case's id."""
        spent = self.usage.total
        verdict = self.verdict.to_dict()
        cost = {"calls": spent.calls, "tokens": spent.tokens, "dollars": self.usage.dollars}
        return {"id": self.id, "key": self.key, **verdict, "label": self.label, **cost, "reviewer": self.reviewer}


@dataclass(frozen=True)
class FailedCase:
    """A case that could not be done, and why; the next call tries it again."""

    id: str
    key: str
    error: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


Record = CaseRecord | FailedCase
"""A line of ``rows.jsonl``."""


def record_from_json(data: Mapping[str, Any]) -> Record:
    """A record or a failed case, from a line of ``rows.jsonl``.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is neither.
    """
    return FailedCase.from_json(data) if "error" in data else CaseRecord.from_json(data)
