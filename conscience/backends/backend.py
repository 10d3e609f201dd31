"""Backends: a model reached through LiteLLM, with fallbacks, retries, a response cache and exact accounting.

    Backend.of("openai/gpt-4o-mini")                     one model
    Backend.of(["openai/gpt-4o-mini", "local"])          fallbacks, in order
    Backend.of(dspy.LM(...))                             an LM of your own, called as it is
    Backend("openai/gpt-4o-mini", timeout=20, cache=False, api_base=…)      with options
    Roles.of({"generate": "openai/gpt-4o", "review": "local"})              a backend for each role

Credentials come from the environment or from arguments. They are in no repr, error, log, cache or file.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import tenacity

from conscience._base.flow import Flow, IOStep, run_async, run_sync
from conscience._base.redaction import redact
from conscience._dspy import BackendLM, BaseLM, LMError, current_context, lm_errors, retryable
from conscience.backends.cache import ResponseCache, shared_cache
from conscience.backends.embeddings import embedding, is_registered, pack, runs_in_process, unpack
from conscience.backends.inflight import InflightAnswer
from conscience.backends.journal import Journal
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.transports import LiteLLMTransport, LMTransport, LocalTransport, Transport, address, call_within
from conscience.errors import BackendError, BudgetExceeded, ConfigurationError, ContextTooLong
from conscience.messages.completion import Completion, Message, clean
from conscience.messages.requests import check_text
from conscience.usage import CallContext, CallUsage, Exchange, UsageTracker

LONGEST_WAIT = 60.0
"""Seconds; a server that asks for a longer pause than this is left for the next fallback."""


class Backend:
    """One model, or several as fallbacks in order.

    Args:
        model: a LiteLLM model string, ``"local"`` (the embedded model), ``"local:FILE.gguf"``, or a ``dspy.LM``.
        fallbacks: further models, or backends with options of their own, tried in order when this one fails.
        engine: ``"litellm"``, or ``"auto"`` to let DSPy choose its native engine where it has one.
        timeout: seconds for one attempt.
        retries: further attempts after a passing failure, with jitter and the server's retry-after.
        cache: keep answers on disk: True, False, or a folder. ``CONSCIENCE_CACHE=0`` turns it off everywhere.
        options: address and credentials (api_key, api_base, …) and default sampling parameters (temperature, …).

    Raises:
        ConfigurationError: an empty or malformed model name, or an unknown engine.
    """

    def __init__(
        self,
        model: str | BaseLM,
        *,
        fallbacks: Sequence[str | BaseLM | Backend] = (),
        engine: str = "litellm",
        timeout: float = 120.0,
        retries: int = 2,
        cache: bool | Path | str = True,
        **options: Any,
    ) -> None:
        if engine not in ("litellm", "auto"):
            raise ConfigurationError(f"engine={engine!r} is not litellm or auto")
        self.transports: list[Transport] = [_target(model, engine, options)]
        for other in fallbacks:
            self.transports.extend(Backend.of(other).transports)
        self.name = self.transports[0].name
        self.timeout = timeout
        self.retries = retries
        self._cache: ResponseCache | Journal | None = _cache(cache, model)
        self._pace: RateLimiter | None = None
        self._meter: UsageTracker | None = None
        self._lacking: set[str] = set()
        self.lm = BackendLM(self)

    @classmethod
    def of(cls, value: Any) -> Backend:
        """A backend from a model string, a ``dspy.LM``, a backend, or a list of these (fallbacks in order)."""
        if isinstance(value, Backend):
            return value
        if isinstance(value, BackendLM):
            return value.backend  # type: ignore[return-value]
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, BaseLM):
            with _wrapped_lock:
                if value not in _wrapped:
                    _wrapped[value] = cls(value)
                return _wrapped[value]
        if isinstance(value, list | tuple) and value:
            first, *rest = value
            if not rest:
                return cls.of(first)
            backends = [cls.of(v) for v in (first, *rest)]
            return _like(backends[0], [t for b in backends for t in b.transports])
        raise ConfigurationError(
            f"{type(value).__name__} is no model", hint="pass a LiteLLM model string, a dspy.LM, a Backend or a list of them"
        )

    def __repr__(self) -> str:
        return f"Backend({', '.join(repr(t.name) for t in self.transports)})"

    def __copy__(self) -> Backend:
        return self

    def __deepcopy__(self, memo: Any) -> Backend:
        return self  # configuration and open connections are shared by copies of a program

    def for_run(
        self, journal: Journal, rate_limiter: RateLimiter | None = None, meter: UsageTracker | None = None
    ) -> Backend:
        """The same models for one run: its journal is their cache, its pace theirs, and they spend from its ledger."""
        return _like(self, self.transports, _cache=journal, _pace=rate_limiter, _meter=meter)

    def supports(self, feature: str) -> bool:
        """Whether the first model takes "logprobs", "schema" or "tools", or is a "reasoning" model, as far as is known."""
        return feature not in self._lacking and self.transports[0].supports(feature)

    @property
    def sampling(self) -> Mapping[str, Any]:
        """What the first model's configuration says of every answer: max_tokens, temperature, stop, …"""
        return self.transports[0].sampling

    def lacks(self, feature: str) -> None:
        """Learns that a model does not do what its table promises; remembered as long as this backend lives."""
        self._lacking.add(feature)

    def complete(
        self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None, ctx: CallContext | None = None
    ) -> Completion:
        """Asks for one answer.

        Args:
            messages: chat messages.
            params: OpenAI chat parameters (max_tokens, logprobs, response_format, …).
            salt: tells apart answers that the cache must not share (DSPy's rollout id).
            ctx: the account to enter it under; by default that of the running program call.

        Raises:
            BackendError: every model failed after its retries; ContextTooLong where the request is too long for them.
            ConfigurationError: a key or an extra is missing.
            BudgetExceeded: the program call's budget is spent.
        """
        return run_sync(self._flow(messages, params, salt, ctx or current_context()))

    async def acomplete(
        self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None, ctx: CallContext | None = None
    ) -> Completion:
        """The async form of ``complete``."""
        return await run_async(self._flow(messages, params, salt, ctx or current_context()))

    def _flow(
        self, messages: Sequence[Message], params: Mapping[str, Any], salt: Any, ctx: CallContext | None
    ) -> Flow[Completion]:
        check_text(messages)
        failures: list[tuple[Transport, LMError]] = []
        for transport in self.transports:
            fallback = transport is not self.transports[0]
            key = self._key(transport, messages, params, salt)
            attempts = _Attempts(self, transport, messages, params, ctx)
            with InflightAnswer(self._cache, key) as asked:
                if (hit := (yield from asked.stored())) is not None:
                    self._enter_hit(ctx, key, hit["spend"])
                    return _exchange(
                        ctx, messages, params, Completion(hit["body"], transport.name, cached=True, fallback=fallback)
                    )
                if self._pace is not None:
                    yield self._pace.waiting()
                started = time.perf_counter()
                try:
                    body, dollars = yield attempts.step()
                except LMError as error:
                    failures.append((transport, error))
                    if ctx is not None and transport is not self.transports[-1]:
                        ctx.tracker.note(f"{ctx.role}: {transport.name} failed ({_kind(error)}), went on to the next model")
                    continue
                reply = Completion(clean(body), transport.name, dollars, fallback=fallback)
                spend = _spend(reply, time.perf_counter() - started)
                self._enter(ctx, spend)
                if self._pace is not None:
                    self._pace.spent(spend.tokens)
                if reply.finish_reason != "error":
                    yield asked.keeping({"body": reply.body, "spend": spend.to_dict()})
                return _exchange(ctx, messages, params, reply)
        failure = self._failure(failures, spent=attempts.spent)
        if isinstance(failure, BackendError) and failure.gone and (lost := _lost.get()) is not None:
            lost.append(failure)
        try:
            raise failure
        finally:
            failure.__context__ = None  # the errors behind it may repeat a key, and loggers print them

    def embedding(self, model: str, texts: Sequence[str], ctx: CallContext) -> Flow[list[list[float]]]:
        """One embedding for each text, by an embedding model beside this one; cached and entered like an answer.

        A registered callable is kept in a run's journal only: by the next run it may be another one.

        Raises:
            BackendError, ConfigurationError: see ``conscience.embedding``.
            BudgetExceeded: the program call's budget is spent.
        """
        served = not runs_in_process(model)
        cache = None if is_registered(model) and isinstance(self._cache, ResponseCache) else self._cache
        where = {"address": address(model)} if cache and served and model != "local" else {}
        key = ResponseCache.key({"v": 1, "embedding": model, "texts": list(texts), **where}) if cache else None
        with InflightAnswer(cache, key) as asked:
            if (hit := (yield from asked.stored())) is not None:
                self._enter_hit(ctx, key, hit["spend"])
                return [list(unpack(vector)) for vector in hit["vectors"]]
            left = self._left(ctx) if served else math.inf
            started = time.perf_counter()
            try:
                vectors: list[list[float]] = yield _cut_off(embedding(model, texts, min(self.timeout, left)), left)
            except (BackendError, TimeoutError):
                if time.perf_counter() - started >= left:
                    raise BudgetExceeded(f"the budget's seconds ended before {model} answered") from None
                raise
            spend = CallUsage(calls=int(served), seconds=time.perf_counter() - started)
            self._enter(ctx, spend)
            packed = [pack(vector) for vector in vectors]
            yield asked.keeping({"vectors": packed, "spend": spend.to_dict()})
            return [list(unpack(vector)) for vector in packed]  # the same numbers, whether fresh or from the cache

    def _left(self, ctx: CallContext | None) -> float:
        """Claims a call from the budgets over it; the seconds that they leave, without end where none limits them."""
        ledgers = [tracker for tracker in (self._meter, ctx.tracker if ctx is not None else None) if tracker is not None]
        return min([math.inf, *(left for tracker in ledgers if (left := tracker.begin()) is not None)])

    def _enter(self, ctx: CallContext | None, spend: CallUsage) -> None:
        if ctx is not None:
            ctx.tracker.enter(ctx.role, spend)
        if self._meter is not None:
            self._meter.enter(ctx.role if ctx is not None else "propose", spend)

    def _enter_hit(self, ctx: CallContext | None, key: str | None, spend: Mapping[str, Any]) -> None:
        """A cached answer was free; one from a run's journal was paid for by this run, once."""
        if isinstance(self._cache, ResponseCache):
            self._enter(ctx, CallUsage(cached=1))
            return
        if ctx is not None:
            ctx.tracker.enter(ctx.role, CallUsage(**spend), replayed=True)
        if self._meter is not None and self._cache is not None and key and self._cache.first(key):
            self._meter.enter(ctx.role if ctx is not None else "propose", CallUsage(**spend), replayed=True)

    def _key(self, transport: Transport, messages: Sequence[Message], params: Mapping[str, Any], salt: Any) -> str | None:
        if self._cache is None:
            return None
        parts = {"v": 1, "to": transport.identity(), "messages": list(messages), "params": dict(params), "salt": salt}
        return ResponseCache.key(parts)

    def _failure(self, failures: Sequence[tuple[Transport, LMError]], *, spent: bool) -> Exception:
        """The last model's failure decides the class of the error; the message names every model's."""
        secrets = [s for t in self.transports for s in t.secrets()]
        told = "; ".join(f"{t.name}: {_kind(e)}: {redact(_said(e), secrets)[:300]}" for t, e in failures)
        if spent:
            return BudgetExceeded(f"the budget's seconds left no time for an answer: {told}")
        last = failures[-1][1]
        if isinstance(last, lm_errors.ContextWindowExceededError) or _says_too_long(last):
            return ContextTooLong(told, hint="shorten the request, or use a model with a longer context")
        if isinstance(last, lm_errors.LMAuthError | lm_errors.LMConfigurationError):
            return BackendError(told, hint="check the key and what it may use", gone=True)
        if isinstance(last, lm_errors.LMUnsupportedModelError):
            return BackendError(told, hint="check the model's name", gone=True)
        unreachable = isinstance(last, lm_errors.LMTransportError) or "connection error" in last.message.lower()
        hint = "is the server up? check the address and the network" if unreachable else ""
        return BackendError(told, hint=hint, retryable=retryable(last))


