"""What each route makes of a body: OpenAI's shapes are ``conscience.chat``'s, the review is this server's own."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from conscience.chat import ChatRequest, ResponsesRequest, acomplete, astream
from conscience.messages.requests import is_conversation
from conscience.program import Conscience
from conscience.server.errors import invalid
from conscience.server.handling import Answer, Streamed, Whole
from conscience.server.policies import Tenant

STARTED = int(time.time())


def models(tenant: Tenant) -> dict[str, Any]:
    """OpenAI's list of models: the names that a tenant may ask for."""
    return {"object": "list", "data": [model(tenant, name) for name in tenant.programs]}


def model(tenant: Tenant, name: str) -> dict[str, Any]:
    """OpenAI's description of a model."""
    tenant.program(name)
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "conscience"}


def chat(tenant: Tenant, body: dict[str, Any], *, choices: int) -> Answer:
    """A chat completion, or as many as ``choices`` at once."""
    request = ChatRequest.parse(body)
    if request.n > choices:
        raise invalid(f"n: at most {choices} answers can be asked for at once here.", code="invalid_value", param="n")
    return _answer(tenant, request, last=b"data: [DONE]\n\n")


def responses(tenant: Tenant, body: dict[str, Any]) -> Answer:
    """An answer by the Responses API."""
    return _answer(tenant, ResponsesRequest.parse(body), last=b"")


def _answer(tenant: Tenant, request: ChatRequest | ResponsesRequest, *, last: bytes) -> Answer:
    program = tenant.program(request.model)
    if len(program.generate.inputs) != 1:
        message = f"The model {request.model!r} takes {', '.join(program.generate.inputs)}, which no chat has."
        raise invalid(message, code="no_chat_model", param="model")
    if request.stream:
        return Streamed(request.model, partial(astream, program, request, release=tenant.release), last)
    return Whole(request.model, partial(acomplete, program, request))


_REVIEW = ("model", "request", "response", "reasoning")


def review(tenant: Tenant, body: dict[str, Any]) -> Answer:
    """A verdict on a text from anywhere."""
    for name in body:
        if name not in _REVIEW:
            raise invalid(
                f"Unknown parameter: {name[:100]!r}. There are {', '.join(_REVIEW)}.",
                code="unknown_parameter",
                param=name[:100],
            )
    for name in ("model", "response", "reasoning"):
        if not isinstance(body.get(name, ""), str):
            raise invalid(f"{name!r} is not a string.", code="invalid_type", param=name)
    request = body.get("request", "")
    if not isinstance(request, str) and not _is_chat(request):
        raise invalid("'request' is neither a string nor chat messages.", code="invalid_type", param="request")
    if not body.get("response", "").strip():
        raise invalid(
            "'response' is missing or empty: it is the text to review.", code="missing_parameter", param="response"
        )
    name = body.get("model") or next(iter(tenant.programs), "")
    texts = (request, body["response"], body.get("reasoning", ""))
    return Whole(name, partial(_review, tenant.program(name), name, texts))


def _is_chat(value: Any) -> bool:
    return value == [] or is_conversation(value)


async def _review(program: Conscience, model: str, texts: tuple[Any, str, str]) -> Mapping[str, Any]:
    request, response, reasoning = texts
    prediction = await program.review.acall(request=request, response=response, reasoning=reasoning)
    return {"id": f"review-{uuid.uuid4().hex}", "object": "review", "model": model, **prediction.verdict.to_dict()}
