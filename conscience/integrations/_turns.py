"""A model's turn in a conversation, and what a program makes of it: what the integrations share.

Each framework has messages of its own. An integration reads one into a ``Turn`` and writes the reviewed one back; the
conversation is always OpenAI's chat messages, which a program takes as they are.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import uuid4

from conscience.chat.given import drafted, is_kept, text_field_of
from conscience.gate.choosing import likeliest
from conscience.messages.completion import Completion, Message, clean
from conscience.messages.rendering import content_text
from conscience.messages.requests import check_text
from conscience.messages.tool_turns import CALLS, ToolTurn
from conscience.modules.revise import problems_text
from conscience.outcome import Draft, Outcome, Verdict
from conscience.program import Conscience


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for.

    Attributes:
        name: of the tool.
        arguments: JSON, as the model wrote it.
        id: by which the tool's result will name it.
    """

    name: str
    arguments: str = "{}"
    id: str = ""

    @classmethod
    def of(cls, name: Any, arguments: Any, id: Any = "") -> Self:
        """A call whose arguments are JSON, an object, or what else a model made of them."""
        written = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False, default=str)
        return cls(str(name or ""), written, str(id or ""))

    def arguments_object(self) -> Any:
        """The arguments as the object that they are; as they stand where they are no JSON."""
        try:
            return json.loads(self.arguments)
        except ValueError:
            return self.arguments

    def to_message(self) -> dict[str, Any]:
        """The call as it stands in a chat message."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class Turn:
    """What a model said in one turn.

    Attributes:
        text: the answer; empty where it only calls tools.
        reasoning: what it thought before, as far as the provider shows it.
        calls: the tools that it wants called, in order.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to review."""
        return not self.text.strip() and not self.reasoning.strip() and not self.calls


@dataclass(frozen=True)
class ReviewedTurn:
    """A turn that may be shown.

    Attributes:
        turn: the one to show: the model's own, a revision, or a refusal without calls.
        outcome: how the review ended; None where there was nothing to review.
        changed: whether it is another than the model's: its tokens, thoughts and citations are then not those of the answer.
    """

    turn: Turn
    outcome: Outcome | None
    changed: bool


PARTS = frozenset({"text", "refusal", "image_url", "input_audio", "file"})
"""Types of content parts that OpenAI's chat messages have."""