class _Attempts:
    """One target's attempts: the retry policy, in its sync and its async form. None begins or waits past the budget."""

    def __init__(
        self,
        backend: Backend,
        transport: Transport,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        ctx: CallContext | None,
    ) -> None:
        self._target, self._messages, self._params = transport, messages, params
        self._left, self._timeout = partial(backend._left, ctx), backend.timeout
        self._tries = 1 if transport.retries_itself else backend.retries + 1
        self._end = math.inf
        self._gave_up = False
        self._policy: dict[str, Any] = {
            "retry": tenacity.retry_if_exception(_passing),
            "stop": self._enough,
            "wait": _pause,
            "reraise": True,
        }

    @property
    def spent(self) -> bool:
        """Whether attempts that failed did so because the budget's seconds ended."""
        return self._gave_up or time.perf_counter() >= self._end

    def _seconds(self) -> float:
        """Claims an attempt; the seconds that it may take."""
        left = self._left()
        self._end = time.perf_counter() + left
        return min(self._timeout, left)

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        if state.attempt_number >= self._tries or state.upcoming_sleep > LONGEST_WAIT:
            return True
        self._gave_up = time.perf_counter() + state.upcoming_sleep >= self._end
        return self._gave_up

    def step(self) -> IOStep:
        return IOStep(self._run, self._arun)

    def _run(self) -> Any:
        try:
            return self._target.call(self._messages, self._params, self._seconds())
        except LMError as error:
            if not _passing(error):
                raise
            first = error
        return tenacity.Retrying(**self._policy)(self._again(first))

    async def _arun(self) -> Any:
        try:
            return await self._target.acall(self._messages, self._params, self._seconds())
        except LMError as error:
            if not _passing(error):
                raise
            first = error
        return await tenacity.AsyncRetrying(**self._policy)(self._aagain(first))

    # The first attempt is made outside of tenacity, which costs more than the rest of this file; its failure is
    # replayed as the first of the policy's attempts.
    def _again(self, first: LMError) -> Any:
        failures = [first]

        def attempt() -> Any:
            if failures:
                raise failures.pop()
            return self._target.call(self._messages, self._params, self._seconds())

        return attempt

    def _aagain(self, first: LMError) -> Any:
        failures = [first]

        async def attempt() -> Any:
            if failures:
                raise failures.pop()
            return await self._target.acall(self._messages, self._params, self._seconds())

        return attempt


