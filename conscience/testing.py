"""A scripted LM: an application's own tests run its program without a model, faults included.

    from conscience import Conscience
    from conscience.testing import ScriptedLM

    lm = ScriptedLM({"Yes or No": 0.1, "capital of France": "Paris."})
    assert Conscience("question -> answer", lm=lm)(question="What is the capital of France?").status == "clean"

An answer is a text, of which a single letter comes with its log-probability; a number from 0 to 1 (the probability of Yes,
for one-token questions); a mapping of tokens to their log-probabilities (all candidates for such an answer's first token);
a ``Fault``; or an lm15 ``Response``. A script is a list (one answer a call, in order), a mapping from a regular expression
over the whole prompt to an answer (first match), or a function ``(messages, params) -> answer``. ``by_stage`` makes one
that gives each stage of a program its answer. ``is_gate``, ``is_written_score``, ``is_critique``, ``is_choice`` and
``is_revision`` tell a program's prompts apart, so that no test needs to know how they are worded.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import dspy
from dspy import lm15

from conscience._base.forks import ForkLock
from conscience.backends.models.prices import TokenPrices
from conscience.gate.choosing import BY_LETTER
from conscience.gate.questions import WRITTEN_SCORE, YES_OR_NO
from conscience.messages.rendering import content_text
from conscience.messages.wordings import ALTERNATIVE, GO_ON, ONE_LINE, WORDINGS
from conscience.modules.critique import SHAPE

FaultKind = Literal["rate_limit", "server", "timeout", "connection", "auth", "context", "unsupported"]

_FAULTS: Mapping[str, tuple[type[Exception], int | None]] = {
    "rate_limit": (lm15.RateLimitError, 429),
    "server": (lm15.ServerError, 500),
    "timeout": (lm15.TimeoutError, None),
    "connection": (lm15.TransportError, None),
    "auth": (lm15.AuthError, 401),
    "context": (lm15.ContextLengthError, 400),
    "unsupported": (lm15.UnsupportedFeatureError, None),
}


@dataclass(frozen=True)
class Fault:
    """A failing call.

    Attributes:
        kind: what goes wrong.
        message: what the server says.
        retry_after: seconds that the server asks to wait (rate_limit, server).
        after: what a stream brings before it breaks; an answer that is not streamed fails at once.
    """

    kind: FaultKind
    message: str = "scripted fault"
    retry_after: float | None = None
    after: str = ""

    def error(self) -> Exception:
        cls, status = _FAULTS[self.kind]
        if self.kind in ("timeout", "connection", "unsupported"):
            return cls(self.message)
        return cls(self.message, status=status, retry_after=self.retry_after)  # type: ignore[call-arg]


Answer: TypeAlias = str | float | Mapping[str, float] | Fault | Any
"""Any stands for lm15.Response, which carries no types."""

Chunking: TypeAlias = int | Callable[[str], Iterable[str]]
"""How a streamed answer is cut: into so many characters each, or as a function of the text says."""

Script: TypeAlias = Sequence[Answer] | Mapping[str, Answer] | Callable[[list[dict[str, Any]], dict[str, Any]], Answer]


Prompt: TypeAlias = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Chat messages, or the body of a request that holds them as ``messages``."""


def is_gate(prompt: Prompt) -> bool:
    """Whether this is a question of the gate, to be answered by one token."""
    return _texts(prompt)[-1].endswith(YES_OR_NO)


def is_written_score(prompt: Prompt) -> bool:
    """Whether this is a question of the gate to a model without log-probabilities, to be answered by a written score."""
    return _texts(prompt)[-1].endswith(WRITTEN_SCORE)


def is_critique(prompt: Prompt) -> bool:
    """Whether this asks for a critique."""
    return _texts(prompt)[-1].endswith(SHAPE)


def is_revision(prompt: Prompt) -> bool:
    """Whether this asks for a revision, or an alternative to train on, by the wordings that conscience comes with: an
    optimizer may have others."""
    return any(wording in text for text in _texts(prompt) for wording in (*WORDINGS.values(), GO_ON, ONE_LINE, ALTERNATIVE))


