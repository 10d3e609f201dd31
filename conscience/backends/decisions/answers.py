"""What is sent to a decision model and what it answers, in both forms that there are, as one body like a chat model's.

OpenAI's form lists predicates and gets a list of probabilities back; System One's names its questions ("noul") and gets a
mapping back. An answer that does not say one probability for each question says nothing: it is a failed call.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from conscience._dspy.lm import LMError, lm_errors
from conscience.backends.wire.replies import token_count
from conscience.messages.completion import Body


def names(count: int) -> list[str]:
    """What the questions are called on the wire."""
    return [f"q{number}" for number in range(1, count + 1)]


def predicates(questions: Sequence[str]) -> list[dict[str, str]]:
    """The questions in OpenAI's form."""
    named = zip(names(len(questions)), questions, strict=True)
    return [{"type": "predicate", "name": name, "instructions": text} for name, text in named]


def request_body(model: str, text: str, questions: Sequence[str], *, system_one: bool) -> dict[str, Any]:
    """The body of a request that asks these questions about a text."""
    if not system_one:
        return {"model": model, "input": text, "questions": predicates(questions)}
    nouls = {q["name"]: {"type": "noul", "instructions": q["instructions"]} for q in predicates(questions)}
    return {"model": model, "state": text, "questions": nouls}


def decision_body(answer: Mapping[str, Any], count: int, model: str) -> Body:
    """The answer to so many questions: a chat body whose text is a JSON list of probabilities, in their order.

    Raises:
        LMServerError: there is not one probability for each question, and for nothing else; another try may do better.
        LMInvalidRequestError: the model declines to answer.
    """
    given = answer.get("answers")
    wanted = names(count)
    if isinstance(given, Mapping):
        listed = [given.get(name) for name in wanted] if given.keys() == set(wanted) else None
        field = "noul"
    else:
        listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else None
        field = "probability"
    if listed is None or len(listed) != count:
        number = len(given) if isinstance(given, Mapping | list | tuple) else "no"
        raise _unreadable(f"{number} answers to {count} questions, or to others than were asked", model)
    if refused := [name for name, one in zip(wanted, listed, strict=True) if _kind(one) == "refusal"]:
        raise _refused(f"the model declines to answer {len(refused)} of {count} questions", model)
    values = [_probability(one, name, field) for name, one in zip(wanted, listed, strict=True)]
    if None in values:
        raise _unreadable(f"the answer to {wanted[values.index(None)]} is no probability", model)
    message = {"role": "assistant", "content": json.dumps(values)}
    return {
        "object": "chat.completion",
        "model": answer["model"] if isinstance(answer.get("model"), str) else model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": _usage(answer.get("usage")),
    }


def _kind(answer: Any) -> Any:
    return answer.get("type") if isinstance(answer, Mapping) else None


def _probability(answer: Any, name: str, field: str) -> float | None:
    """A probability from 0 to 1; None where the answer is to another question, or of another kind, or no such number."""
    if not isinstance(answer, Mapping) or answer.get("name") not in (None, name):
        return None
    if _kind(answer) not in (None, "predicate" if field == "probability" else field):
        return None
    value = answer.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:  # NaN is not, either
        return None
    return float(value)


def _usage(value: Any) -> dict[str, Any]:
    """The counts under a chat body's names."""
    usage = value if isinstance(value, Mapping) else {}
    details = usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else usage.get("cached_tokens")
    prompt, completion = token_count(usage.get("input_tokens")), token_count(usage.get("output_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": min(prompt, token_count(cached))},
    }


def _unreadable(message: str, model: str) -> LMError:
    error: LMError = lm_errors.LMServerError(message, model=model)
    return error


def _refused(message: str, model: str) -> LMError:
    error: LMError = lm_errors.LMInvalidRequestError(message, model=model)
    return error


def read_probabilities(text: str, count: int) -> list[float] | None:
    """The probabilities in the text of such a body; None where they are not so many numbers from 0 to 1."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    if not isinstance(values, list) or len(values) != count:
        return None
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    return numbers if len(numbers) == count and all(0 <= number <= 1 for number in numbers) else None
