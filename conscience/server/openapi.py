"""The server's own description, as OpenAPI 3.1: what its routes take and give, of the parameters that a program's generation
can be asked for. OpenAI's documentation says what each of them means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from conscience import __version__
from conscience.chat.checks import FLAG, NAME, OBJECT, TEXT, one_of, whole
from conscience.chat.parameters import GENERATION
from conscience.outcome import Status
from conscience.server.limits import Limits

Schema = dict[str, Any]

_SAID = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
"""A text that says something, and that a provider can receive."""
_ANY = r"^[^\u0000]*$"

_STATUSES = {
    400: "The request cannot be used; or the answer stayed flagged, where the policy is to raise.",
    401: "The key is missing or unknown.",
    403: "The key may not do this, or no key is needed and the request came under another host's name.",
    404: "There is no such model, or not for this key.",
    408: "The request did not come in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "The server is busy.",
    500: "The server had an error of its own.",
    502: "The model behind the server refuses the call.",
    503: "The model behind the server does not answer, or the review failed where the policy is to raise.",
    504: "The answer took too long.",
}


def document(models: Sequence[str], limits: Limits, *, keyed: bool) -> Schema:
    """The description of every route.

    Args:
        models: the names that may be asked for.
        limits: the server's.
        keyed: whether a key is needed.
    """
    model = {"type": "string", "enum": list(models)}
    paths: dict[str, Any] = {
        "/v1/chat/completions": {
            "post": _asks("chat", "A reviewed chat completion.", _chat(model, limits.choices), _ref("ChatCompletion"))
        },
        "/v1/responses": {"post": _asks("respond", "A reviewed response.", _responses(model), _ref("Response"))},
        "/v1/review": {
            "post": _asks("review", "A verdict on a text from anywhere.", _review(model), _ref("Review"), streams=False)
        },
        "/v1/models": {"get": _tells("models", "The models that may be asked for.", _ref("Models"))},
        "/v1/models/{name}": {
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}],
            "get": _tells("model", "A model.", _ref("Model")),
        },
        "/healthz": {"get": _probe("healthz", "Whether the server runs.")},
        "/readyz": {"get": _probe("readyz", "Whether its models are ready and its queue has room.")},
    }
    components: Schema = {"schemas": _SCHEMAS}
    said: Schema = {"openapi": "3.1.0", "info": {"title": "conscience serve", "version": __version__}, "paths": paths}
    if keyed:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        said["security"] = [{"key": []}]
        for path in ("/healthz", "/readyz"):
            paths[path]["get"]["security"] = []
    return {**said, "components": components}


# Operations ------------------------------------------------------------------------------------------------------------


def _asks(name: str, summary: str, body: Schema, answer: Schema, *, streams: bool = True) -> Schema:
    content = {"application/json": {"schema": answer}}
    if streams:
        content["text/event-stream"] = {}
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": summary, "content": content}, **_errors(*_STATUSES)},
    }


def _tells(name: str, summary: str, answer: Schema) -> Schema:
    told = {"200": {"description": summary, "content": {"application/json": {"schema": answer}}}}
    return {"operationId": name, "summary": summary, "responses": {**told, **_errors(401, 403, 404)}}


def _probe(name: str, summary: str) -> Schema:
    content = {
        "application/json": {"schema": {"type": "object", "required": ["status"], "properties": {"status": TEXT.schema}}}
    }
    said = {"description": summary, "content": content}
    return {"operationId": name, "summary": summary, "responses": {"200": said, "503": {**said, "description": "Not now."}}}


def _errors(*statuses: int) -> Schema:
    content = {"application/json": {"schema": _ref("Error")}}
    return {str(status): {"description": _STATUSES[status], "content": content} for status in statuses}


# What is asked ---------------------------------------------------------------------------------------------------------


def _chat(model: Schema, choices: int) -> Schema:
    text, said = {"type": "string", "pattern": _ANY}, {"type": "string", "pattern": _SAID}
    content = {"anyOf": [text, {"type": "array", "items": _sendable(type={"const": "text"}, text=text)}]}
    message = _sendable(role=one_of("system", "developer", "user").schema, content=content)
    answer = _sendable(role={"const": "assistant"})
    answer["properties"]["content"] = _or_null(content)
    parameters = {
        name: _or_null(expected.schema)
        for name, expected in GENERATION.items()
        if expected.schema and name != "top_logprobs"
    }
    own = {
        "model": model,
        "messages": {
            "type": "array",
            "items": {"anyOf": [message, answer]},
            "minItems": 1,
            "contains": {"type": "object", "required": ["content"], "properties": {"content": said}},
        },
        "n": _or_null(whole(1, choices).schema),
        "stream": _or_null(FLAG.schema),
        "response_format": {"anyOf": [_open(type=one_of("text", "json_object").schema), {"type": "null"}]},
        "tools": {"anyOf": [{"type": "array", "items": _tool()}, {"type": "null"}]},
    }
    return _object({**parameters, **own}, "model", "messages")


def _tool() -> Schema:
    function = _open(name={"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"})
    function["properties"] |= {"description": _or_null(TEXT.schema), "parameters": _or_null(OBJECT.schema)}
    return _open(type={"const": "function"}, function=function)


def _responses(model: Schema) -> Schema:
    said = {"type": "string", "pattern": _SAID}
    own = {
        "model": model,
        "input": said,
        "instructions": _or_null({"type": "string", "pattern": _ANY}),
        "max_output_tokens": _or_null(GENERATION["max_tokens"].schema),
        "temperature": _or_null(GENERATION["temperature"].schema),
        "top_p": _or_null(GENERATION["top_p"].schema),
        "stream": _or_null(FLAG.schema),
        "metadata": _or_null(GENERATION["metadata"].schema),
    }
    return _object(own, "model", "input")


def _review(model: Schema) -> Schema:
    text = {"type": "string", "pattern": _ANY}
    return _object(
        {
            "model": model,
            "request": {"anyOf": [text, {"type": "array", "items": _open(role=TEXT.schema)}]},
            "response": {"type": "string", "pattern": _SAID},
            "reasoning": text,
        },
        "response",
    )


def _object(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _or_null(schema: Any) -> Schema:
    return {"anyOf": [dict(schema), {"type": "null"}]}


# What is answered ------------------------------------------------------------------------------------------------------


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _open(**properties: Any) -> Schema:
    """An object that has these properties, and others."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _sendable(**properties: Any) -> Schema:
    """The same, where the others hold nothing that a provider cannot receive."""
    return {**_open(**properties), "propertyNames": {"pattern": _ANY}, "additionalProperties": _ref("Sendable")}


