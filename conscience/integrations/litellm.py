"""A guardrail for LiteLLM's proxy: what its models answer is reviewed, and corrected, before any client sees it.

    guardrails:
      - guardrail_name: conscience
        litellm_params:
          guardrail: conscience.integrations.litellm.ConscienceGuardrail
          mode: post_call              # the answers; pre_call and during_call judge what the user wrote
          default_on: true
          program: support.json        # a compiled program; without it, the general constitution
          lm: openai/gpt-4o-mini       # what reviews and revises

It covers chat and text completions, OpenAI's Responses and Anthropic's Messages, whole and streamed: calls of tools with
their arguments, every choice, and the thoughts that are shown. A stream begins after the verdict. An answer of a kind that
it does not know is kept back. LiteLLM's pass-through routes and realtime sessions call no guardrail of this kind. A program
made in Python goes in by a class of one's own, which LiteLLM then names::

    class Reviewed(ConscienceGuardrail):
        def __init__(self, **options):
            super().__init__(program=Conscience(…), **options)

Needs ``litellm[proxy]``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.llms import load_guardrail_translation_mappings
from litellm.proxy.common_utils.callback_utils import add_guardrail_to_applied_guardrails_header
from litellm.proxy.guardrails.anthropic_sse import anthropic_sse_chunks_from_response, assemble_anthropic_sse_stream
from litellm.types.guardrails import GuardrailEventHooks
from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.utils import CallTypes, ModelResponse, ModelResponseStream, TextCompletionResponse

from conscience._base.awaiting import together
from conscience._base.files import digest
from conscience.chat import report
from conscience.chat.given import text_field_of
from conscience.errors import BackendError, BudgetExceeded, ConfigurationError, ConscienceError, InputError, ReviewError
from conscience.integrations._litellm_answers import (
    answers,
    content_turn,
    stream_with,
    streamed_content,
    streamed_texts,
    streamed_turns,
    texts_with,
)
from conscience.integrations._responses import agree, output_turn, stream_events, streamed_response
from conscience.integrations._turns import (
    ReviewedTurn,
    Turn,
    areview,
    chat_tools,
    judge_of,
    last_user_text,
    part_text,
    readable,
)
from conscience.outcome import UNCHANGED, Outcome
from conscience.program import Conscience, load

MARK_LENGTH = 32
"""Hexadecimal digits of a digest."""

PROVIDER = "conscience"
"""By which name LiteLLM's logs know who judged."""


HOOKS = (
    "async_pre_call_hook",
    "async_moderation_hook",
    "async_post_call_success_hook",
    "async_post_call_streaming_iterator_hook",
)
"""What LiteLLM calls."""