def readable(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Chat messages with nothing in them that a provider of another kind put there: thoughts and its own parts go, and what
    is left is a text where it is text alone."""
    return [{**message, "content": _content(message.get("content"))} for message in messages]


def part_text(part: Any) -> str:
    """All that a part of an answer says, as text: what is not text, as the data that it is, without its media."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        return json.dumps(_without_media(part), ensure_ascii=False, default=str)
    beside = {name: value for name, value in part.items() if name not in ("type", "text", "id", "index") and value}
    return f"{text}\n{json.dumps(_without_media(beside), ensure_ascii=False, default=str)}" if beside else text


def other_tokens(told: Any, text: str) -> str:
    """What the tokens of an answer say whose log-probabilities are told beside it, where that is not the text: servers that
    take the thinking out of an answer leave it there.

    Args:
        told: see ``tokens_of``.
        text: of the answer.
    """
    said = b"".join(map(_token_bytes, tokens_of(told))).decode(errors="replace")
    return "" if said.strip() == text.strip() else said


def tokens_of(told: Any) -> list[Any]:
    """The tokens in what a provider tells of log-probabilities: objects or texts, in a list or in lists by name."""
    told = told.model_dump() if hasattr(told, "model_dump") else told
    lists = [told.get(name) for name in ("content", "refusal", "tokens")] if isinstance(told, Mapping) else [told]
    return [token for one in lists if isinstance(one, list) for token in one]


def _token_bytes(token: Any) -> bytes:
    """A token's text; its bytes where it is a part of a letter, which no text can show."""
    if not isinstance(token, Mapping):
        return str(token).encode(errors="replace")
    known = token.get("bytes")
    if isinstance(known, list):
        with suppress(ValueError, TypeError):
            part = bytes(known)
            if "\ufffd" in part.decode(errors="replace"):
                return part
    return str(token.get("token") or "").encode(errors="replace")


def _without_media(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: "…" if name in MEDIA else _without_media(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_media(inner) for inner in value]
    return "…" if isinstance(value, str) and _DATA_URL.match(value) else value


_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,[\w+/=\s-]*\Z")

MEDIA = frozenset({"data", "base64", "b64_json", "bytes", "file_data", "signature", "encrypted_content"})
"""Names of what no reviewer can read."""


def judge_of(program: Conscience) -> Conscience:
    """A copy that only judges: what is flagged is refused, without a revision."""
    judge = copy.copy(program)
    judge.max_revisions = 0
    judge.on_unresolved = "refuse"
    return judge


def rules_text(program: Conscience, verdict: Verdict) -> str:
    """What a flagged answer breaks and what to do instead, in the constitution's words: a model may be told it, and a log
    may hold it, since it quotes nothing of the answer."""
    findings = verdict.findings or likeliest(verdict.principles, program.constitution)
    return problems_text([replace(finding, quote="", why="", change="") for finding in findings], program.constitution)


def chat_tools(tools: Any) -> list[dict[str, Any]]:
    """Tools on offer as OpenAI's chat API has them, from any of OpenAI's forms and Anthropic's; those that a provider runs
    by itself have none."""
    found = []
    for tool in tools if isinstance(tools, list | tuple) else ():
        described = tool.get("function") or tool if isinstance(tool, Mapping) else {}
        if isinstance(described, Mapping) and isinstance(described.get("name"), str):
            parameters = described.get("parameters") or described.get("input_schema") or {"type": "object", "properties": {}}
            found.append(chat_tool(described["name"], described.get("description"), parameters))
    return found


def chat_tool(name: str, description: str | None, parameters: Any) -> dict[str, Any]:
    """One tool in that form."""
    return {"type": "function", "function": {"name": name, "description": description or "", "parameters": parameters}}


def tool_names(tools: Iterable[Mapping[str, Any]] | None) -> list[str]:
    """The names of tools in that form."""
    return [str(tool["function"]["name"]) for tool in tools or ()]


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the user wrote last; empty where that is no text."""
    said = [content_text(message.get("content")) for message in messages if message.get("role") == "user"]
    return said[-1] if said else ""


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content or ""
    parts = [part if isinstance(part, Mapping) else {"type": "text", "text": str(part)} for part in content]
    kept = [part for part in parts if part.get("type") in PARTS]
    if all(part["type"] == "text" for part in kept):
        return "\n".join(str(part.get("text") or "") for part in kept)
    return kept


def review(program: Conscience, conversation: Sequence[Message], turn: Turn, **params: Any) -> ReviewedTurn:
    """Reviews a turn in the light of the conversation, and corrects it where the program says so.

    Args:
        program: reviews, and revises.
        conversation: the chat messages that led to the turn.
        turn: what the model said.
        params: of the request, as OpenAI's chat API has them, for a revision: ``tools``, ``response_format``.

    Raises:
        InputError: the conversation holds what no provider can receive.
        ConfigurationError: no model, no key.
        UnresolvedError, ReviewError, BackendError, BudgetExceeded: where the program's policy is "raise".
    """
    if turn.is_empty:
        return ReviewedTurn(turn, None, changed=False)
    draft = _draft(program, conversation, turn, params)
    return _settled(program, turn, draft, program.correct_draft(draft), params)


async def areview(program: Conscience, conversation: Sequence[Message], turn: Turn, **params: Any) -> ReviewedTurn:
    """The async form of ``review``."""
    if turn.is_empty:
        return ReviewedTurn(turn, None, changed=False)
    draft = _draft(program, conversation, turn, params)
    return _settled(program, turn, draft, await program.acorrect_draft(draft), params)


def _draft(program: Conscience, conversation: Sequence[Message], turn: Turn, params: Mapping[str, Any]) -> Draft:
    """The turn as a draft of the program's. Thoughts alone are the answer: they would be shown."""
    check_text(conversation)
    text, thoughts = turn.text, turn.reasoning
    if not text.strip() and not turn.calls:
        text, thoughts = thoughts, ""
    calls = {CALLS: [call.to_message() for call in turn.calls]} if turn.calls else {}
    message = clean({"role": "assistant", "content": text, "reasoning_content": thoughts, **calls})
    reply = Completion({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}, "")
    form = ToolTurn(text_field_of(program.generate))
    outputs = form.fields(message["content"], message)
    given = {name: value for name, value in params.items() if value}
    return drafted(program.generate, tuple(conversation), given, form, outputs, reply)


def _settled(program: Conscience, given: Turn, draft: Draft, outcome: Outcome, params: Mapping[str, Any]) -> ReviewedTurn:
    """What may be shown, by what the outcome returns and by nothing else."""
    if is_kept(draft, outcome):
        kept = Turn(clean(given.text), clean(given.reasoning), _cleaned(given.calls))
        return ReviewedTurn(kept, outcome, changed=kept != given)
    text = outcome.get(text_field_of(program.generate))
    known = {*tool_names(params.get("tools")), *(call.name for call in given.calls)}
    calls = tuple(_runnable(outcome.get(CALLS), known))
    if not calls and not (isinstance(text, str) and text):  # what there was are calls that cannot be run
        own = program.refusal if isinstance(program.refusal, str) else None
        text = outcome.response or own or program.constitution.refusal
    return ReviewedTurn(Turn(text if isinstance(text, str) else "", "", calls), outcome, changed=True)


def _cleaned(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(clean(call.name), clean(call.arguments), call.id) for call in calls)


def _runnable(calls: Any, known: set[str]) -> Iterable[ToolCall]:
    """The calls of a revision: those of a known tool, with an object of arguments. Others cannot be run and are left out."""
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping) and function.get("name") in known:
            made = ToolCall.of(function["name"], function.get("arguments"), call.get("id") or f"call_{uuid4().hex[:24]}")
            if isinstance(made.arguments_object(), Mapping):
                yield made