_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_LIST: Schema = {"type": "array"}

_SCHEMAS: Schema = {
    "Sendable": {
        "anyOf": [
            {"type": ["number", "boolean", "null"]},
            {"type": "string", "pattern": _ANY},
            {"type": "array", "items": _ref("Sendable")},
            {"type": "object", "propertyNames": {"pattern": _ANY}, "additionalProperties": _ref("Sendable")},
        ]
    },
    "Error": _open(error=_open(message=TEXT.schema, type=TEXT.schema, param=_TEXT_OR_NULL, code=_TEXT_OR_NULL)),
    "Conscience": _open(
        status=one_of(*get_args(Status)).schema,
        ok=FLAG.schema,
        flagged={"type": ["boolean", "null"]},
        probability=_NUMBER_OR_NULL,
        threshold={"type": "number"},
        principles=_LIST,
    ),
    "ChatCompletion": _open(
        id=NAME.schema,
        object={"const": "chat.completion"},
        model=TEXT.schema,
        choices=_LIST,
        conscience=_ref("Conscience"),
    ),
    "Response": _open(
        id=NAME.schema,
        object={"const": "response"},
        model=TEXT.schema,
        output=_LIST,
        conscience=_ref("Conscience"),
    ),
    "Review": _open(
        id=NAME.schema,
        object={"const": "review"},
        model=TEXT.schema,
        flagged=FLAG.schema,
        probability=_NUMBER_OR_NULL,
        threshold={"type": "number"},
        findings=_LIST,
    ),
    "Model": _open(id=NAME.schema, object={"const": "model"}),
    "Models": _open(object={"const": "list"}, data={"type": "array", "items": _ref("Model")}),
}
