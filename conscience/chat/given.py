"""Completions that somebody else generated, reviewed and revised as if the program had drafted them.

    body = correct(program, asked, completion)      # both as JSON: what was sent, and what came back

Every choice is reviewed with its text, its calls of tools, its reasoning and its annotations. One that passes comes back as
it was, less whatever nobody reviewed; one that does not is revised or refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from conscience._base.awaiting import together
from conscience.chat.replies import choice_of, report, with_reports
from conscience.chat.shapes import check_completion
from conscience.messages.answers import settled
from conscience.messages.completion import Body, Completion, Message, clean, storable
from conscience.messages.requests import is_conversation
from conscience.messages.tool_turns import CALLS, ToolTurn, tools_text
from conscience.modules.generate import Generate
from conscience.modules.origin import OF_A_CHAT_TURN, limits
from conscience.modules.task import task_text
from conscience.outcome import Draft, Outcome, reply_of
from conscience.program import Conscience

ANNOTATIONS = "annotations"

_OF_A_BODY = (
    *("id", "object", "created", "model", "usage", "system_fingerprint", "service_tier"),
    *("prompt_filter_results", "provider"),
)
_OF_A_CHOICE = ("finish_reason", "stop_reason", "content_filter_results")
_REVIEWED = ("role", "content", "refusal", CALLS, ANNOTATIONS)
_THOUGHTS = ("reasoning_content", "reasoning")
"""What may come back of a reply: figures about it, and what was reviewed."""


class Given(Protocol):
    """What somebody else generated."""

    @property
    def drafts(self) -> Sequence[Draft]:
        """What of it is to be reviewed."""

    def told(self, outcomes: Sequence[Outcome]) -> Body:
        """The same with what became of its drafts, in their order."""


def correct(program: Conscience, asked: Mapping[str, Any], completion: Mapping[str, Any]) -> Body:
    """A ``chat.completion`` from anywhere, reviewed, and revised where it must be, with a ``conscience`` object.

    Args:
        program: reviews and revises; what it generates with is not asked.
        asked: the body of the request: messages, tools, response_format, …
        completion: the body of the reply.

    Raises:
        BackendError: the completion cannot be read.
        ConscienceError: as ``Conscience.correct_draft`` does.
    """
    return corrected(program, GivenCompletion.of(program.generate, asked, completion))


async def acorrect(program: Conscience, asked: Mapping[str, Any], completion: Mapping[str, Any]) -> Body:
    """The async form of ``correct``."""
    return await acorrected(program, GivenCompletion.of(program.generate, asked, completion))


def corrected(program: Conscience, given: Given) -> Body:
    """What somebody else generated, reviewed."""
    return given.told([program.correct_draft(draft) for draft in given.drafts])


async def acorrected(program: Conscience, given: Given) -> Body:
    """The async form of ``corrected``; several drafts are reviewed side by side."""
    return given.told(await together(program.acorrect_draft(draft) for draft in given.drafts))


@dataclass(frozen=True)
class GivenCompletion:
    """A ``chat.completion``.

    Attributes:
        asked: the body of the request.
        body: the body of the reply.
        text_field: what the program calls the text.
        by_choice: the draft in each choice; None where it says nothing.
    """

    asked: Mapping[str, Any]
    body: Mapping[str, Any]
    text_field: str
    by_choice: Sequence[Draft | None]

    @classmethod
    def of(cls, generate: Generate, asked: Mapping[str, Any], body: Mapping[str, Any]) -> GivenCompletion:
        """A reply to a request, as the program that ``generate`` belongs to would have drafted it.

        Raises:
            BackendError: the reply cannot be read.
        """
        check_completion(body)
        name = text_field_of(generate)
        sent: Any = asked.get("messages")
        messages = tuple(sent) if is_conversation(sent) else ()
        replies = [Completion(settled(storable({"choices": [one]}), messages), "") for one in body["choices"]]
        return cls(asked, body, name, [_draft(generate, messages, asked, name, reply) for reply in replies])

    @property
    def drafts(self) -> Sequence[Draft]:
        """See ``Given``."""
        return [draft for draft in self.by_choice if draft is not None]

    def told(self, outcomes: Sequence[Outcome]) -> Body:
        """See ``Given``."""
        ended = iter(outcomes)
        choices: list[Body] = []
        reports: list[Body] = []
        for number, (choice, draft) in enumerate(zip(self.body["choices"], self.by_choice, strict=True)):
            outcome = next(ended) if draft is not None else None
            choices.append(self._choice(choice, draft, outcome, number))
            reports.append(NOTHING_SAID if outcome is None else report(outcome))
        kept = {name: self.body[name] for name in _OF_A_BODY if name in self.body}
        return with_reports({**kept, "choices": choices}, reports or [NOTHING_SAID])

    def _choice(self, choice: Mapping[str, Any], draft: Draft | None, outcome: Outcome | None, number: int) -> Body:
        kept = {"finish_reason": "stop", **{name: choice[name] for name in _OF_A_CHOICE if choice.get(name) is not None}}
        if draft is None or outcome is None:  # its thinking and its log-probabilities were not reviewed
            silent = {"role": "assistant", "content": "", "refusal": None}
            return {**kept, "index": number, "logprobs": None, "message": silent}
        if is_kept(draft, outcome):
            message = _message(choice["message"], draft, self.text_field)
            return {**kept, "index": number, "message": message, "logprobs": _logprobs(choice, message)}
        structured = _is_structured(self.asked.get("response_format"))
        return choice_of(outcome, number, self.text_field, structured=structured, logprobs=False)


NOTHING_SAID: Body = {
    **{"status": "unreviewed", "ok": False, "flagged": None, "probability": None, "threshold": None, "principles": []},
    **{"revisions": 0, "error": "the answer is empty: there was nothing to review", "usage": None},
}
"""The report on an answer without a text or a call of a tool."""


def is_kept(draft: Draft, outcome: Outcome) -> bool:
    """Whether what is returned is the draft. A revision that says the same came about by other thoughts: it is none."""
    same = all(outcome.get(name) == value for name, value in draft.outputs.items())
    return same and reply_of(outcome) is not None and outcome.status != "revised"


def text_field_of(generate: Generate) -> str:
    """What a program calls the text of an answer."""
    signature = generate.signature
    return next(iter(signature.output_fields)) if generate.plain and signature is not None else "response"


def _draft(
    generate: Generate, messages: Sequence[Message], params: Mapping[str, Any], name: str, reply: Completion
) -> Draft | None:
    turn = ToolTurn(name)
    outputs = turn.fields(reply.text, reply.message)
    if not reply.text.strip() and CALLS not in outputs:
        return None
    return drafted(generate, messages, params, turn, outputs, reply, reply.message.get(ANNOTATIONS))


def drafted(
    generate: Generate,
    messages: Sequence[Message],
    params: Mapping[str, Any],
    turn: ToolTurn,
    outputs: Mapping[str, Any],
    reply: Completion,
    annotations: Any = None,
) -> Draft:
    """A draft with all that is known of how it came about.

    Args:
        generate: of the program that reviews.
        messages: what was sent.
        params: with what parameters.
        turn: the form of the outputs.
        outputs: the text, and calls of tools.
        reply: what came back; tells the reasoning.
        annotations: what stands beside the text, such as the titles of pages that it cites.
    """
    text = turn.write(outputs)
    if annotations:
        outputs = {**outputs, ANNOTATIONS: annotations}
        text += f"\n\nAnnotations: {json.dumps(annotations, ensure_ascii=False)}"
    signature = generate.signature
    task = task_text(signature) if signature is not None else ""
    sampling = limits(params) | {name: params[name] for name in OF_A_CHAT_TURN if params.get(name) is not None}
    return Draft(
        request=tuple(messages) or "",
        outputs=outputs,
        reasoning=reply.reasoning,
        messages=tuple(messages),
        text=text,
        context="\n".join(filter(None, (task, tools_text(params.get("tools"))))),
        sampling=sampling,
        truncated=reply.finish_reason == "length",
    ).with_form(turn, reply)


def _is_structured(response_format: Any) -> bool:
    return isinstance(response_format, Mapping) and response_format.get("type") != "text"


def _message(message: Mapping[str, Any], draft: Draft, text_field: str) -> Body:
    """A message that passed, less what nobody reviewed."""
    kept = {name: clean(message[name]) for name in _REVIEWED if name in message}
    if not isinstance(kept.get("content"), str | None):
        kept["content"] = draft.outputs[text_field]  # of parts, the text
    if kept.get("content") and kept.get("refusal"):
        kept["refusal"] = None  # the content is what was read
    kept["role"] = "assistant"
    thoughts = {name: message[name] for name in _THOUGHTS if isinstance(message.get(name), str)}
    return kept | {name: thought for name, thought in thoughts.items() if thought.strip() in draft.reasoning}


def _logprobs(choice: Mapping[str, Any], message: Mapping[str, Any]) -> Any:
    """The log-probabilities where they are those of the text that comes back."""
    told = choice.get("logprobs")
    tokens = told.get("content") if isinstance(told, Mapping) else None
    if not isinstance(tokens, list) or not all(isinstance(token, Mapping) for token in tokens):
        return None
    text = "".join(str(token.get("token")) for token in tokens)
    return {"content": tokens, "refusal": None} if text.strip() == (message.get("content") or "").strip() else None
