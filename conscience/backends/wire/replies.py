"""What a server of OpenAI's chat wire answered, as one chat body or one of DSPy's errors, whatever it was.

The forms are those that LiteLLM gives: reasoning beside the content, its names of finish reasons, numbers as numbers, no
nulls. Where LiteLLM would fail on an answer that can be read (content in parts, an odd usage), it is read; where it loses
what a server said (an error that comes with status 200, a pause that a 429 asks for), that is kept.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from conscience._dspy.lm import LMError, lm_errors
from conscience.backends.wire.connection import Reply
from conscience.messages.completion import Body
from conscience.messages.thoughts import thought_of

FINISH_REASONS: Mapping[str, str] = {
    **{name: name for name in ("stop", "length", "tool_calls", "function_call", "content_filter")},
    **dict.fromkeys(("max_tokens", "MAX_TOKENS", "model_context_window_exceeded", "compaction"), "length"),
    **dict.fromkeys(("pause_turn", "CONTINUATION"), "length"),
    **dict.fromkeys(("tool_use", "TOOL_CALL"), "tool_calls"),
    **dict.fromkeys(("refusal", "content_filtered", "sensitive", "guardrail_intervened"), "content_filter"),
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "SPII"), "content_filter"),
    **dict.fromkeys(("PROHIBITED_CONTENT", "IMAGE_SAFETY", "ERROR_TOXIC", "ESCALATION"), "content_filter"),
    **dict.fromkeys(("IMAGE_PROHIBITED_CONTENT", "NO_IMAGE", "IMAGE_RECITATION", "IMAGE_OTHER"), "content_filter"),
}
"""LiteLLM's names for what providers call otherwise; the rest is "stop"."""

BROKEN_OFF = frozenset({"error", "network_error"})
"""Finish reasons of an answer that a provider lost on its way: what there is of it is no answer."""

_TOO_LONG = re.compile(
    r"exceed context limit|this model's maximum context length is|model's maximum context (limit|length)"
    r"|is longer than the model's context length|input tokens exceed the configured limit|prompt is too long"
    r"|`inputs` tokens \+ `max_new_tokens` must be|exceeds the (available context size|maximum number of tokens allowed)"
    r"|string too long\. expected a string with maximum length|current length is.*while limit is"
    r"|maximum input length is.*tokens|input too long:.*input tokens, limit is",
    re.IGNORECASE | re.DOTALL,
)
_THOUGHT = re.compile(r"<(?:think|thinking|budget:thinking)>(.*?)</(?:think|thinking|budget:thinking)>(.*)", re.DOTALL)
_CODES = {
    "context_length_exceeded": lm_errors.ContextWindowExceededError,
    "insufficient_quota": lm_errors.LMBillingError,
    "model_not_found": lm_errors.LMUnsupportedModelError,
    "DeploymentNotFound": lm_errors.LMUnsupportedModelError,
    "invalid_api_key": lm_errors.LMAuthError,
}
_STATUSES = {
    **dict.fromkeys((400, 409, 413, 422), lm_errors.LMInvalidRequestError),
    **dict.fromkeys((401, 403), lm_errors.LMAuthError),
    402: lm_errors.LMBillingError,
    404: lm_errors.LMUnsupportedModelError,
    **dict.fromkeys((408, 504), lm_errors.LMTimeoutError),
    429: lm_errors.LMRateLimitError,
}
_FAILURES = ("error", "errors", "base_resp")
"""Names under which a body with status 200 tells what went wrong."""
LONGEST_MESSAGE = 2000
LARGEST_COUNT = 1 << 53
MANY = 64
"""Candidates of a token above which they are kept in a short form."""
DECIMALS = 4
"""Of a log-probability in that form."""


# Errors ----------------------------------------------------------------------------------------------------------------


def reply_error(reply: Reply, model: str) -> LMError:
    """The error that a status of 300 and more stands for."""
    detail = _detail(parsed(reply.content))
    return _error(reply.status, detail or {"message": _text(reply)}, reply.headers, model)


def _error(status: int | None, detail: Mapping[str, Any], headers: Mapping[str, str], model: str) -> LMError:
    said = detail.get("message")
    message = said if isinstance(said, str) and said else json.dumps(dict(detail), default=str)
    if isinstance(more := detail.get("metadata"), dict) and isinstance(more.get("raw"), str):
        message = f"{message}: {more['raw']}"  # OpenRouter's provider, in its own words
    code = detail.get("code") if detail.get("code") is not None else detail.get("type")
    kind = _kind(status, message, str(code))
    error: LMError = kind(
        message=message[:LONGEST_MESSAGE],
        model=model,
        provider_code=str(code) if code is not None else None,
        status=status,
        request_id=headers.get("x-request-id") or headers.get("request-id"),
        retry_after=_pause(headers),
    )
    error.param = detail.get("param")
    return error


