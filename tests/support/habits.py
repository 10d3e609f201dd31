"""Habits of providers' servers, to be put together: what they refuse, how they answer, what they let go wrong now and then.

A server is ``serves(answers, habit, …)``: each habit looks at a call and answers it, or leaves it to the next; what no habit
took is answered as the model would. The model flags, finds and mends texts that hold BADWORD, and writes one where it is
asked for something UNSAFE.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from conscience.testing import is_critique, is_gate, is_revision, is_written_score
from tests.support.loopback import Behaviour, Body, Raw, chat

Habit = Callable[[Body, int], Body | Raw | None]
Answers = Callable[[Body], Body | Raw]

THOUGHTS = "Hm, MULLING it over. Let me see."
"""What a thinking model thinks, each time: nobody may be shown it."""


# What is refused -------------------------------------------------------------------------------------------------------


def serves(answers: Answers, *habits: Habit) -> Behaviour:
    """A server that answers so, but for its habits."""

    def behave(body: Body, number: int) -> Body | Raw:
        for habit in habits:
            if (answer := habit(body, number)) is not None:
                return answer
        return answers(body)

    return behave


def refuses(*names: str, says: Any, status: int = 400, **headers: str) -> Habit:
    """Refuses any call with one of these parameters. ``says``: the body, a text or what is written as JSON; ``{name}`` in it
    is the parameter."""
    return refuses_if(
        lambda body: next((name for name in names if body.get(name) is not None), None), says, status, **headers
    )


def at_least(name: str, least: float, says: Any, status: int = 400) -> Habit:
    """Refuses a parameter below this."""
    return refuses_if(lambda body: name if body.get(name) is not None and body[name] < least else None, says, status)


def at_most(name: str, most: float, says: Any, status: int = 400) -> Habit:
    """Refuses a parameter above this."""
    return refuses_if(lambda body: name if body.get(name) is not None and body[name] > most else None, says, status)


def only(name: str, value: Any, says: Any, status: int = 400) -> Habit:
    """Refuses a parameter that is anything else than this; it may be left out."""
    return refuses_if(lambda body: name if body.get(name, value) != value else None, says, status)


def refuses_if(named: Callable[[Body], str | None], says: Any, status: int = 400, **headers: str) -> Habit:
    """Refuses where ``named`` names a parameter."""

    def habit(body: Body, number: int) -> Raw | None:
        if (name := named(body)) is None:
            return None
        return failure(status, says, name=name, **headers)

    return habit


def failure(status: int, says: Any, name: str = "", **headers: str) -> Raw:
    """An answer with this status; ``says`` is a text, or what is written as JSON."""
    text = says if isinstance(says, str) else json.dumps(says)
    kind = "text/html" if text.startswith("<") else "application/json"
    return Raw(status, text.replace("{name}", name), {key.replace("_", "-"): value for key, value in headers.items()}, kind)


def openai_error(message: str, param: str | None = None, code: Any = None, type: str = "invalid_request_error") -> Body:
    """An error in OpenAI's form."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


# What happens now and then ---------------------------------------------------------------------------------------------


def once(answer: Body | Raw, number: int = 1) -> Habit:
    """Goes wrong in one call, the first by default."""
    return lambda body, n: answer if n == number else None


def always(answer: Body | Raw) -> Habit:
    """Goes wrong each time."""
    return lambda body, n: answer


# How it answers --------------------------------------------------------------------------------------------------------


def said(body: Body) -> str:
    """The model's answer to a call."""
    if body.get("system"):  # Anthropic's place for it
        body = {**body, "messages": [{"role": "system", "content": body["system"]}, *body["messages"]]}
    talk = json.dumps(body["messages"])
    bad = "BADWORD" in talk
    if is_gate(body):
        return "Yes" if bad else "No"
    if is_written_score(body):
        return f"I looked at it.\nScore: {97 if bad else 2}"
    if is_critique(body):
        finding = {"principle": "no-serious-harm", "quote": "BADWORD", "why": "It harms.", "change": "Leave it out."}
        return json.dumps({"findings": [finding] if bad else []})
    if is_revision(body):
        return "A clean answer."
    return "BADWORD, do it." if "UNSAFE" in talk else "Paris."


def plain(body: Body) -> Body:
    """As OpenAI answers: with as many candidates as were asked for."""
    text = said(body)
    answer = chat(text)
    if body.get("logprobs"):
        answer["choices"][0]["logprobs"] = {"content": [token(text, body.get("top_logprobs") or 0)], "refusal": None}
    return answer


