"""A ``response`` of the Responses API that somebody else generated, to be reviewed as if the program had drafted it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conscience.chat.given import NOTHING_SAID, drafted, is_kept, text_field_of
from conscience.chat.replies import choice_of, report
from conscience.chat.response_items import input_messages
from conscience.chat.response_replies import output_items
from conscience.chat.responses import chat_format, chat_tools
from conscience.chat.shapes import check_response
from conscience.messages.completion import Body, Completion, Message, clean
from conscience.messages.rendering import value_text
from conscience.messages.tool_turns import CALLS, ToolTurn
from conscience.modules.generate import Generate
from conscience.outcome import Draft, Outcome

_OF_A_RESPONSE = (
    *("id", "object", "created_at", "completed_at", "status", "error", "incomplete_details", "instructions", "model"),
    *("max_output_tokens", "max_tool_calls", "parallel_tool_calls", "previous_response_id", "reasoning", "service_tier"),
    *("store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "usage", "user"),
    *("metadata", "background", "billing", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
)
"""What may come back of a response beside its output."""

_OF_AN_ITEM: Mapping[str, tuple[str, ...]] = {
    "message": ("id", "type", "status", "role", "phase", "content"),
    "function_call": ("id", "type", "status", "call_id", "name", "arguments"),
    "reasoning": ("id", "type", "status", "summary", "content", "encrypted_content"),
}
"""Kind of item → what of it was reviewed, or says nothing; of any other kind, all was reviewed."""

_PARTS_OF = {"message": ("output_text", "refusal"), "reasoning": ("summary_text", "reasoning_text")}
"""Kind of item → the kinds of parts that it may have."""

_OF_A_PART: Mapping[str, tuple[str, ...]] = {
    "output_text": ("type", "text", "annotations"),
    "refusal": ("type", "refusal"),
    "summary_text": ("type", "text"),
    "reasoning_text": ("type", "text"),
}


@dataclass(frozen=True)
class GivenResponse:
    """A ``response``.

    Attributes:
        asked: the body of the request.
        body: the body of the reply.
        text_field: what the program calls the text.
        draft: what it says; None where that is nothing.
    """

    asked: Mapping[str, Any]
    body: Mapping[str, Any]
    text_field: str
    draft: Draft | None

    @classmethod
    def of(cls, generate: Generate, asked: Mapping[str, Any], body: Mapping[str, Any]) -> GivenResponse:
        """A reply to a request, as the program that ``generate`` belongs to would have drafted it.

        Raises:
            BackendError: the reply cannot be read.
        """
        check_response(body)
        name = text_field_of(generate)
        return cls(asked, body, name, _draft(generate, asked, body, name))

    @property
    def drafts(self) -> Sequence[Draft]:
        """See ``conscience.chat.given.Given``."""
        return [] if self.draft is None else [self.draft]

    def told(self, outcomes: Sequence[Outcome]) -> Body:
        """See ``conscience.chat.given.Given``."""
        kept = {name: self.body[name] for name in _OF_A_RESPONSE if name in self.body}
        if self.draft is None:
            return {**kept, "output": [], "conscience": NOTHING_SAID}
        (outcome,) = outcomes
        if is_kept(self.draft, outcome):
            return {**kept, "output": _reviewed(self.body["output"]), "conscience": report(outcome)}
        structured = "response_format" in self.draft.sampling
        choice = choice_of(outcome, 0, self.text_field, structured=structured, logprobs=False)
        cut = choice["finish_reason"] == "length"
        status = "incomplete" if cut else "completed"
        ended = {"status": status, "incomplete_details": {"reason": "max_output_tokens"} if cut else None}
        return {**kept, **ended, "output": output_items(choice, status), "conscience": report(outcome)}


def response_messages(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a request of the Responses API asks, as chat messages; what a chat has no form for is named, or shown as JSON."""
    messages = input_messages(asked.get("input"), strict=False)
    instructions = asked.get("instructions")
    return [{"role": "system", "content": instructions}, *messages] if isinstance(instructions, str) else messages


def _draft(generate: Generate, asked: Mapping[str, Any], body: Mapping[str, Any], name: str) -> Draft | None:
    items = [clean(dict(item)) for item in body["output"]]
    parts = [part for item in items if item["type"] == "message" for part in item.get("content") or ()]
    text = "\n".join(map(_said, parts))
    calls = [_call(item) for item in items if item.get("type") not in ("message", "reasoning")]
    if not text.strip() and not calls:
        return None
    thoughts = [
        _said(part)
        for item in items
        if item.get("type") == "reasoning"
        for part in (*(item.get("summary") or ()), *(item.get("content") or ()))
    ]
    message: dict[str, Any] = {"content": text, "reasoning_content": "\n".join(filter(None, thoughts))}
    finish = "length" if (body.get("incomplete_details") or {}).get("reason") == "max_output_tokens" else "stop"
    reply = Completion({"choices": [{"index": 0, "finish_reason": finish, "message": message}]}, "")
    turn = ToolTurn(name)
    outputs = turn.fields(text, {CALLS: calls})
    annotations = [one for part in parts for one in part.get("annotations") or ()]
    messages: Sequence[Message] = response_messages(asked)
    return drafted(generate, messages, _chat_parameters(asked), turn, outputs, reply, annotations)


def _chat_parameters(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request a revision, which is written over the chat API, is asked with."""
    same = ("temperature", "top_p", "parallel_tool_calls")
    params = {name: asked[name] for name in same if asked.get(name) is not None}
    if asked.get("max_output_tokens") is not None:
        params["max_tokens"] = asked["max_output_tokens"]
    if not (tools := chat_tools(asked)).get("tools"):
        params.pop("parallel_tool_calls", None)
        tools = {}
    return params | tools | chat_format(asked.get("text"))


def _call(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call of a function as a chat has it; any other item as it is, to be reviewed whole."""
    if item.get("type") != "function_call":
        return item
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _reviewed(items: Any) -> list[Any]:
    """The output that passed, less what nobody reviewed."""
    kept: list[Any] = []
    for item in items:
        known = {name: item[name] for name in _OF_AN_ITEM.get(item["type"], item) if name in item}
        if item["type"] == "function_call":
            known |= {name: value_text(item.get(name)) for name in ("name", "arguments")}
        elif item["type"] in _OF_AN_ITEM:
            for name in ("content", "summary"):
                if name in known or (item["type"], name) == ("message", "content"):
                    parts = [part for part in item.get(name) or () if part["type"] in _PARTS_OF[item["type"]]]
                    known[name] = [_part(part) for part in parts]
        kept.append(clean(known))
    return kept


def _said(part: Mapping[str, Any]) -> str:
    """What a part says: the one field that is reviewed, and that comes back."""
    return str(part.get(_field(part)) or "")


def _field(part: Mapping[str, Any]) -> str:
    return "refusal" if part["type"] == "refusal" else "text"


def _part(part: Mapping[str, Any]) -> Body:
    """A part of a message or of reasoning; log-probabilities where they are those of its text."""
    kept = {_field(part): "", **{name: part[name] for name in _OF_A_PART[part["type"]] if part.get(name) is not None}}
    tokens = part.get("logprobs") or ()
    if "".join(str(token.get("token")) for token in tokens).strip() == _said(part).strip() and tokens:
        kept["logprobs"] = part["logprobs"]
    return kept