def is_choice(prompt: Prompt) -> bool:
    """Whether this asks which principle a flagged draft breaks, to be answered by its letter."""
    return _texts(prompt)[-1].endswith(BY_LETTER)


def _texts(prompt: Prompt) -> list[str]:
    messages = prompt["messages"] if isinstance(prompt, Mapping) else prompt
    return [content_text(message.get("content")) for message in messages]


def by_stage(
    generate: Answer = "An answer.",
    *,
    gate: Answer = 0.1,
    critique: Answer = '{"findings": []}',
    choice: Answer = "A",
    revise: Answer = "A revised answer.",
) -> Callable[[list[dict[str, Any]], dict[str, Any]], Answer]:
    """A script that answers by the stage of the program that asks.

    Each argument is what its stage is answered, or a function ``(messages, params) -> answer``.

    Args:
        generate: the draft.
        gate: the gate's question; a number is the probability of Yes.
        critique: what is wrong with a flagged draft, as JSON.
        choice: the letter of the principle that it breaks.
        revise: the revision.
    """

    return _ByStage(generate, gate, critique, choice, revise)


@dataclass(frozen=True)
class _ByStage:
    """A class rather than a function inside of one, so that a pickle can hold it."""

    generate: Answer
    gate: Answer
    critique: Answer
    choice: Answer
    revise: Answer

    def __call__(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> Answer:
        stages = (
            (is_gate, self.gate),
            (is_written_score, self.gate),
            (is_critique, self.critique),
            (is_choice, self.choice),
            (is_revision, self.revise),
        )
        answer = next((answer for is_stage, answer in stages if is_stage(messages)), self.generate)
        return answer(messages, params) if callable(answer) else answer


class ScriptedLM(dspy.LM):  # type: ignore[misc]
    """A ``dspy.LM`` that answers by script; safe under threads and asyncio.

    Args:
        script: see the module's text.
        name: the model's name.
        logprobs: whether it shows log-probabilities when asked.
        schema: whether it claims to take a JSON schema.
        seconds: how long each answer takes; a streamed one takes so long until its end.
        chunks: how an answer is cut where it is streamed.
        retries: how often DSPy repeats a failing call (0: a fault is seen at once).

    Attributes:
        calls: (messages, params) of every call so far, in order of arrival.
    """

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted/lm",
        logprobs: bool = True,
        schema: bool = False,
        seconds: float = 0.0,
        chunks: Chunking = 4,
        retries: int = 0,
    ) -> None:
        self._played = _Played(script, name, logprobs, schema, seconds, chunks)
        self.prices = TokenPrices(0.0, 0.0)
        super().__init__(
            name, engine=_Engine(self._played), async_engine=_AsyncEngine(self._played), cache=False, num_retries=retries
        )

    @property
    def calls(self) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
        return self._played.calls

    def __deepcopy__(self, memo: Any) -> ScriptedLM:
        return self


class _Played:
    def __init__(self, script: Script, name: str, logprobs: bool, schema: bool, seconds: float, chunks: Chunking) -> None:
        self.script, self.name, self.logprobs, self.schema, self.seconds = script, name, logprobs, schema, seconds
        self.chunks = chunks
        self.calls: list[tuple[list[dict[str, Any]], dict[str, Any]]] = []
        self._lock = ForkLock()

    def streamed(self, request: lm15.Request) -> tuple[list[str], lm15.Response | Exception]:
        """The chunks of an answer's text, and what ends it."""
        answer = self._answer(request)
        if isinstance(answer, Fault):
            return self._cut(answer.after), answer.error()
        return self._cut(answer.message.text or ""), answer

    def _cut(self, text: str) -> list[str]:
        if not isinstance(self.chunks, int):
            return list(self.chunks(text))
        return [text[place : place + self.chunks] for place in range(0, len(text), self.chunks)]

    def answer(self, request: lm15.Request) -> lm15.Response:
        answer = self._answer(request)
        if isinstance(answer, Fault):
            raise answer.error()
        return answer

    def _answer(self, request: lm15.Request) -> lm15.Response | Fault:
        messages, params = _plain(request)
        with self._lock:
            position = len(self.calls)
            self.calls.append((messages, params))
        answer = self._pick(position, messages, params)
        if isinstance(answer, Fault | lm15.Response):
            return answer
        words = sum(len(content_text(m.get("content")).split()) for m in messages)
        first = _first_token(answer)
        text = str(answer) if first is None else str(first.token)
        tokens = (first,) if first is not None and self.logprobs and params.get("logprobs") else None
        return lm15.Response(
            id="scripted",
            model=self.name,
            message=lm15.Message.assistant(text) if text else lm15.Message.assistant(lm15.TextPart("")),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=words, output_tokens=len(text.split())),
            logprobs=tokens,
        )

    def _pick(self, position: int, messages: list[dict[str, Any]], params: dict[str, Any]) -> Answer:
        if callable(self.script):
            return self.script(messages, params)
        prompt = "\n".join(content_text(m.get("content")) for m in messages)
        if isinstance(self.script, Mapping):
            for pattern, answer in self.script.items():
                if re.search(pattern, prompt):
                    return answer
        elif position < len(self.script):
            return self.script[position]
        raise AssertionError(f"the script has no answer for call {position + 1}: …{prompt[-200:]}")