class ConscienceGuardrail(CustomGuardrail):  # type: ignore[misc]  # LiteLLM ships no types
    """Reviews what passes a LiteLLM proxy.

    What a review has nothing against goes on unchanged; otherwise the answer is the revision, or the refusal with the finish
    reason ``content_filter``. A body that is no stream has a ``conscience`` object that tells how the review ended, as have
    LiteLLM's logs. A review that failed ends as the program's policy says: closed with the refusal text and the status
    ``unreviewed``, which is no verdict.

    Whether it runs for a request is LiteLLM's to decide: a hook that is called reviews.

    Args:
        program: what reviews and revises, or the file of a compiled one; by default the general constitution.
        lm: the model of the default program, or of the file's.
        options: LiteLLM's own (``guardrail_name``, ``event_hook``, ``default_on``, …).

    Raises:
        ConfigurationError, ArtifactError: when the proxy starts: no model, or no program in the file.
    """

    records_own_guardrail_information = True

    def __init_subclass__(cls, **options: Any) -> None:
        """LiteLLM looks for hooks in the last class alone: in one that inherits them, streams would pass unreviewed."""
        super().__init_subclass__(**options)
        for name in HOOKS:
            if name not in vars(cls):
                setattr(cls, name, getattr(cls, name))

    def __init__(self, program: Conscience | str | Path | None = None, lm: Any = None, **options: Any) -> None:
        super().__init__(**options)
        if program is None and lm is None:
            raise ConfigurationError(
                "the guardrail has no model that reviews", hint="set lm or program under litellm_params"
            )
        if not isinstance(program, Conscience):
            program = Conscience(lm=lm) if program is None else load(program, lm=lm)
        self.program = program
        self.judge = judge_of(self.program)
        self._mark = f"conscience-{token_hex(16)}"  # which nobody upstream can know

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any) -> Any:
        """``mode: pre_call``: what the user wrote last goes to no model where it is against the constitution itself."""
        await self._judge_request(data, call_type, GuardrailEventHooks.pre_call)
        return data

    async def async_moderation_hook(self, data: dict[str, Any], user_api_key_dict: Any, call_type: Any) -> Any:
        """``mode: during_call``: the same, beside the model's own work."""
        await self._judge_request(data, call_type, GuardrailEventHooks.during_call)
        return data

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> Any:
        """``mode: post_call``: what the model answered."""
        said = answers(response)
        if said is None:
            _unknown(type(response).__name__)
        turns = [answer.turn for answer in said]
        marks = getattr(response, "_hidden_params", None)  # no part of the body
        if isinstance(marks, dict) and marks.get(self._mark) == _digest(turns):
            return response  # a guardrail of one model is called by the router, and again by the proxy
        reviewed = await self._review(turns, data, _call_type(response))
        for answer, result in zip(said, reviewed, strict=True):
            if result.changed:
                answer.put(result)
        _tell(response, reviewed)
        if isinstance(marks, dict):
            marks[self._mark] = _digest([answer.turn for answer in answers(response) or ()])
        return response

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: AsyncIterator[Any], request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """The same of a stream: none of it goes out before the verdict, and none of it if the stream breaks off."""
        chunks = [chunk async for chunk in response]
        for chunk in await self._reviewed_stream(chunks, request_data):
            yield chunk

    async def _judge_request(self, data: dict[str, Any], call_type: Any, event: GuardrailEventHooks) -> None:
        """Ends a request whose last words are flagged with the refusal as the answer.

        Raises:
            ModifyResponseException: LiteLLM then answers with the refusal.
            HTTPException: the review failed, and the policy is closed.
        """
        text = last_user_text(_conversation(data, call_type))
        if not text.strip():
            return
        try:
            outcome = await self.judge.acorrect("", {text_field_of(self.judge.generate): text})
        except ConscienceError as error:
            _failed(error)
        self._record(data, event, [outcome])
        if outcome.status == "refused":
            self.raise_passthrough_exception(outcome.response, data, report(outcome))
        if outcome.status == "unreviewed" and outcome.draft is None:
            raise HTTPException(503, {"error": f"the request could not be reviewed: {outcome.error}"})

    async def _reviewed_stream(self, chunks: Sequence[Any], data: dict[str, Any]) -> Iterable[Any]:
        if not chunks:
            return chunks
        if all(isinstance(chunk, ModelResponseStream) for chunk in chunks):
            changed = await self._changed(streamed_turns(chunks), data, CallTypes.acompletion)
            return stream_with(chunks, changed) if changed else chunks
        if all(isinstance(chunk, TextCompletionResponse) for chunk in chunks):
            changed = await self._changed(streamed_texts(chunks), data, CallTypes.atext_completion)
            return texts_with(chunks, changed) if changed else chunks
        if all(isinstance(chunk, str | bytes) for chunk in chunks):
            return await self._reviewed_messages(chunks, data)
        response = streamed_response(chunks)
        if response is None:
            _unknown(f"a stream of {type(chunks[0]).__name__} without an end")
        (reviewed,) = await self._review([output_turn(response.output)], data, CallTypes.aresponses)
        as_it_was = not reviewed.changed and agree(chunks, response.output)
        return chunks if as_it_was else stream_events(chunks, reviewed.turn)

    async def _reviewed_messages(self, chunks: Sequence[Any], data: dict[str, Any]) -> Iterable[Any]:
        """Anthropic's stream, which LiteLLM hands on as it goes over the wire."""
        content = streamed_content(chunks)
        if content is None:
            _unknown("a stream that cannot be read")
        (reviewed,) = await self._review([content_turn(content)], data, CallTypes.anthropic_messages)
        if not reviewed.changed:
            return chunks
        assembled = assemble_anthropic_sse_stream(chunks, restore_identity=True, through_upstream_error=True)
        for answer in answers(assembled) or ():
            answer.put(reviewed)
        rewritten: Iterable[Any] = anthropic_sse_chunks_from_response(assembled, chunks)
        return rewritten

    async def _changed(
        self, turns: Mapping[int, Turn], data: dict[str, Any], call_type: CallTypes
    ) -> dict[int, ReviewedTurn]:
        """Which choices of a stream are not to be shown as they are, and what is."""
        reviewed = await self._review(list(turns.values()), data, call_type)
        return {index: result for index, result in zip(turns, reviewed, strict=True) if result.changed}

    async def _review(self, turns: Sequence[Turn], data: dict[str, Any], call_type: CallTypes) -> list[ReviewedTurn]:
        """The turns, each reviewed in the light of the request; side by side."""
        conversation, form = _conversation(data, call_type), data.get("response_format")
        asked = {"tools": chat_tools(data.get("tools")), "response_format": form if isinstance(form, Mapping) else None}
        try:
            reviewed = await together(areview(self.program, conversation, turn, **asked) for turn in turns)
        except ConscienceError as error:
            _failed(error)
        self._record(data, GuardrailEventHooks.post_call, [turn.outcome for turn in reviewed if turn.outcome is not None])
        return reviewed

    def _record(self, data: dict[str, Any], event: GuardrailEventHooks, outcomes: Sequence[Outcome]) -> None:
        """Tells LiteLLM's headers and logs what came of it; no text is in it."""
        add_guardrail_to_applied_guardrails_header(request_data=data, guardrail_name=self.guardrail_name)
        for outcome in outcomes:
            passed = "success" if outcome.status in UNCHANGED else "guardrail_intervened"
            self.add_standard_logging_guardrail_information_to_request_data(
                guardrail_json_response=report(outcome),
                request_data=data,
                guardrail_status="guardrail_failed_to_respond" if outcome.status == "unreviewed" else passed,
                duration=outcome.usage.seconds,
                guardrail_provider=PROVIDER,
                event_type=event,
            )


