"""What servers of OpenAI's chat wire have been seen to answer, well or badly: one answer each, by name."""

from __future__ import annotations

import json
from typing import Any

from tests.support.loopback import Body, Raw, chat, error

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOKEN = {"token": "a", "logprob": -1, "top_logprobs": [{"token": "b", "logprob": -2}]}


def with_logprobs(value: Any) -> Body:
    body = chat("hi")
    body["choices"][0]["logprobs"] = value
    return body


def with_usage(**usage: Any) -> Body:
    return {**chat("hi"), "usage": usage}


def without(*names: str) -> Body:
    return {name: value for name, value in chat("hi").items() if name not in names}


def one_choice(choice: Any) -> Body:
    return {**chat("hi"), "choices": [choice]}


def coded(status: int, message: str, **fields: Any) -> Raw:
    return Raw(status, json.dumps({"error": {"message": message, **fields}}))


ANSWERS: dict[str, Body | Raw] = {
    "plain": chat("hi"),
    "null content": chat(None),
    "empty content": chat(""),
    "letters beyond ASCII": chat("é\u2028😀"),
    "NUL byte": chat("a\0b"),
    "half a surrogate pair": Raw(text=json.dumps(chat("aXb")).replace("X", "\\ud800")),
    "tool calls": chat(None, finish="tool_calls", tool_calls=[CALL]),
    "tool calls that stop": chat(None, finish="stop", tool_calls=[CALL]),
    "tool call without arguments": chat(None, tool_calls=[{"id": "c1", "function": {"name": "f"}}]),
    "tool call with an object": chat(None, tool_calls=[{**CALL, "function": {"name": "f", "arguments": {"a": 1}}}]),
    "no tool calls": chat("hi", tool_calls=[]),
    "function call of old": chat(None, function_call={"name": "f", "arguments": "{}"}),
    "refusal": chat(None, refusal="no"),
    "reasoning_content": chat("hi", reasoning_content="mm"),
    "reasoning": chat("hi", reasoning="mm"),
    "think tags": chat("<think>mm</think>hi"),
    "dangling think tag": chat("mm</think>hi"),
    "logprobs": chat("Yes", yes=0.9),
    "logprobs null": with_logprobs(None),
    "logprobs empty": with_logprobs({"content": []}),
    "logprobs of null": with_logprobs({"content": None}),
    "logprobs without numbers": with_logprobs({"content": [{"token": "a"}]}),
    "logprobs without bytes": with_logprobs({"content": [TOKEN]}),
    "logprobs without candidates": with_logprobs({"content": [{"token": "a", "logprob": -1}]}),
    "logprobs as text": with_logprobs({"content": [{**TOKEN, "logprob": "-1"}]}),
    "logprobs with more": with_logprobs({"content": [{**TOKEN, "id": 3, "bytes": [1]}], "refusal": None}),
    "finish null": chat("hi", finish=None),  # type: ignore[arg-type]
    "finish eos": chat("hi", finish="eos"),
    "finish odd": chat("hi", finish="whatever"),
    "finish length": chat("hi", finish="length"),
    "finish max_tokens": chat("hi", finish="max_tokens"),
    "finish content_filter": chat(None, finish="content_filter"),
    "no choices": {**chat("hi"), "choices": []},
    "message without a role": one_choice({"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}),
    "choice without an index": one_choice({"finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}),
    "two choices": {**chat("hi"), "choices": chat("a")["choices"] + chat("b")["choices"]},
    "no usage": without("usage"),
    "usage null": {**chat("hi"), "usage": None},
    "usage as text": with_usage(prompt_tokens="7", completion_tokens="3"),
    "usage in part": with_usage(prompt_tokens=7),
    "usage with cached tokens": with_usage(
        prompt_tokens=7, completion_tokens=3, total_tokens=10, prompt_tokens_details={"cached_tokens": 5}
    ),
    "usage without details": with_usage(prompt_tokens=7, completion_tokens=3, prompt_tokens_details=None),
    "no id": without("id", "created", "object", "model"),
    "id as number": {**chat("hi"), "id": 3},
    "model null": {**chat("hi"), "model": None},
    "error null": {**chat("hi"), "error": None},
    "more fields": {**chat("hi"), "x": {"a": [1]}, "system_fingerprint": "f", "service_tier": "default"},
    "wrong content type": Raw(text=json.dumps(chat("hi")), content_type="text/plain"),
    "no content type": Raw(text=json.dumps(chat("hi")), content_type=""),
    "byte order mark": Raw(text="\ufeff" + json.dumps(chat("hi"))),
    "blanks first": Raw(text="\n\n  " + json.dumps(chat("hi"))),
    "status 201": Raw(201, json.dumps(chat("hi"))),
    "a key twice": Raw(text='{"choices":[],' + json.dumps(chat("hi"))[1:]),
}
"""Both wires read these alike."""

FAILURES: dict[str, Body | Raw] = {
    "400": error(400, "bad thing"),
    "400 in words": Raw(400, "plain words"),
    "400 with detail": Raw(400, json.dumps({"detail": "bad"})),
    "400 with a list": Raw(400, "[]"),
    "400 empty": Raw(400, ""),
    "400 as a page": Raw(400, "<html>x</html>", content_type="text/html"),
    "400 too long, in words": error(400, "This model's maximum context length is 10 tokens"),
    "400 too long, by code": coded(400, "too long", code="context_length_exceeded"),
    "400 by policy": coded(400, "rejected as a result of our safety system", code="content_policy_violation"),
    "400 names a parameter": coded(400, "Unsupported parameter: 'logprobs'", code="unsupported_parameter"),
    "400 no such model": coded(400, "model `x` does not exist", code="model_not_found"),
    "401": error(401, "bad key"),
    "402": error(402, "pay"),
    "403": error(403, "no"),
    "404": error(404, "gone"),
    "404 as a page": Raw(404, "<html>nope</html>", content_type="text/html"),
    "405": error(405, "method"),
    "408": error(408, "slow"),
    "409": error(409, "conflict"),
    "413": error(413, "big"),
    "415": error(415, "type"),
    "422": error(422, "unprocessable"),
    "424": error(424, "dependency"),
    "429": error(429, "slow down"),
    "429 with seconds": error(429, "slow down", **{"retry-after": "7"}),
    "429 with a date": error(429, "slow down", **{"retry-after": "Thu, 26 Nov 2037 12:00:00 GMT"}),
    "429 out of quota": coded(429, "You exceeded your current quota", code="insufficient_quota"),
    "429 out of quota, by type": coded(429, "You exceeded your quota", type="insufficient_quota", code=None),
    "429 of too much": error(429, "maximum context length exceeded"),
    "500": error(500, "oops"),
    "500 as a page": Raw(500, "<html>x</html>", content_type="text/html"),
    "500 too long": error(500, "the request exceeds the available context size"),
    "501": error(501, "not here"),
    "502": error(502, "bad gateway"),
    "503": error(503, "later"),
    "503 with seconds": error(503, "later", **{"retry-after": "3"}),
    "504": error(504, "gateway timeout"),
    "520": error(520, "unknown"),
    "529": error(529, "overloaded"),
    "599": error(599, "odd"),
    "200 with a code": {"error": {"message": "slow down", "code": 429}},
    "200 as a page": Raw(text="<html>hi</html>", content_type="text/html"),
    "200 as a page of JSON": Raw(text="<html>hi</html>"),
    "empty body": Raw(text=""),
    "status 204": Raw(204, ""),
    "half a body": Raw(text=json.dumps(chat("hi"))[:40]),
    "a list": Raw(text="[1]"),
    "a number": Raw(text="3"),
    "null": Raw(text="null"),
    "a text": Raw(text='"x"'),
    "events": Raw(text='data: {"id":"x"}\n\n', content_type="text/event-stream"),
    "a hundred thousand brackets": Raw(text="[" * 100_000 + "]" * 100_000),
    "choices null": {**chat("hi"), "choices": None},
    "no list of choices": without("choices"),
    "choices as object": {**chat("hi"), "choices": {"a": 1}},
    "choice as text": one_choice("x"),
    "choice without message": one_choice({"index": 0, "finish_reason": "stop"}),
    "message null": one_choice({"index": 0, "finish_reason": "stop", "message": None}),
    "message as text": one_choice({"index": 0, "finish_reason": "stop", "message": "x"}),
    "content as number": chat(3),  # type: ignore[arg-type]
    "content as object": chat({"a": 1}),  # type: ignore[arg-type]
}
"""Both wires fail with these alike: in class, status, pause and the server's words where LiteLLM keeps them."""

BETTER: dict[str, Body | Raw] = {
    "content in parts": chat([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),  # type: ignore[arg-type]
    "logprobs as a word": with_logprobs("x"),
    "logprobs as a list": with_logprobs([1]),
    "logprobs of old": with_logprobs({"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{"a": -1, "b": -2}]}),
    "logprobs of old without candidates": with_logprobs({"tokens": ["a"], "token_logprobs": [-1]}),
    "usage as a word": {**chat("hi"), "usage": "x"},
    "usage in fractions": with_usage(prompt_tokens=7.5, completion_tokens=3.0, total_tokens=10),
    "usage below zero": with_usage(prompt_tokens=-7, completion_tokens=3, total_tokens=10),
    "usage beyond all bounds": with_usage(prompt_tokens=10**30, completion_tokens=3, total_tokens=10),
    "created is no number": Raw(text=json.dumps(chat("hi")).replace('"created": 1', '"created": NaN')),
    "created is infinite": Raw(text=json.dumps(chat("hi")).replace('"created": 1', '"created": 1e999')),
    "200 with an error": {"error": {"message": "bad things", "type": "x", "code": None}},
    "200 with an error in words": {"error": "bad things"},
    "200 with an error and choices": {**chat("hi"), "error": {"message": "bad things"}},
    "200 with vLLM's error": {"object": "error", "message": "bad things", "code": 400},
    "finish error": chat("hi", finish="error"),
    "finish network_error": chat("hi", finish="network_error"),
    "choice with an error": one_choice({**chat("hi")["choices"][0], "error": {"message": "bad things", "code": 502}}),
    "error as base_resp": {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "bad things"}},
    "cut off": Raw(text=json.dumps(chat("hi"))[:40], cut=True),
}
"""LiteLLM fails with these, or loses what the server said; the light wire reads what there is."""