def _kind(status: int | None, message: str, code: str) -> Any:
    if (named := _CODES.get(code)) is not None:
        return named
    if status != 429 and status is not None and status >= 400 and _is_too_long(message):
        return lm_errors.ContextWindowExceededError
    if status is None or (status >= 500 and status != 504):  # None: it came inside of an answer
        return lm_errors.LMServerError
    if status < 400:  # a redirection, which no POST follows
        return lm_errors.LMUnsupportedModelError
    return _STATUSES.get(status, lm_errors.LMProviderError)


def _is_too_long(message: str) -> bool:
    lowered = message.lower()
    if "string_above_max_length" in lowered or ("invalid 'user'" in lowered and "string too long" in lowered):
        return False
    return bool(_TOO_LONG.search(message))


def _pause(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait, which it says as a number or as a date."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            when = parsedate_to_datetime(said)
        except ValueError:
            return None
        seconds = max(0.0, when.timestamp() - time.time())
    return seconds if 0 <= seconds < math.inf else None


def _detail(body: Any) -> Mapping[str, Any] | None:
    """What a body says went wrong, in any of the forms that servers use."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, dict) and error:
        return error
    if isinstance(error, str) and error:
        return {"message": error, "code": body.get("code")}
    if body.get("object") == "error":
        return body
    for name in ("message", "detail", "errors", "base_resp"):
        if body.get(name):
            return {"message": body[name] if isinstance(body[name], str) else json.dumps(body[name], default=str)}
    return None


def _text(reply: Reply) -> str:
    """An answer that is no JSON, in a few words: a page without its tags."""
    text = reply.content[: 20 * LONGEST_MESSAGE].decode(errors="replace")
    if "html" in reply.headers.get("content-type", "") or text.lstrip().startswith("<"):
        text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    words = " ".join(text.split())
    return words[:300] or f"status {reply.status} without a word"


# Answers ---------------------------------------------------------------------------------------------------------------


def chat_body(reply: Reply, model: str) -> Body:
    """The chat body of a status of 200 to 299.

    Raises:
        LMError: it holds an error, or is no chat body.
    """
    body = json_object(reply, model)
    return readable(body, model)


def readable(body: Mapping[str, Any], model: str) -> Body:
    """A chat body, whoever parsed it, in the form that is read here.

    Raises:
        LMError: it is none.
    """
    choices = body.get("choices")
    if not isinstance(choices, list):
        failed = {name: body[name] for name in _FAILURES if body.get(name)}  # any other word may be the model's answer
        words = (_detail(failed) or {}).get("message", "")
        raise _unreadable(f"the answer holds no list of choices{': ' if words else ''}{words}", model)
    kept = {name: value for name, value in body.items() if value is not None}
    kept["object"] = "chat.completion"
    kept["choices"] = [_choice(choice, number, model) for number, choice in enumerate(choices)]
    kept["usage"] = _usage(body.get("usage"))
    return kept


def json_object(reply: Reply, model: str) -> dict[str, Any]:
    """The JSON object of a status of 200 to 299.

    Raises:
        LMError: it tells of an error, or is no JSON object.
    """
    body = parsed(reply.content)
    if not isinstance(body, dict):
        kind = reply.headers.get("content-type", "").split(";")[0][:80] or "of no content type"
        # Not a word of it: it may be the model's answer, which nobody has reviewed.
        raise _unreadable(f"the answer is no JSON object, but {len(reply.content)} bytes ({kind})", model)
    if body.get("error") or body.get("object") == "error":
        detail = _detail(body) or {"message": json.dumps(body["error"], default=str)}
        code = detail.get("code")
        status = int(code) if isinstance(code, int | str) and re.fullmatch(r"[45]\d\d", str(code)) else None
        raise _error(status, detail, reply.headers, model)
    return body


def _unreadable(message: str, model: str) -> LMError:
    error: LMError = lm_errors.LMServerError(message, model=model)
    return error


def parsed(content: bytes) -> Any:
    """JSON as servers write it; None for anything else."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:  # half of a surrogate pair, NaN, a byte order mark: json reads them
        return json.loads(content.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError):
        return None


def _choice(choice: Any, number: int, model: str) -> dict[str, Any]:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise _unreadable("the answer's choice holds no message", model)
    reason, error = choice.get("finish_reason"), choice.get("error")
    if error or (isinstance(reason, str) and reason in BROKEN_OFF):
        words = (_detail({"error": error}) or {}).get("message") or f"finish_reason {reason}"
        raise _unreadable(f"the answer was broken off: {words}", model)
    read = _message(message, model)
    reason = FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
    if reason == "stop" and read.get("tool_calls"):
        reason = "tool_calls"
    kept: dict[str, Any] = {"finish_reason": reason, "index": number, "message": read}
    if (logprobs := _logprobs(choice.get("logprobs"))) is not None:
        kept["logprobs"] = logprobs
    return kept


def _message(message: Mapping[str, Any], model: str) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if value is not None}
    kept["role"] = "assistant"
    content = kept.get("content")
    if content is not None and not isinstance(content, str) and not _is_parts(content):
        raise _unreadable(f"the answer's content is a {type(content).__name__}", model)
    thought = thought_of(kept)
    kept = {name: value for name, value in kept.items() if name not in ("reasoning", "reasoning_content")}
    if thought:
        kept["reasoning_content"] = thought
    thought_first = isinstance(content, str) and content.startswith("<") and "reasoning_content" not in kept
    if thought_first and (split := _THOUGHT.match(str(content))) is not None:
        kept["reasoning_content"], kept["content"] = split[1], split[2]
    if "refusal" in kept and not isinstance(kept["refusal"], str):
        del kept["refusal"]
    if "tool_calls" in kept:
        calls = [_tool_call(call) for call in kept["tool_calls"]] if isinstance(kept["tool_calls"], list) else []
        if None in calls:
            raise _unreadable("the answer's call of a tool names no function", model)
        if calls:
            kept["tool_calls"] = calls
        else:
            del kept["tool_calls"]
    return kept


