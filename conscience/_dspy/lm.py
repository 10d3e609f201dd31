"""Models on either side of DSPy (checked against 3.4.1).

Three things cross here: a backend shows itself to DSPy as an LM (``BackendLM``), a ``dspy.LM`` of the user's is called as
a backend (``call_lm``), and a predictor asks a plain chat turn without field markers (``ChatPredict``).
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import dspy
from dspy.clients._litellm import get_litellm
from dspy.clients.base_lm import BaseLM
from dspy.clients.engines.litellm_errors import to_lm15_error
from dspy.clients.errors import wrap_error
from dspy.clients.lm15_boundary import request_kwargs
from dspy.dsp.utils.settings import settings
from dspy.lm15 import LM15Error, Request, Response, request_from_openai_chat, response_from_openai_chat
from dspy.utils import exceptions as lm_errors
from dspy.utils.exceptions import AdapterParseError, LMError, is_retryable_lm_error

from conscience._base.forks import ForkLock
from conscience._dspy.forked import remember
from conscience._dspy.streams import SILENT, ChunkStream
from conscience._dspy.visible import unseen, unseen_acall, unseen_call, visible_again
from conscience._redaction import credentials_in, raise_alone, redact
from conscience.errors import BackendError, ConscienceError
from conscience.messages.chunks import STREAMING, Chunks
from conscience.messages.completion import Body, Completion, Message
from conscience.messages.echoes import without_echo
from conscience.usage import CallContext, paused_clock

__all__ = [
    "SAMPLING", "AdapterParseError", "BackendLM", "BaseLM", "ChatPredict", "LMError",
    "acall_lm", "call_lm", "current_context", "dspy_keeps_on_disk", "field_messages", "module_context", "module_errors",
    "litellm", "litellm_errors", "lm_errors", "retryable", "settings",
]  # fmt: skip


@lru_cache(maxsize=1)
def litellm() -> Any:
    """LiteLLM, imported on first use, without its start-up fetch of a price list and without its chatter."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with paused_clock(), _import_lock:  # DSPy's lazy module must not be met half loaded
        return get_litellm(feature="conscience")


_import_lock = ForkLock()


def dspy_keeps_on_disk() -> bool:
    """Whether DSPy may keep answers on disk; ``dspy.configure_cache`` says so. Asking builds no cache."""
    cache = vars(dspy).get("cache")
    return cache is None or bool(cache.enable_disk_cache)


# Call state ------------------------------------------------------------------------------------------------------------


def current_context() -> CallContext | None:
    """The context of the running program call; None outside of one. It travels as DSPy's own settings do."""
    ctx: CallContext | None = settings.get("conscience_context")
    return ctx


@contextmanager
def module_context(lm: BaseLM | None, ctx: CallContext) -> Iterator[None]:
    """Runs DSPy modules under this LM (None keeps DSPy's own) and this context, which keeps the steps of their predictors;
    whoever traces outside sees them as always."""
    steps: list[Any] = []
    outer, limit = settings.trace, settings.max_trace_size
    overrides: dict[str, Any] = {"conscience_context": ctx, "trace": steps, "max_trace_size": max(limit, 1000), **SILENT}
    if lm is not None:
        overrides["lm"] = lm
    try:
        with settings.context(**overrides):
            yield
    finally:
        ctx.steps.extend(steps)
        if outer is not None and limit > 0:
            outer.extend(steps)
            del outer[: max(0, len(outer) - limit)]


@contextmanager
def module_errors(ctx: CallContext, inputs: Mapping[str, Any]) -> Iterator[None]:
    """Errors of DSPy's as ours: DSPy wraps what an LM raises, and an answer that it cannot read is the backend's failure.

    Args:
        ctx: what was asked and answered under it does not come back in an error, nor do these inputs.

    Raises:
        ConscienceError: a backend's failure, as the backend raised it; BackendError for an answer without its fields.
    """
    try:
        yield
    except (LMError, AdapterParseError) as error:
        failure = _unwrapped(error, [*map(str, inputs.values()), *_texts(ctx)])
    else:
        return
    raise_alone(failure)