class _Engine:
    def __init__(self, played: _Played) -> None:
        self.played = played

    @property
    def supported_params(self) -> tuple[str, ...]:
        return ("logprobs", "top_logprobs") if self.played.logprobs else ()

    @property
    def supports_response_schema(self) -> bool:
        return self.played.schema

    def complete(self, request: lm15.Request) -> lm15.Response:
        if self.played.seconds:
            time.sleep(self.played.seconds)
        return self.played.answer(request)


class _AsyncEngine(_Engine):
    async def complete(self, request: lm15.Request) -> lm15.Response:
        import asyncio

        if self.played.seconds:
            await asyncio.sleep(self.played.seconds)
        return self.played.answer(request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        import asyncio

        chunks, end = self.played.streamed(request)
        yield lm15.StreamStartEvent(id="scripted", model=self.played.name)
        for chunk in chunks:
            await asyncio.sleep(self.played.seconds / len(chunks))
            yield lm15.StreamDeltaEvent(lm15.TextDelta(text=chunk, part_index=0))
        if isinstance(end, Exception):
            raise end
        for number, part in enumerate(end.message.parts, start=1):
            if part.type == "tool_call":
                call = lm15.ToolCallDelta(json.dumps(part.input), part_index=number, id=part.id, name=part.name)
                yield lm15.StreamDeltaEvent(call)
        yield lm15.StreamEndEvent(finish_reason=end.finish_reason, usage=end.usage)


def _plain(request: lm15.Request) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if request.system is not None:
        messages.append(
            {"role": "system", "content": request.system if isinstance(request.system, str) else str(request.system)}
        )
    for message in request.messages:
        messages.append({"role": message.role, "content": _content(message)})
    config = request.config
    names = ("max_tokens", "temperature", "logprobs", "response_format", "seed", "top_p")
    return messages, {n: getattr(config, n) for n in names if getattr(config, n) is not None}


def _content(message: Any) -> str | list[dict[str, Any]]:
    """A text, or parts as they go over the wire: media by address or data, others by their fields."""
    if message.text is not None:
        return str(message.text)
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if part.type == "text":
            parts.append({"type": "text", "text": part.text})
        elif part.type == "image":
            url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            parts.append({"type": part.type, part.type: str(part)})
    return parts


def _first_token(answer: str | float | Mapping[str, float]) -> lm15.TokenLogprob | None:
    """An answer's first token; None of a text of more than a letter."""
    if isinstance(answer, str):
        if len(answer) != 1:
            return None
        answer = {answer: 0.0}
    if not isinstance(answer, Mapping):
        probability = min(1 - 1e-6, max(1e-6, float(answer)))
        answer = {"Yes": math.log(probability), "No": math.log(1 - probability)}
    ranked = sorted(answer.items(), key=lambda item: -item[1])
    top = tuple(lm15.TopLogprob(token, logprob) for token, logprob in ranked)
    return lm15.TokenLogprob(top[0].token, top[0].logprob, top=top)
