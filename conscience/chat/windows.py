"""An answer told while it is generated: the texts that passed as they come, and then what a held answer would have had."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from conscience.chat.replies import chunks, completion_body
from conscience.chat.requests import ChatRequest
from conscience.chat.response_replies import response_body, response_events
from conscience.chat.responses import ResponsesRequest
from conscience.messages.completion import Body
from conscience.outcome import Outcome
from conscience.streaming.events import Event

_HELD = ("response_format", "logprobs", "top_logprobs")
"""What is told of an answer as a whole: its log-probabilities; and a refusal in place of a form that was asked for."""


def can_be_told_early(request: ChatRequest) -> bool:
    """Whether parts of an answer can be told before its end is known."""
    return request.n == 1 and not any(request.parameters.get(name) for name in _HELD)


async def early_chunks(request: ChatRequest, events: AsyncIterator[Event], text_field: str | None) -> AsyncIterator[Body]:
    """``chat.completion.chunk`` objects of the events of ``Conscience.stream``."""
    head: Body = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
    shown = head | {"object": "chat.completion.chunk", "model": request.model}
    nothing: Body = {"usage": None} if request.include_usage else {}
    sent = ""
    async for event in events:
        if isinstance(event, str):
            for delta in ([] if sent else [{"role": "assistant", "content": "", "refusal": None}]) + [{"content": event}]:
                yield shown | {"choices": [_part(delta)]} | nothing
            sent += event
        elif isinstance(event, Outcome):
            body = completion_body(request, [event], text_field) | head
            if sent:
                message = body["choices"][0]["message"]
                message["content"] = _rest(message["content"], sent)
            for number, chunk in enumerate(chunks(body, include_usage=request.include_usage)):
                if number or not sent:  # the first one begins the message
                    yield chunk


async def early_response_events(
    request: ResponsesRequest, events: AsyncIterator[Event], text_field: str | None
) -> AsyncIterator[Body]:
    """A response's events of the events of ``Conscience.stream``."""
    begun = _begun(request)
    before = next(number for number, event in enumerate(begun) if event["type"] == "response.output_text.delta")
    number, sent = 0, ""
    async for event in events:
        if isinstance(event, str):
            for one in ([] if sent else begun[:before]) + [{**begun[before], "delta": event}]:
                yield {**one, "sequence_number": number}
                number += 1
            sent += event
        elif isinstance(event, Outcome):
            response = response_body(request, completion_body(request.chat, [event], text_field))
            for one in _ended(response, begun, before, sent) if sent else response_events(response):
                yield {**one, "sequence_number": number}
                number += 1


def _begun(request: ResponsesRequest) -> list[Body]:
    """The events of a response that says one word: how one begins whose text is not known yet."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "…"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}}
    completion = {"created": int(time.time()), "model": request.model, "choices": [choice], "usage": usage, "conscience": {}}
    return list(response_events(response_body(request, completion)))


def _ended(response: Body, begun: list[Body], before: int, sent: str) -> Iterator[Body]:
    """What comes after the text that was sent: the rest of it, and the ends of all that was begun, under the same ids."""
    head = begun[0]["response"]
    response |= {"id": head["id"], "created_at": head["created_at"]}
    response["output"][0]["id"] = begun[before]["item_id"]
    rest = _rest(response["output"][0]["content"][0]["text"], sent)
    if rest:
        yield {**begun[before], "delta": rest}
    after = list(response_events(response))[before:]
    first = next(number for number, event in enumerate(after) if not event["type"].endswith("output_text.delta"))
    yield from after[first:]


def _part(delta: dict[str, Any]) -> Body:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}


def _rest(text: str | None, sent: str) -> str:
    """What of a text is still to be sent.

    Raises:
        RuntimeError: it is another text: nothing may follow what was sent then.
    """
    if text is None or not text.startswith(sent):
        raise RuntimeError("what an outcome returns does not begin with what was released of it")
    return text[len(sent) :]