def _texts(ctx: CallContext) -> Iterator[str]:
    """What was said under a context so far."""
    for exchange in ctx.exchanges:
        yield from (str(message.get("content")) for message in exchange.messages)
        yield exchange.completion.text
    for _, inputs, prediction in ctx.steps:
        yield from map(str, (*inputs.values(), *prediction.values()))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those behind it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _credentials_behind(error: BaseException) -> list[str]:
    """The credentials of LMs that are no backend's: those whose calls stand in the traceback."""
    found: list[str] = []
    for cause in _chain(error):
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            if isinstance(lm := frame.f_locals.get("self"), BaseLM):
                found += credentials_in(lm.kwargs)
    return found


def _unwrapped(error: Exception, texts: Sequence[str]) -> ConscienceError:
    for cause in _chain(error):
        if isinstance(cause, ConscienceError):
            return cause
    if isinstance(error, AdapterParseError):
        fields = ", ".join(error.signature.output_fields)
        return BackendError(f"the answer does not hold the fields {fields}", hint="ask again, or choose another model")
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BackendError(redact(without_echo(said, texts), _credentials_behind(error)))


def field_messages(
    signature: type[dspy.Signature], demos: Sequence[Any], inputs: Mapping[str, Any]
) -> tuple[list[Message], Any]:
    """The messages that a ``dspy.Predict`` would send, and the adapter that wrote them. No model is asked."""
    adapter = settings.adapter or dspy.ChatAdapter()
    request = request_from_openai_chat({"model": "none", "messages": adapter.format(signature, list(demos), dict(inputs))})
    return request_kwargs(request, "chat")["messages"], adapter


# A backend as an LM for DSPy -----------------------------------------------------------------------------------------


class Completer(Protocol):
    """What this file needs of a backend."""

    name: str

    def complete(self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None) -> Completion: ...
    async def acomplete(self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None) -> Completion: ...
    def supports(self, feature: str) -> bool: ...


class _Engine:
    """DSPy's engine contract over a backend; retries, fallbacks, caching and accounting are the backend's."""

    def __init__(self, backend: Completer) -> None:
        self.backend = backend

    def __deepcopy__(self, memo: Any) -> _Engine:
        return self

    @property
    def supports_response_schema(self) -> bool:
        return self.backend.supports("schema")

    @property
    def supports_function_calling(self) -> bool:
        return self.backend.supports("tools")

    @property
    def supports_reasoning(self) -> bool:
        return self.backend.supports("reasoning")

    @property
    def supported_params(self) -> tuple[str, ...]:
        """What DSPy's adapters ask about: without it they would send neither a JSON schema nor tools."""
        schema = ("response_format",) if self.backend.supports("schema") else ()
        return schema + (("tools", "tool_choice", "parallel_tool_calls") if self.backend.supports("tools") else ())

    def complete(self, request: Request) -> Response:
        params = request_kwargs(request, "chat")
        with visible_again():
            completion = self.backend.complete(params.pop("messages"), params, salt=settings.get("conscience_rollout"))
        return response_from_openai_chat(completion.body, model=request.model)


class _AsyncEngine(_Engine):
    async def complete(self, request: Request) -> Response:
        params = request_kwargs(request, "chat")
        with visible_again():
            completion = await self.backend.acomplete(
                params.pop("messages"), params, salt=settings.get("conscience_rollout")
            )
        return response_from_openai_chat(completion.body, model=request.model)


class BackendLM(dspy.LM):  # type: ignore[misc]
    """A ``dspy.LM`` whose calls go through a backend: usable by any DSPy module, adapter or optimizer."""

    def __init__(self, backend: Completer) -> None:
        super().__init__(
            backend.name, engine=_Engine(backend), async_engine=_AsyncEngine(backend), cache=False, num_retries=0
        )
        self.backend = backend

    # DSPy keeps the rollout id away from engines; the backend's cache must see it, or two rollouts would be one.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with unseen(conscience_rollout=self._rollout(kwargs), **SILENT):
            return unseen_call(self, *args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        with unseen(conscience_rollout=self._rollout(kwargs), **SILENT):
            return await unseen_acall(self, *args, **kwargs)

    def _rollout(self, kwargs: Mapping[str, Any]) -> Any:
        return kwargs.get("rollout_id", self.kwargs.get("rollout_id"))

    def dump_state(self) -> dict[str, Any]:
        """Only the name is saved: addresses and keys stay with the process."""
        return {"model": self.model}

    def __deepcopy__(self, memo: Any) -> BackendLM:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.backend, "lm")


