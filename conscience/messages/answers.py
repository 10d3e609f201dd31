"""What of a model's reply is an answer: its thinking goes beside the text, and a reply that says nothing is told as such."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from conscience.messages.completion import Body, Completion, Message
from conscience.messages.thinking import begins_thinking, split_thinking
from conscience.messages.thoughts import is_thought, text_of, thought_of

Missing = Literal["cut", "filtered", "nothing"]
"""Why a reply holds no answer: its tokens ended before the first word, the provider held it back, or it is just empty."""

_PARTING = re.compile(r"\A(?:[ \t]*\r?\n)+")
"""Blank lines that part an answer from the thinking before it. All else is the answer's own: code may begin indented."""

_SAID_OTHERWISE = ("tool_calls", "function_call", "audio", "images")


def settled(body: Body, messages: Sequence[Message]) -> Body:
    """A chat body in which ``content`` is the answer alone, and ``reasoning_content`` all the thinking that was shown.

    Args:
        body: an OpenAI chat body; kept as it is.
        messages: what was asked.
    """
    choices = body.get("choices")
    if not isinstance(choices, list):
        return body
    read = [_choice(choice, messages) for choice in choices]
    said = [choice for choice in read if missing({"choices": [choice]}) is None]
    if said and len(said) < len(read):
        read = said  # of several answers, those that are none
    return body if all(one is other for one, other in zip(read, choices, strict=False)) else {**body, "choices": read}


def missing(body: Body, *, one_token: bool = False) -> Missing | None:
    """Why there is no answer in a settled body; None where there is one.

    A call of a tool, a refusal in a field of its own, a picture or a sound is an answer.

    Args:
        body: see ``settled``.
        one_token: whether a first token with its candidates is all that was asked for: that may be a blank.
    """
    reply = Completion(body, "")
    if reply.finish_reason == "content_filter":
        return "filtered"
    if reply.text.strip() or any(reply.message.get(name) for name in _SAID_OTHERWISE) or _has_media(reply.message):
        return None
    if one_token and reply.first_token and not thinks(body):
        return None
    return "cut" if reply.finish_reason == "length" else "nothing"


def thinks(body: Body) -> bool:
    """Whether a settled body shows that the model thinks before it answers."""
    details = (body.get("usage") or {}).get("completion_tokens_details")
    counted = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    reply = Completion(body, "")
    if reply.reasoning or (isinstance(counted, int) and counted > 0):
        return True
    return any(begins_thinking(token) for token, _ in reply.first_token[:1])


def _choice(choice: Any, messages: Sequence[Message]) -> Any:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        return choice
    thoughts, content = [thought_of(message)], message.get("content")
    if isinstance(content, list) and any(map(is_thought, content)):
        thoughts += [text_of(part) for part in content if is_thought(part)]
        content = [part for part in content if not is_thought(part)]
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text") or "") for part in content)
    if isinstance(content, str) and content:
        thinking, content = split_thinking(content, messages)
        thoughts.append(thinking)
    thinking = "\n".join(filter(None, thoughts))
    if thinking and isinstance(content, str):
        content = _PARTING.sub("", content)
    if content == message.get("content") and thinking == (message.get("reasoning_content") or ""):
        return choice
    beside = {"reasoning_content": thinking} if thinking else {}
    return {**choice, "message": {**message, "content": content, **beside}}


def _has_media(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(isinstance(part, Mapping) and part.get("type") != "text" for part in content)