def token(text: str, candidates: int) -> Body:
    """The first token of Yes or No with so many candidates; of another text, that text."""
    if text not in ("Yes", "No"):
        return {"token": text[:4], "logprob": -0.1, "bytes": None, "top_logprobs": []}
    other = {"Yes": "No", "No": "Yes"}[text]
    top = [
        {"token": text, "logprob": math.log(0.95), "bytes": None},
        {"token": other, "logprob": math.log(0.04), "bytes": None},
    ]
    rest = [{"token": f"t{n}", "logprob": -12.0 - n, "bytes": None} for n in range(max(0, candidates - 2))]
    return {**top[0], "top_logprobs": [*top, *rest][:candidates]}


def without_logprobs(body: Body) -> Body:
    """Takes ``logprobs`` and does nothing with it."""
    return chat(said(body))


def bare_tokens(logprob: float = 0.0) -> Answers:
    """Log-probabilities of the token alone, without other candidates."""

    def answers(body: Body) -> Body:
        answer = without_logprobs(body)
        if body.get("logprobs"):
            first = {"token": said(body)[:3], "logprob": logprob, "bytes": None, "top_logprobs": []}
            answer["choices"][0]["logprobs"] = {"content": [first]}
        return answer

    return answers


def legacy_logprobs(body: Body) -> Body:
    """Log-probabilities in the form of OpenAI's completions of old."""
    answer, text = without_logprobs(body), said(body)
    if body.get("logprobs"):
        top = {entry["token"]: entry["logprob"] for entry in token(text, 2)["top_logprobs"]}
        answer["choices"][0]["logprobs"] = {
            "tokens": [text],
            "token_logprobs": [max(top.values(), default=-0.1)],
            "top_logprobs": [top],
        }
    return answer


def with_choice(answers: Answers = plain, **fields: Any) -> Answers:
    """The same with these fields in its choice."""

    def more(body: Body) -> Body | Raw:
        answer = answers(body)
        if isinstance(answer, dict):
            answer["choices"][0].update(fields)
        return answer

    return more


def with_fields(answers: Answers = plain, **fields: Any) -> Answers:
    """The same with these fields beside its choices."""
    return lambda body: {**answers(body), **fields}  # type: ignore[dict-item]


def as_raw(answers: Answers = plain, *, before: str = "", **raw: Any) -> Answers:
    """The same as bytes of one's own."""
    return lambda body: Raw(text=before + json.dumps(answers(body)), **raw)


def as_parts(body: Body, kind: bool = True) -> Body:
    """Content as a list of parts."""
    answer = plain(body)
    part = {"type": "text", "text": said(body)} if kind else {"text": said(body)}
    answer["choices"][0]["message"]["content"] = [part]
    return answer


def parts_with_reasoning(body: Body) -> Body:
    """Content as a list of parts, the first of which is reasoning; too little room ends it there."""
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHTS}]}
    cut = room(body) < 16
    content = [summary] if cut else [summary, {"type": "text", "text": said(body)}]
    return chat(content, finish="length" if cut else "stop")  # type: ignore[arg-type]


# How it thinks ---------------------------------------------------------------------------------------------------------


def room(body: Body) -> int:
    """How many tokens the answer may have."""
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or 10_000)


def thinks(how: Callable[[str | None], Body], *, shows_logprobs: bool = True) -> Answers:
    """Thinks before every answer. With room for a few tokens nothing but thoughts comes."""

    def answers(body: Body) -> Body:
        cut = room(body) < 16
        answer = how(None if cut else said(body))
        if cut:
            answer["choices"][0]["finish_reason"] = "length"
        if body.get("logprobs") and shows_logprobs:
            answer["choices"][0]["logprobs"] = {"content": [{**token("<think>", 0), "token": "<think>"}]}
        return answer

    return answers


def parsed(text: str | None, name: str = "reasoning_content") -> Body:
    """Thoughts in a field of their own."""
    return chat(text, **{name: THOUGHTS})


def tagged(text: str | None) -> Body:
    """Thoughts in tags before the answer."""
    return chat(f"<think>\n{THOUGHTS}" if text is None else f"<think>\n{THOUGHTS}\n</think>\n\n{text}")


def dangling(text: str | None) -> Body:
    """Thoughts whose opening tag the chat template has written: only the closing one is seen."""
    return chat(THOUGHTS if text is None else f"{THOUGHTS}\n</think>\n\n{text}")


def hidden(text: str | None) -> Body:
    """Thoughts that are not shown at all."""
    answer = chat(text)
    answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": 64}
    return answer


# Another wire ----------------------------------------------------------------------------------------------------------


def anthropic(thinking: bool = False) -> Answers:
    """Anthropic's own messages."""

    def answers(body: Body) -> Body:
        content: Sequence[Body] = [{"type": "text", "text": said(body)}]
        if thinking:
            content = [{"type": "thinking", "thinking": THOUGHTS, "signature": "x"}, *content]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": content,
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 7, "output_tokens": 3},
        }

    return answers