# A user's LM as a backend --------------------------------------------------------------------------------------------


def call_lm(lm: BaseLM, messages: Sequence[Message], params: Mapping[str, Any]) -> Body:
    """Calls an LM of the user's choice past DSPy's own cache; the answer as an OpenAI chat body.

    Raises:
        LMError: DSPy's own error tree.
    """
    remember(lm)
    request = _request(lm, messages, params)
    with settings.context(**SILENT), _readable(lm):
        return _body(lm(request, cache=False))


async def acall_lm(lm: BaseLM, messages: Sequence[Message], params: Mapping[str, Any], chunks: Chunks | None = None) -> Body:
    """The async form of ``call_lm``; with ``chunks``, the answer is fed to them as it comes, where the LM can stream."""
    remember(lm)
    request = _request(lm, messages, params)
    stream = {} if chunks is None or not _streams(lm) else {"send_stream": ChunkStream(chunks)}
    with settings.context(**{**SILENT, **stream}), _readable(lm):
        body = _body(await lm.acall(request, cache=False))
    if chunks is not None and (text := chunks.text()):
        body["choices"][0]["message"]["content"] = text  # DSPy leaves the halves of a surrogate pair apart
    return body


def _streams(lm: BaseLM) -> bool:
    """Whether its engine can stream; one of DSPy's own can."""
    engine = getattr(lm, "_async_engine_spec", None) or getattr(lm, "engine", None)
    return isinstance(engine, str) or hasattr(engine, "stream")


@contextmanager
def _readable(lm: BaseLM) -> Iterator[None]:
    """DSPy's own engines trip over answers of odd shapes; those of a user's may fail as they like.

    Raises:
        LMError: the answer cannot be read; the message of any is a text.
    """
    try:
        yield
    except LMError as error:
        error.message = str(error.message)
        raise
    except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RecursionError) as error:
        if not isinstance(getattr(lm, "engine", None), str):
            raise
        raise lm_errors.LMServerError(f"the answer cannot be read: {error}", model=lm.model) from error


SAMPLING = frozenset({"temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "stop", "seed",
                      "reasoning_effort", "frequency_penalty", "presence_penalty"})  # fmt: skip
"""What of a user's LM's own arguments goes with every request."""


_SYSTEM = frozenset({"system", "developer"})


def _request(lm: BaseLM, messages: Sequence[Message], params: Mapping[str, Any]) -> Request:
    skip = {"rollout_id", "n", "cache", "api_key", "api_base", "base_url", "timeout", *STREAMING}
    kept = {name: value for name, value in params.items() if name not in skip and value is not None}
    if "max_completion_tokens" in kept:
        kept.pop("max_tokens", None)
    said = [message for message in messages if message.get("content") != "" or message.get("role") not in _SYSTEM]
    try:
        return request_from_openai_chat({"model": lm.model, "messages": said, **kept})
    except (ValueError, TypeError, LookupError, LM15Error) as error:  # what DSPy's own form of a request has no place for
        raise lm_errors.LMInvalidRequestError(f"the request cannot be sent: {error}", model=lm.model) from error


def _body(response: Response) -> Body:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    texts, thoughts, calls, refusals = [], [], [], []
    for part in response.message.parts:
        if part.type == "text":
            texts.append(part.text)
        elif part.type == "data":
            texts.append(json.dumps(part.value, ensure_ascii=False))
        elif part.type == "thinking":
            thoughts.append(part.text)
        elif part.type == "refusal":
            refusals.append(part.text)
        elif part.type == "tool_call":
            function = {"name": part.name, "arguments": json.dumps(part.input, ensure_ascii=False)}
            calls.append({"id": part.id, "type": "function", "function": function})
    message["content"] = "".join(texts) if texts else None
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    if refusals:
        message["refusal"] = "".join(refusals)
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": response.finish_reason}
    if response.logprobs:
        choice["logprobs"] = {
            "content": [
                {
                    "token": t.token,
                    "logprob": t.logprob,
                    "top_logprobs": [{"token": c.token, "logprob": c.logprob} for c in t.top],
                }
                for t in response.logprobs
            ]
        }
    usage = response.usage
    return {
        "id": response.id or "",
        "object": "chat.completion",
        "model": response.model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": usage.input_tokens or 0,
            "completion_tokens": usage.output_tokens or 0,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens or 0},
        },
    }


