"""Bodies in and out: JSON within limits of size, time and depth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive

from conscience.server.errors import ApiError, invalid
from conscience.server.limits import Limits

DEEPEST = 64
"""Levels of a body: no request of OpenAI's has half as many, and what walks through one needs no care then."""


class ClientGone(Exception):
    """The client has closed the connection; nobody is left to answer."""


class Json(Response):
    """A response of JSON that no browser takes for a page and no proxy keeps."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(encoded(content), status_code, {"cache-control": "no-store", **(headers or {})})


def encoded(value: Any) -> bytes:
    """A value as JSON; of what UTF-8 cannot carry, a replacement."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, an integer of more than 64 bits
        return json.dumps(value, default=str).encode()


async def read_json(headers: Headers, receive: Receive, limits: Limits) -> dict[str, Any]:
    """The JSON object that a request's body is.

    Raises:
        ApiError: it is too large, too slow, not JSON, not an object, or nested too deeply.
        ClientGone: the client left before its end.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise invalid(
            "The body has to be JSON: send Content-Type: application/json.", status=415, code="unsupported_media_type"
        )
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise invalid("Compressed bodies are not read.", status=415, code="unsupported_encoding")
    return _object(await _read(headers, receive, limits))


async def _read(headers: Headers, receive: Receive, limits: Limits) -> bytes:
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limits.body_bytes):
        raise _too_large(limits)  # the server on the wire reads on and drops it, so that the client hears of it
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message.get("body", b"")
                if len(body) > limits.body_bytes:
                    raise _too_large(limits)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise invalid(f"The body did not come within {limits.body_seconds:g} s.", status=408, code="timeout") from None


def _too_large(limits: Limits) -> ApiError:
    return invalid(f"The body is larger than {limits.body_bytes} bytes.", status=413, code="request_too_large")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise invalid(f"The body is not JSON at {where}.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise invalid("The body is not a JSON object.", code="invalid_json")
    if _deeper_than(DEEPEST, value):
        raise invalid(f"The body is nested more than {DEEPEST} levels deep.", code="invalid_json")
    return value


def _deeper_than(levels: int, value: Any) -> bool:
    row = [value]
    for _ in range(levels):
        inner = [part for box in row for part in (box.values() if isinstance(box, dict) else box)]
        row = [part for part in inner if isinstance(part, dict | list)]
        if not row:
            return False
    return True
