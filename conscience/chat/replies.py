"""Outcomes as OpenAI's chat API tells them: a chat.completion, or its chunks, with a ``conscience`` object.

Only what was reviewed and passed, or what the caller's policy shows by name, is in them: never the draft.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from conscience._dspy.streams import words
from conscience.chat.requests import ChatRequest
from conscience.messages.completion import Body, Completion
from conscience.messages.tool_turns import CALLS
from conscience.outcome import Outcome, reply_of
from conscience.usage import CallUsage

_GOOD_FIRST = ("clean", "cleared", "revised", "observed", "unresolved", "unreviewed", "refused")


def completion_body(request: ChatRequest, outcomes: Sequence[Outcome], text_field: str | None = None) -> Body:
    """A ``chat.completion`` with a choice for each outcome.

    Args:
        request: what was asked.
        outcomes: the answers.
        text_field: the output field that is the text; None where the text is the outcome's whole response.
    """
    body: Body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [_choice(request, outcome, number, text_field) for number, outcome in enumerate(outcomes)],
        "usage": _usage(outcomes),
    }
    return with_reports(body, [report(outcome) for outcome in outcomes])


def with_reports(body: Body, reports: Sequence[Body]) -> Body:
    """A ``chat.completion`` with its ``conscience`` object: the report on its choice. Of several, each has its own, and the
    body has the worst."""
    if len(reports) == 1:
        return {**body, "conscience": reports[0]}
    choices = [{**choice, "conscience": one} for choice, one in zip(body["choices"], reports, strict=True)]
    worst = max(reports, key=lambda one: _GOOD_FIRST.index(one["status"]))
    return {**body, "choices": choices, "conscience": worst}


def report(outcome: Outcome) -> dict[str, Any]:
    """What whoever asked may know of the review: the outcome without any text.

    ``flagged`` and ``probability`` are about the text that is returned, or about the last one that was reviewed where that
    is the refusal text; both are null where there was no review, or it failed, which is no verdict. ``principles`` are those
    that the returned text, or else the draft, was found to break.
    """
    verdict = outcome.verdict
    findings = verdict.findings or (outcome.draft_verdict.findings if outcome.draft_verdict is not None else ())
    return {
        "status": outcome.status,
        "ok": outcome.ok,
        "flagged": verdict.flagged if verdict.reviewed else None,
        "probability": verdict.probability if verdict.reviewed else None,
        "threshold": verdict.threshold,
        "principles": list(dict.fromkeys(finding.principle for finding in findings)),
        "revisions": len(outcome.revisions),
        "error": outcome.error,
        "usage": outcome.usage.to_dict(),
    }


def chunks(body: Body, *, include_usage: bool = False) -> Iterator[Body]:
    """A ``chat.completion`` in pieces, as it would have been streamed. The first piece and the last end have the
    ``conscience`` object: the package's own stream helper keeps what the first one has."""
    head = {name: value for name, value in body.items() if name not in ("choices", "usage", "conscience")}
    head["object"] = "chat.completion.chunk"
    nothing: dict[str, Any] = {"usage": None} if include_usage else {}
    begun: dict[str, Any] = {"conscience": body["conscience"]}
    for choice in body["choices"]:
        for part in _deltas(choice):
            yield {**head, "choices": [part], **nothing, **begun}
            begun = {}
        end = {"index": choice["index"], "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
        if "conscience" in choice:
            end["conscience"] = choice["conscience"]
        last = {"conscience": body["conscience"]} if choice is body["choices"][-1] else {}
        yield {**head, "choices": [end], **nothing, **last}
    if include_usage:
        yield {**head, "choices": [], "usage": body["usage"]}


def _deltas(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    def part(delta: dict[str, Any], logprobs: Any = None) -> dict[str, Any]:
        return {"index": choice["index"], "delta": delta, "logprobs": logprobs, "finish_reason": None}

    message = choice["message"]
    content, refusal, logprobs = message.get("content"), message.get("refusal"), choice.get("logprobs")
    beside = {name: value for name, value in message.items() if name not in ("role", "content", "refusal", CALLS)}
    yield part({"role": "assistant", "content": "" if content is not None else None, "refusal": None, **beside})
    if logprobs is not None and content:  # they belong to the text as a whole, so it comes as a whole
        yield part({"content": content}, logprobs)
    else:
        for word in words(content or ""):
            yield part({"content": word})
    for word in words(refusal or ""):
        yield part({"refusal": word})
    for number, call in enumerate(message.get(CALLS) or ()):
        yield part({CALLS: [{"index": number, **call}]})


def _choice(request: ChatRequest, outcome: Outcome, number: int, text_field: str | None) -> Body:
    structured, logprobs = "response_format" in request.parameters, bool(request.parameters.get("logprobs"))
    return choice_of(outcome, number, text_field, structured=structured, logprobs=logprobs)


def choice_of(outcome: Outcome, number: int, text_field: str | None, *, structured: bool, logprobs: bool) -> Body:
    """What an outcome returns, as a choice of a ``chat.completion``.

    Args:
        outcome: what is told.
        number: its place among the choices.
        text_field: the output field that is the text; None where the text is the outcome's whole response.
        structured: whether an answer in some other form than prose was asked for; a refusal text is then told as one.
        logprobs: whether log-probabilities were asked for.
    """
    reply = reply_of(outcome)
    text, calls = _text(outcome, text_field), outcome.get(CALLS) or None
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
    if calls:
        message[CALLS] = calls
    elif not text:
        message["content"] = ""
    if reply is None and structured and not _is_shown(outcome):
        message |= {"content": None, "refusal": text}  # not a text in the form that was asked for
    return {
        "index": number,
        "message": message,
        "logprobs": _logprobs(reply, text) if logprobs and reply is not None else None,
        "finish_reason": _finish_reason(outcome, reply, bool(calls)),
    }


def _text(outcome: Outcome, text_field: str | None) -> str:
    value = outcome.get(text_field) if text_field is not None else None
    return value if isinstance(value, str) else outcome.response


def _is_shown(outcome: Outcome) -> bool:
    """Whether what is returned is an answer, not the refusal text."""
    return outcome.ok or outcome.status in ("unresolved", "observed")


def _finish_reason(outcome: Outcome, reply: Completion | None, calls: bool) -> str:
    if outcome.truncated:
        return "length"
    if calls:
        return "tool_calls"
    reason = reply.finish_reason if reply is not None else ""
    return reason if reason in ("stop", "length", "content_filter") else "stop"


def _logprobs(reply: Completion, text: str) -> Any:
    """The log-probabilities of exactly this text: those of an answer with its thinking would tell the thinking."""
    (choice,) = reply.body["choices"]
    content = (choice.get("logprobs") or {}).get("content") or []
    if "".join(str(token.get("token", "")) for token in content).strip() != text.strip():
        return None
    return {"content": [_token(token) for token in content], "refusal": None}


def _token(token: dict[str, Any]) -> dict[str, Any]:
    """A token as OpenAI's API has it; a server's thousands of candidates are kept as an object here."""
    top = token.get("top_logprobs") or []
    if isinstance(top, dict):
        top = [{"token": name, "logprob": value} for name, value in top.items()]
    described = [{**one, "bytes": list(str(one.get("token", "")).encode())} for one in (token, *top)]
    return {**described[0], "top_logprobs": described[1:]}


def _usage(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What writing the answers took, revisions included; what the review took beside it is in the ``conscience`` object."""
    by_role = [outcome.usage.by_role.get(role, CallUsage()) for outcome in outcomes for role in ("generate", "revise")]
    spent = sum(by_role, CallUsage())
    return {
        "prompt_tokens": spent.input_tokens,
        "completion_tokens": spent.output_tokens,
        "total_tokens": spent.tokens,
        "prompt_tokens_details": {"cached_tokens": spent.reused_tokens},
    }
