"""Which requests of a client are answered with text of a model, and what is done with each: reviewed, refused, or let be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from conscience.chat.checks import ParameterError
from conscience.errors import ConfigurationError

REVIEWED: Mapping[str, Literal["chat", "responses"]] = {"/chat/completions": "chat", "/responses": "responses"}
"""The ends of the paths whose answers are reviewed."""

REFUSED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(GET|POST) .*/chat/completions/[^/]+"), "a stored completion holds the draft"),
    (re.compile(r"GET .*/chat/completions"), "stored completions hold drafts"),
    (re.compile(r"GET .*/responses/[^/]+"), "a stored response holds the draft"),
    (re.compile(r"POST .*/responses/(compact|[^/]+/cancel)"), "its response is not reviewed"),
    (re.compile(r"(GET|POST) .*/conversations/[^/]+/items(/[^/]+)?"), "a stored conversation holds drafts"),
    (re.compile(r"POST (.*(?<!/chat))?/completions"), "completions without a chat are not reviewed"),
    (re.compile(r"(GET|POST) (.*/)?threads(/.*)?"), "what an assistant writes in a thread is not reviewed"),
    (re.compile(r"(GET|POST) (.*/)?agents/.*"), "what an agent of the provider's does is not reviewed"),
)
"""Ways to a model's text past the review, as method and path → why they are closed."""

INSTEAD = "use chat.completions or responses, or the openai package's own client"

_NOT_TEXT = {
    "audio": "a spoken answer cannot be reviewed before it is heard",
    "functions": "is the old form of tools: send tools",
    "function_call": "is the old form of tool_choice: send tool_choice",
    "background": "an answer is given once it has been reviewed: leave it out",
    "previous_response_id": "the review would not see the turns before: send them as input",
    "conversation": "the review would not see the turns before: send them as input",
    "prompt": "the review would not see the stored prompt: send instructions and input",
}
"""Parameter → why it makes no sense here."""


@dataclass(frozen=True)
class Door:
    """A request whose answer is reviewed.

    Attributes:
        api: which of the two.
        asked: the body of the request, as the caller wrote it and with the program's own prompts.
        stream: whether the caller wants a stream.
        include_usage: whether its last chunk tells the usage.
        beside: headers and query that the caller sent with it.
    """

    api: Literal["chat", "responses"]
    asked: Mapping[str, Any]
    stream: bool
    include_usage: bool
    beside: Mapping[str, Any] = field(default_factory=dict)


def api_of(method: str, url: str) -> Literal["chat", "responses"] | None:
    """Which reviewed API a request is for; None for one that is let be.

    Raises:
        ConfigurationError: it leads to a model's text past the review.
    """
    path = "/" + url.partition("?")[0].partition("#")[0].strip("/").casefold()  # as some gateways read it
    if method.lower() == "post":
        for end, api in REVIEWED.items():
            if path.endswith(end):
                return api
    for pattern, why in REFUSED:
        if pattern.fullmatch(f"{method.upper()} {path}"):
            raise ConfigurationError(f"{method.upper()} {path}: {why}", hint=INSTEAD)
    return None


def door(api: Literal["chat", "responses"], asked: Mapping[str, Any]) -> Door:
    """The door that a request goes through.

    Raises:
        ParameterError: an option that makes no sense here, by name.
    """
    for name, why in _NOT_TEXT.items():
        if asked.get(name) not in (None, False):
            raise ParameterError(name, why)
    modalities = asked.get("modalities")
    if modalities is not None and list(modalities) != ["text"]:
        raise ParameterError("modalities", "only text can be reviewed", hint='leave it out, or set it to ["text"]')
    for number, tool in enumerate(asked.get("tools") or ()):
        if isinstance(tool, Mapping):
            _check_tool(f"tools[{number}]", tool)
    options = asked.get("stream_options")
    if options is not None and not asked.get("stream"):
        raise ParameterError("stream_options", "needs stream", hint="set stream to True")
    usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
    return Door(api, asked, bool(asked.get("stream")), usage)


def _check_tool(at: str, tool: Mapping[str, Any]) -> None:
    if tool.get("type") == "image_generation":
        raise ParameterError(f"{at}.type", "a picture cannot be reviewed", hint="leave it out")
    approval = tool.get("require_approval")
    if tool.get("type") == "mcp" and (approval == "never" or (isinstance(approval, Mapping) and "never" in approval)):
        raise ParameterError(f"{at}.require_approval", "calls would run before they were reviewed", hint="leave it out")


def beside_of(options: Any) -> dict[str, Any]:
    """The headers and the query that a caller sent with a request, less those that are about it alone."""
    given = options.headers if isinstance(options.headers, Mapping) else {}
    own = ("accept", "content-type", "content-length", "idempotency-key")
    headers = {
        name: value
        for name, value in given.items()
        if isinstance(value, str) and name.lower() not in own and not name.lower().startswith("x-stainless")
    }
    return {"headers": headers, "params": dict(options.params or {})}


def asked_of(json_data: Any, extra_json: Any, content: Any) -> dict[str, Any]:
    """The body of a request as the package is about to send it.

    Raises:
        ParameterError: it is no JSON object.
    """
    if json_data is None and extra_json is None and isinstance(content, bytes | str):
        json_data = content
    if isinstance(json_data, bytes | str):
        try:
            json_data = json.loads(json_data)
        except ValueError:
            json_data = None
    if json_data is None and isinstance(extra_json, Mapping):
        json_data = {}
    if not isinstance(json_data, Mapping):
        raise ParameterError("body", "is no JSON object: it cannot be told what is asked")
    return {**json_data, **(extra_json or {})}