def _passing(error: BaseException) -> bool:
    return isinstance(error, LMError) and retryable(error)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    return float(asked) if asked is not None else _jitter(state)


_jitter = tenacity.wait_random_exponential(multiplier=0.5, max=20)


def _target(model: Any, engine: str, options: Mapping[str, Any]) -> Transport:
    if isinstance(model, BaseLM):
        if options:
            raise ConfigurationError(f"options {sorted(options)} do not go with a dspy.LM", hint="set them on the LM")
        return LMTransport(model)
    if not isinstance(model, str) or not model.strip() or any(c.isspace() or not c.isprintable() for c in model):
        raise ConfigurationError(f"{model!r} is no model name", hint="write provider/model, such as openai/gpt-4o-mini")
    if model == "local" or model.startswith("local:"):
        return LocalTransport(model[6:] or None, options)
    if model.endswith("/"):
        raise ConfigurationError(f"{model!r} names a provider but no model", hint="write provider/model")
    if engine == "auto":
        import dspy

        return LMTransport(dspy.LM(model, cache=False, **options))
    return LiteLLMTransport(model, options)


def _like(first: Backend, transports: Sequence[Transport], **changes: Any) -> Backend:
    """A backend with the first one's options for these targets."""
    other = object.__new__(Backend)
    other.__dict__.update(first.__dict__)
    other.__dict__.update(changes)
    other.transports = list(transports)
    other._lacking = set()
    other.lm = BackendLM(other)
    return other