def _is_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) for part in content)


def _tool_call(call: Any) -> dict[str, Any] | None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return None
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
    signed = call.get("provider_specific_fields")  # Gemini's signature of its thoughts
    return {
        **({"provider_specific_fields": signed} if isinstance(signed, dict) and signed else {}),
        "function": {"arguments": arguments, "name": function["name"]},
        "id": str(call["id"]) if call.get("id") is not None else "",
        "type": "function",
    }


def _logprobs(value: Any) -> dict[str, Any] | None:
    """The tokens' candidates as far as they are well formed from the first token on."""
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        content = _of_old(value) if isinstance(value, dict) else None
    if content is None:
        return None
    tokens: list[dict[str, Any]] = []
    for token in content:
        shown = _candidate(token)
        if shown is None:
            break
        top = token.get("top_logprobs")
        candidates = [c for c in map(_candidate, top) if c is not None] if isinstance(top, list) else []
        tokens.append({**shown, "top_logprobs": compact([shown, *candidates]) if len(candidates) > MANY else candidates})
    return {"content": tokens}


def compact(candidates: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Thousands of candidates as OpenAI's completions of old showed them, token → log-probability: a fifth of the bytes in a
    cache or a journal. Of several tokens with one text the likeliest stands for all; what is no finite number is None."""
    kept: dict[str, float | None] = {}
    for candidate in sorted(candidates, key=lambda candidate: -candidate["logprob"]):
        logprob = candidate["logprob"]
        kept.setdefault(candidate["token"], round(logprob, DECIMALS) if math.isfinite(logprob) else None)
    return kept


def _of_old(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tokens in today's form, from that of OpenAI's completions of old."""
    columns = [value.get(name) for name in ("tokens", "token_logprobs", "top_logprobs")]
    tokens, logprobs, tops = (column if isinstance(column, list) else [] for column in columns)
    if not tokens:
        return None
    shown = [{"token": token, "logprob": logprob} for token, logprob in zip(tokens, logprobs, strict=False)]
    for entry, top in zip(shown, tops, strict=False):
        pairs = top.items() if isinstance(top, dict) else ()
        entry["top_logprobs"] = [{"token": token, "logprob": logprob} for token, logprob in pairs]
    return shown


def _candidate(token: Any) -> dict[str, Any] | None:
    if not isinstance(token, dict) or not isinstance(token.get("token"), str):
        return None
    value = token.get("logprob")
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else {"token": token["token"], "logprob": number}


def _usage(value: Any) -> dict[str, Any]:
    """Counts as numbers; what is none counts as zero."""
    usage = value if isinstance(value, dict) else {}
    kept: dict[str, Any] = {name: inner for name, inner in usage.items() if inner is not None}
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        kept[name] = token_count(usage.get(name))
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if isinstance(kept.get(name), dict):
            kept[name] = {key: token_count(inner) for key, inner in kept[name].items() if inner is not None}
        else:
            kept.pop(name, None)
    return kept


def token_count(value: Any) -> int:
    """A count as servers write it; 0 for what is none."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return 0
    return int(number) if 0 <= number < LARGEST_COUNT else 0
