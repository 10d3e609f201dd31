"""What a provider answers in each of four wire formats, whole and streamed: chat and text completions, OpenAI's Responses,
Anthropic's Messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.loopback import Body, Raw, chat

Call = Mapping[str, Any]
"""The arguments of a call of the tool ``act``."""

TOOL = {"type": "function", "function": {"name": "act", "parameters": {"type": "object", "properties": {}}}}


def answer(body: Body, text: str, call: Call | None = None) -> Body | Raw:
    """This text, or this call, in the format that the request is written in; letter by letter where it is streamed."""
    stream = bool(body.get("stream"))
    if "input" in body:
        return _responses(text, call, stream)
    if "prompt" in body:
        return _completion(text, stream)
    if str(body.get("model")).startswith("claude"):
        return _message(text, call, stream)
    return _chat(text, call, stream, int(body.get("n") or 1))


def events(*bodies: Body, named: bool = False, done: bool = False) -> Raw:
    """Server-sent events."""
    lines = [(f"event: {body['type']}\n" if named else "") + f"data: {json.dumps(body)}\n\n" for body in bodies]
    return Raw(text="".join(lines) + ("data: [DONE]\n\n" if done else ""), content_type="text/event-stream")


def _chat(text: str, call: Call | None, stream: bool, n: int) -> Body | Raw:
    function = {"name": "act", "arguments": json.dumps(call)}
    calls = [{"id": "call_1", "type": "function", "function": function}] if call is not None else None
    finish = "stop" if calls is None else "tool_calls"
    if not stream:
        whole = chat(text if calls is None else None, finish=finish, **({} if calls is None else {"tool_calls": calls}))
        return {**whole, "choices": [{**whole["choices"][0], "index": index} for index in range(n)]}
    deltas: list[Body] = [{"role": "assistant", "content": ""}]
    if calls is None:
        deltas += [{"content": letter} for letter in text]
    else:
        deltas.append({"tool_calls": [{"index": 0, **calls[0], "function": {"name": "act", "arguments": ""}}]})
        pieces = [{"index": 0, "function": {"arguments": letter}} for letter in function["arguments"]]
        deltas += [{"tool_calls": [piece]} for piece in pieces]
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
    said = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas for index in range(n)]
    ends = [{"index": index, "delta": {}, "finish_reason": finish} for index in range(n)]
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return events(
        *({**head, "choices": [one]} for one in (*said, *ends)), {**head, "choices": [], "usage": usage}, done=True
    )


def _completion(text: str, stream: bool) -> Body | Raw:
    head = {"id": "x", "object": "text_completion", "created": 1, "model": "fake"}
    if not stream:
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        return {**head, "choices": [{"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}], "usage": usage}
    pieces = [*((letter, None) for letter in text), ("", "stop")]
    choices = [{"index": 0, "text": letter, "finish_reason": finish, "logprobs": None} for letter, finish in pieces]
    return events(*({**head, "choices": [choice]} for choice in choices), done=True)


def _responses(text: str, call: Call | None, stream: bool) -> Body | Raw:
    part = {"type": "output_text", "text": text, "annotations": []}
    item: Body = {"id": "item", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    if call is not None:
        function = {"call_id": "call_1", "name": "act", "arguments": json.dumps(call)}
        item = {"id": "item", "type": "function_call", "status": "completed", **function}
    usage = {
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    whole = {
        "id": "resp",
        "object": "response",
        "created_at": 1,
        "model": "fake",
        "status": "completed",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
    if not stream:
        return whole
    at = {"item_id": "item", "output_index": 0, "content_index": 0}
    said = [{"type": "response.output_text.delta", "delta": letter, **at} for letter in text]
    if call is not None:
        said = [{"type": "response.function_call_arguments.delta", "delta": item["arguments"], **at}]
    told = [
        {"type": "response.created", "response": {**whole, "output": [], "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []} if call is None else item},
        *said,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return events(*({**event, "sequence_number": number} for number, event in enumerate(told)), named=True)


def _message(text: str, call: Call | None, stream: bool) -> Body | Raw:
    block: Body = {"type": "text", "text": text}
    if call is not None:
        block = {"type": "tool_use", "id": "call_1", "name": "act", "input": dict(call)}
    reason = "end_turn" if call is None else "tool_use"
    whole: Body = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [block],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }
    if not stream:
        return whole
    empty = {"type": "text", "text": ""} if call is None else {**block, "input": {}}
    deltas: list[Body] = [{"type": "text_delta", "text": letter} for letter in text]
    if call is not None:
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(call)}]
    return events(
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
        named=True,
    )