@contextmanager
def litellm_errors(model: str) -> Iterator[None]:
    """Errors of LiteLLM and of the SDKs under it, which share no base, as DSPy's tree; what is no backend's failure passes.

    Raises:
        LMError: the model failed.
    """
    try:
        yield
    except Exception as error:
        provider = model.split("/", 1)[0]
        mapped = wrap_error(to_lm15_error(error, model=model, provider=provider), model=model, provider=provider)
        if not isinstance(mapped, LMError) or (mapped.code == "unexpected" and not _from_a_client(error)):
            raise
        raise mapped from error


def _from_a_client(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in {"litellm", "openai", "httpx", "httpcore", "anthropic", "aiohttp"}


def retryable(error: LMError) -> bool:
    """Whether the same call may succeed a little later."""
    return bool(is_retryable_lm_error(error))


# A plain chat turn -----------------------------------------------------------------------------------------------------

Render = Callable[[type[dspy.Signature], Sequence[Mapping[str, Any]], Mapping[str, Any]], list[dict[str, Any]]]


class ChatPredict(dspy.Predict):  # type: ignore[misc]
    """A predictor that asks a plain chat turn: the whole answer is the one output field, without markers.

    It keeps what makes a ``dspy.Predict``: instructions, demos, trace, ``config`` and ``lm``. Where the model calls tools
    that came in ``config``, the prediction has ``tool_calls`` beside the text, as OpenAI's chat message has them.

    Args:
        signature: one text output field.
        render: (signature, demos, inputs) → chat messages.
        backend_of: gives the backend behind an LM.
        plainly: whether these inputs can be asked as a plain turn; where not, ``dspy.Predict`` asks as it always does.
    """

    def __init__(
        self,
        signature: Any,
        render: Render,
        backend_of: Callable[[Any], Completer],
        plainly: Callable[[type[dspy.Signature], Mapping[str, Any]], bool] | None = None,
    ) -> None:
        super().__init__(signature)
        self._render = render
        self._backend_of = backend_of
        self._plainly = plainly

    def _as_fields(self, kwargs: Mapping[str, Any]) -> bool:
        return self._plainly is not None and not self._plainly(kwargs.get("signature", self.signature), kwargs)

    def forward(self, **kwargs: Any) -> dspy.Prediction:
        if self._as_fields(kwargs):
            return super().forward(**kwargs)
        backend, messages, params, signature, inputs = self._prepare(kwargs)
        rollout = params.pop("rollout_id", None)
        return self._finish(backend.complete(messages, params, salt=rollout), signature, inputs)

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        if self._as_fields(kwargs):
            return await super().aforward(**kwargs)
        backend, messages, params, signature, inputs = self._prepare(kwargs)
        rollout = params.pop("rollout_id", None)
        return self._finish(await backend.acomplete(messages, params, salt=rollout), signature, inputs)

    def _prepare(self, kwargs: dict[str, Any]) -> tuple[Completer, list[dict[str, Any]], dict[str, Any], Any, Any]:
        lm, config, signature, demos, inputs = self._forward_preprocess(**kwargs)
        own = {k: v for k, v in lm.kwargs.items() if v is not None} if isinstance(lm, BackendLM) else {}
        return self._backend_of(lm), self._render(signature, demos, inputs), {**own, **config}, signature, inputs

    def _finish(self, completion: Completion, signature: Any, inputs: Any) -> dspy.Prediction:
        (name,) = signature.output_fields
        calls = completion.message.get("tool_calls")
        fields = {name: completion.text, **({"tool_calls": calls} if calls else {})}
        return self._forward_postprocess([fields], signature, **inputs)