def _digest(turns: Sequence[Turn]) -> str:
    """What stands for these turns, and for no others."""
    return digest([repr(turn) for turn in turns], MARK_LENGTH)


def _call_type(response: Any) -> CallTypes:
    if isinstance(response, ResponsesAPIResponse):
        return CallTypes.aresponses
    return CallTypes.acompletion if isinstance(response, ModelResponse) else CallTypes.anthropic_messages


def _conversation(data: dict[str, Any], call_type: Any) -> list[dict[str, Any]]:
    """What led to the answer, as OpenAI's chat messages, by LiteLLM's own reading of the route."""
    if data.get("prompt") is not None:
        prompt = data["prompt"]
        return [{"role": "user", "content": prompt if isinstance(prompt, str) else part_text(prompt)}]
    handler = load_guardrail_translation_mappings().get(call_type)
    messages = handler().get_structured_messages(data) if handler is not None else data.get("messages")
    return readable([message for message in messages or () if isinstance(message, Mapping)])


def _tell(response: Any, reviewed: Sequence[ReviewedTurn]) -> None:
    """Puts how the review ended into the body, where its form takes it."""
    reports = [report(turn.outcome) for turn in reviewed if turn.outcome is not None]
    worst = next((told for told in reports if not told["ok"]), reports[0] if reports else None)
    if worst is None:
        return
    if isinstance(response, dict):
        response["conscience"] = worst
    else:
        response.conscience = worst


def _unknown(what: str) -> NoReturn:
    raise HTTPException(501, {"error": f"conscience does not know how to review {what}, and kept it back"})


def _failed(error: ConscienceError) -> NoReturn:
    """A review that raised, as the program's policy says, as an answer of the proxy's."""
    if isinstance(error, InputError):
        raise HTTPException(400, {"error": str(error)}) from None
    if isinstance(error, BackendError | ReviewError | BudgetExceeded):
        raise HTTPException(503, {"error": f"the answer could not be reviewed: {error}"}) from None
    raise HTTPException(422 if error.exit_code == 1 else 500, {"error": str(error)}) from None
