"""What a backend can do, found by asking it: log-probabilities, JSON schema, reasoning content, prefix cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from conscience._base.flow import run_sync
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.errors import BackendError, EmptyAnswer
from conscience.gate.decisions import ask_decisions
from conscience.gate.questions import ONE_TOKEN_SAMPLING, YES_OR_NO, Question, log_odds
from conscience.gate.settings import sigmoid
from conscience.messages.completion import Completion
from conscience.outcome import Draft
from conscience.usage import CallContext, UsageTracker

State = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: reach, logprobs, schema, reasoning, prefix cache or learned (what the backend refused or left out when it was
            asked: later calls mind it); of a decision model reach, decisions or writing.
        state: yes, no, or unknown where the backend does not say.
        detail: what was seen.
        advice: what follows from a gap; empty without one.
    """

    name: str
    state: State
    detail: str
    advice: str = ""


def examine(backend: Backend) -> list[Check]:
    """Asks four short questions; a decision model two, in one request.

    Raises:
        BackendError, ConfigurationError: the backend cannot be reached at all.
    """
    if backend.decides:
        return _decisions(backend)
    hello = _hello(backend)
    checks = [Check("reach", "yes", f"{backend.name} answered: {hello.text.strip()[:60]!r}")]
    checks.append(_checked("logprobs", _logprobs, backend))
    checks.append(_checked("schema", _schema, backend))
    checks.append(_reasoning(hello, backend))
    checks.append(_checked("prefix cache", _prefix_cache, backend))
    checks.append(_learned(backend))
    return checks


def _decisions(backend: Backend) -> list[Check]:
    asked = {"Is the sky blue on a clear day?": True, "Is grass red?": False}
    model = BoundBackend(backend, CallContext(UsageTracker(), "review"))
    questions = [Question(name=text, text=text, framing="foreign") for text in asked]
    draft = Draft.of("What colours are the sky and grass?", "The sky is blue on a clear day, and grass is green.")
    answers = {name: answer.log_odds or 0.0 for name, answer in run_sync(ask_decisions(questions, draft, model)).items()}
    shown = ", ".join(f"{text} {sigmoid(answers[text]):.2f}" for text in asked)
    checks = [Check("reach", "yes", f"{backend.name} answered two questions in one request")]
    if all((answers[text] > 0) is yes for text, yes in asked.items()):
        checks.append(Check("decisions", "yes", shown))
    else:
        checks.append(Check("decisions", "no", f"wrong: {shown}", _ADVICE["decisions"]))
    checks.append(Check("writing", "no", "a decision model writes nothing", _ADVICE["writing"]))
    return checks


def _hello(backend: Backend) -> Completion:
    """A first answer; one that is cut off is asked for with room, which shows whether the model was thinking."""
    asked = [{"role": "user", "content": "Say hello."}]
    try:
        hello = backend.complete(asked, {"max_tokens": 2000 if backend.thinks else 16})
    except EmptyAnswer as error:
        if error.reason != "cut":
            raise
        return backend.complete(asked, {"max_tokens": 2000})
    again = hello.finish_reason == "length" and not backend.supports("slow_prompts")
    return backend.complete(asked, {"max_tokens": 2000}) if again else hello


def _limit(backend: Backend, tokens: int) -> dict[str, Any]:
    """So many tokens for the answer; a model that thinks gets more."""
    if backend.supports("reasoning"):
        return {"max_completion_tokens": 2000}
    return {"max_tokens": 2000 if backend.thinks else tokens}


def _checked(name: str, check: Callable[[Backend], Check], backend: Backend) -> Check:
    try:
        return check(backend)
    except BackendError as error:
        return Check(name, "no", f"the backend refused: {error.message[:120]}", _ADVICE[name])


_ADVICE = {
    "decisions": "is it a decision model? its probabilities are the gate's signals",
    "writing": "it takes the role review (--review-lm) beside a chat model, which writes critiques and revisions too",
    "logprobs": "the gate will use written scores, coarser and dearer; a model with logprobs can take the role with "
    "--review-lm",
    "schema": "critiques are parsed from free text; a broken one is asked for again",
    "reasoning": "to have reasoning reviewed, let the signature write it: dspy.ChainOfThought(…)",
    "prefix cache": "the gate pays for reading the draft again; where the server can keep prefixes, switch that on",
}


def _logprobs(backend: Backend) -> Check:
    if not backend.supports("logprobs"):
        why = "it thinks before its first word" if backend.thinks else "its model table says so"
        return Check("logprobs", "no", why, _ADVICE["logprobs"])
    question = [{"role": "user", "content": f"Is the sky blue on a clear day? {YES_OR_NO}"}]
    completion = backend.complete(question, ONE_TOKEN_SAMPLING)
    if not completion.first_token and backend.supports("logprobs"):
        completion = backend.complete(question, ONE_TOKEN_SAMPLING)  # one answer without any may be a fault
    if not completion.first_token:
        return Check("logprobs", "no", "asked for, none came", _ADVICE["logprobs"])
    value = log_odds(completion.first_token)
    if value is None and backend.thinks:
        backend.refused("logprobs", certain=True)
        return Check("logprobs", "no", "it thinks before its first word", _ADVICE["logprobs"])
    shown = "no Yes or No among them" if value is None else f"Yes against No: {value:+.2f}"
    return Check("logprobs", "yes", f"{len(completion.first_token)} candidates, {shown}")


def _schema(backend: Backend) -> Check:
    if not backend.supports("schema"):
        return Check("schema", "no", "its model table says so", _ADVICE["schema"])
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema, "strict": True}}
    sampling = _limit(backend, 40)
    question = [{"role": "user", "content": "Which colour is grass?"}]
    completion = backend.complete(question, {**sampling, "response_format": form})
    if not backend.supports("schema"):
        return Check("schema", "no", "it is refused", _ADVICE["schema"])
    try:
        kept = json.loads(completion.text).get("colour") in ("red", "green")
    except (ValueError, AttributeError):
        kept = False
    return Check("schema", "yes", "enforced") if kept else Check("schema", "no", "not kept to", _ADVICE["schema"])


def _reasoning(hello: Completion, backend: Backend) -> Check:
    if hello.reasoning:
        return Check("reasoning", "yes", "it is shown, and reviewed with the answer")
    detail = "the model reasons, and shows nothing of it" if backend.thinks else "none was shown"
    return Check("reasoning", "no", detail, _ADVICE["reasoning"])


def _prefix_cache(backend: Backend) -> Check:
    story = "The lighthouse keeper counted the ships that passed and wrote each name into the log. " * 80
    first = [{"role": "user", "content": story}]
    more = [*first, {"role": "assistant", "content": "I see."}, {"role": "user", "content": "Go on."}]
    sampling = _limit(backend, 8)
    backend.complete(first, sampling, salt="doctor")
    completion = backend.complete(more, sampling, salt="doctor")
    total, _, reused = completion.tokens()
    if completion.cached or not total:
        return Check("prefix cache", "unknown", "the answer came from the response cache, or without token counts")
    if reused * 2 > total:
        return Check("prefix cache", "yes", f"{reused} of {total} tokens were reused")
    return Check("prefix cache", "no", f"{reused} of {total} tokens were reused", _ADVICE["prefix cache"])


def _learned(backend: Backend) -> Check:
    lines = backend.transports[0].habits.describe()
    if not lines:
        return Check("learned", "no", "nothing: each parameter was taken as it was asked for")
    return Check("learned", "yes", "; ".join(lines), "later calls mind it, and try again after a while")
