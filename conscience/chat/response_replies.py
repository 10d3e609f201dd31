"""A chat completion as OpenAI's Responses API tells it: a response, or its events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from conscience._dspy.streams import words
from conscience.chat.responses import ResponsesRequest
from conscience.messages.completion import Body
from conscience.messages.tool_turns import CALLS


def response_body(request: ResponsesRequest, completion: Body) -> Body:
    """A ``response`` of a ``chat.completion`` with one choice; it keeps the ``conscience`` object."""
    (choice,) = completion["choices"]
    cut = choice["finish_reason"] == "length"
    usage = completion["usage"]
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": completion["created"],
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": completion["model"],
        "output": output_items(choice, "incomplete" if cut else "completed"),
        **request.told,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": usage["prompt_tokens_details"]["cached_tokens"]},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
        "conscience": completion["conscience"],
    }


def output_items(choice: Body, status: str) -> list[Body]:
    """The output of a response for a choice of a ``chat.completion``."""
    message = choice["message"]
    content: list[Body] = []
    if message.get("content"):
        logprobs = (choice.get("logprobs") or {}).get("content") or []
        content = [{"type": "output_text", "text": message["content"], "annotations": [], "logprobs": logprobs}]
    elif message.get("refusal"):
        content = [{"type": "refusal", "refusal": message["refusal"]}]
    calls = message.get(CALLS) or ()
    said = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "status": status, "role": "assistant", "content": content}
    return [
        *([said] if content or not calls else []),
        *(
            {
                "id": f"fc_{uuid.uuid4().hex}",
                "type": "function_call",
                "status": status,
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
            }
            for call in calls
        ),
    ]


def response_events(response: Body) -> Iterator[Body]:
    """A response in events, as it would have been streamed; the last one holds it whole."""
    for number, event in enumerate(_events(response)):
        yield {**event, "sequence_number": number}


def _events(response: Body) -> Iterator[Body]:
    hidden: Body = {"output": [], "usage": None, "incomplete_details": None, "status": "in_progress"}
    begun = {name: value for name, value in response.items() if name != "conscience"} | hidden
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from _item_events(item, index)
    yield {"type": f"response.{response['status']}", "response": response}


_BEGUN: Mapping[str, Body] = {
    "message": {"content": [], "status": "in_progress"},
    "function_call": {"arguments": "", "status": "in_progress"},
}
"""Kind of item → how it stands before its pieces come; any other comes whole."""


def _item_events(item: Body, index: int) -> Iterator[Body]:
    begun = _BEGUN.get(item["type"], {})
    yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **begun}}
    where = {"item_id": item.get("id", ""), "output_index": index}
    if item["type"] == "message":
        for number, part in enumerate(item["content"]):
            yield from _part_events(part, {**where, "content_index": number})
    elif item["type"] == "function_call":
        yield {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]}
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **where, **done}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(part: Body, where: Body) -> Iterator[Body]:
    spoken = part["type"] == "output_text"
    field, kind = ("text", "output_text") if spoken else ("refusal", "refusal")
    logprobs: list[Any] = part.get("logprobs", [])
    empty: Body = {field: "", **({"logprobs": []} if spoken else {})}
    yield {"type": "response.content_part.added", **where, "part": {**part, **empty}}
    # Log-probabilities belong to the text as a whole, so it comes as a whole.
    for piece in [part[field]] if logprobs else words(part[field]):
        yield {"type": f"response.{kind}.delta", **where, "delta": piece, **({"logprobs": logprobs} if spoken else {})}
    whole = {field: part[field], **({"logprobs": logprobs} if spoken else {})}
    yield {"type": f"response.{kind}.done", **where, **whole}
    yield {"type": "response.content_part.done", **where, "part": part}