_lost: ContextVar[list[BackendError] | None] = ContextVar("conscience_lost", default=None)


@contextmanager
def losses() -> Iterator[list[BackendError]]:
    """The failures, in what runs inside, of backends that were gone: the program called may have gone on without them."""
    found: list[BackendError] = []
    token = _lost.set(found)
    try:
        yield found
    finally:
        _lost.reset(token)


_wrapped: weakref.WeakKeyDictionary[Any, Backend] = weakref.WeakKeyDictionary()
_wrapped_lock = threading.Lock()


def _cache(cache: bool | Path | str, model: Any) -> ResponseCache | None:
    if os.environ.get("CONSCIENCE_CACHE") == "0" or cache is False or getattr(model, "cache", True) is False:
        return None
    return shared_cache() if cache is True else shared_cache(Path(cache).expanduser())


def _cut_off(step: IOStep, seconds: float) -> IOStep:
    """The same work, which ends in a TimeoutError when the time is up: SDKs retry embeddings on their own."""

    async def arun() -> Any:
        async with asyncio.timeout(seconds):
            return await step.arun()

    return IOStep(partial(call_within, seconds, step.run), arun)


def _exchange(
    ctx: CallContext | None, messages: Sequence[Message], params: Mapping[str, Any], reply: Completion
) -> Completion:
    if ctx is not None:
        ctx.exchanges.append(Exchange(tuple(messages), reply, dict(params)))
    return reply


def _spend(reply: Completion, seconds: float) -> CallUsage:
    tokens_in, tokens_out, reused = reply.tokens()
    unpriced = int(reply.dollars is None)
    return CallUsage(1, 0, tokens_in, tokens_out, reused, seconds, reply.dollars or 0.0, unpriced)


def _kind(error: LMError) -> str:
    name = type(error).__name__.removeprefix("LM").removesuffix("Error")
    return f"{name} {error.status}" if error.status else name


def _said(error: LMError) -> str:
    """The provider's words, without the class names that LiteLLM stacks before them."""
    told = " ".join(clean(error.message).split())
    text = re.sub(r"^((litellm\.)?\w+(Error|Exception|Timeout)( -|:)\s*)+", "", told)
    return re.sub(r"\s*(To fix:|Learn more:|Received Model Group).*$", "", text)


def _says_too_long(error: LMError) -> bool:
    """llama.cpp, vLLM and others say so in words only."""
    return bool(re.search(r"context (size|length|window)|exceed_context|too many tokens", error.message, re.IGNORECASE))
