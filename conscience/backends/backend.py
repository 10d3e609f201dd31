"""Backends: a model reached through LiteLLM, with fallbacks, retries, a response cache and exact accounting.

    Backend.of("openai/gpt-4o-mini")                     one model
    Backend.of(["openai/gpt-4o-mini", "local"])          fallbacks, in order
    Backend.of(dspy.LM(...))                             an LM of your own, called as it is
    Backend("openai/gpt-4o-mini", timeout=20, cache=False, api_base=…)      with options
    Roles.of({"generate": "openai/gpt-4o", "review": "local"})              a backend for each role

Credentials come from the environment or from arguments. They are in no repr, error, log, cache, file or pickle: a process
that is handed a pickled backend takes them from its own environment.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from conscience._base.flow import Flow, IOStep, run_async, run_sync
from conscience._base.forks import ForkLock
from conscience._base.iterating import iterated
from conscience._dspy.lm import BackendLM, BaseLM, LMError, current_context, dspy_keeps_on_disk
from conscience._dspy.visible import aseen, seen, seen_again
from conscience._redaction import raise_alone
from conscience.backends.answers import EmptyAnswerError, answered
from conscience.backends.batches.posting import asks_live, begin_attempt
from conscience.backends.decisions.naming import only_decides
from conscience.backends.embedded.catalogue import is_local
from conscience.backends.embedded.weights import local_name
from conscience.backends.embeddings import embedding, is_registered, pack, preparing, runs_in_process, unpack
from conscience.backends.failures import backend_failure, failure_kind
from conscience.backends.habits.mending import mending
from conscience.backends.limits.payers import Payers
from conscience.backends.lm_transport import LMTransport
from conscience.backends.lost import record_lost
from conscience.backends.models.credentials import credentials
from conscience.backends.models.prices import no_price
from conscience.backends.providers import address, provider_name
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.retry import Deadline, retry_policy, retrying
from conscience.backends.routing import check_alike, transport_for
from conscience.backends.storage.cache import ResponseCache, chosen_cache
from conscience.backends.storage.inflight import InflightRequest
from conscience.backends.storage.journal import Journal
from conscience.backends.streams import as_streamed, heard, token_stream
from conscience.backends.transports import Answer, Transport
from conscience.errors import BackendError, BudgetExceeded, ConfigurationError
from conscience.messages.answers import missing
from conscience.messages.completion import Completion, Message
from conscience.messages.requests import check_text
from conscience.usage import CallContext, CallUsage, Exchange, UsageTracker, is_amount

_SENT_AS = {"schema": "response_format"}
"""Features that are asked for by another name."""


class Backend:
    """One model, or several as fallbacks in order.

    Configuration only: what one call does and spends is in its ``CallContext``, so threads and tasks may share a backend.

    Args:
        model: a LiteLLM model string, ``"local"`` (the embedded model), ``"local:NAME"`` (another of the catalogue),
            ``"local:FILE.gguf"``, a ``dspy.LM``, or ``"decisions:"`` and a LiteLLM model string (a decision model, which
            reviews and writes nothing).
        fallbacks: further models, or backends with options of their own, tried in order when this one fails.
        engine: ``"wire"``, this library's own client where a provider speaks OpenAI's chat wire and nobody has set LiteLLM
            up in this process (callbacks, rules, a proxy of its own), LiteLLM for everything else; ``"litellm"`` always; or
            ``"auto"`` to let DSPy choose its native engine where it has one.
        timeout: seconds for one attempt, above 0.
        retries: further attempts after a passing failure, with jitter and the server's retry-after.
        cache: keep answers on disk: True, False, or a folder. ``CONSCIENCE_CACHE=0`` turns it off everywhere, and so does
            ``dspy.configure_cache(enable_disk_cache=False, …)``, at any time.
        options: address and credentials (api_key, api_base, …), default sampling parameters (temperature, …), and what the
            first model costs where LiteLLM's list does not know: ``input_cost_per_token`` and ``output_cost_per_token``, in
            dollars.

    Raises:
        ConfigurationError: an empty or malformed model name, an unknown engine, or a number that is none.
    """

    def __init__(
        self,
        model: str | BaseLM | Transport,
        *,
        fallbacks: Sequence[str | BaseLM | Backend] = (),
        engine: str = "wire",
        timeout: float = 120.0,
        retries: int = 2,
        cache: bool | Path | str = True,
        **options: Any,
    ) -> None:
        if engine not in ("wire", "litellm", "auto"):
            raise ConfigurationError(f"engine={engine!r} is not wire, litellm or auto")
        if timeout == 0 or (timeout != math.inf and not is_amount(timeout)):
            raise ConfigurationError(f"timeout={timeout!r} is not a number of seconds above 0")
        if not is_amount(retries) or int(retries) != retries:
            raise ConfigurationError(f"retries={retries!r} is not a whole number of 0 or more")
        self.transports: list[Transport] = [transport_for(model, engine, options)]
        for other in fallbacks:
            self.transports.extend(Backend.of(other).transports)
        check_alike(self.transports)
        self.name = self.transports[0].name
        self.timeout = timeout
        self.retries = retries
        kept = cache and getattr(model, "cache", True) is not False
        self._cache: ResponseCache | Journal | None = chosen_cache(cache if kept else False)
        self._rate_limiter: RateLimiter | None = None
        self._meter: UsageTracker | None = None
        self.lm = BackendLM(self)

    @staticmethod
    def of(value: Any) -> Backend:
        """A backend from a model string, a ``dspy.LM``, a backend, or a list of these (fallbacks in order)."""
        if isinstance(value, Backend):
            return value
        if isinstance(value, BackendLM):
            return value.backend  # type: ignore[return-value]
        if isinstance(value, str):
            return Backend(value)
        if isinstance(value, BaseLM):
            with _wrapped_lock:
                if value not in _wrapped:
                    _wrapped[value] = Backend(value)
                return _wrapped[value]
        if isinstance(value, list | tuple) and value:
            first, *rest = value
            if not rest:
                return Backend.of(first)
            backends = [Backend.of(v) for v in (first, *rest)]
            transports = [t for b in backends for t in b.transports]
            check_alike(transports)
            return _like(backends[0], transports)
        raise ConfigurationError(
            f"{type(value).__name__} is no model", hint="pass a LiteLLM model string, a dspy.LM, a Backend or a list of them"
        )

    def __repr__(self) -> str:
        return f"Backend({', '.join(repr(t.name) for t in self.transports)})"

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: the models and their options without credentials, neither a run nor its journal. Another
        process takes its keys from its own environment."""
        kept = self._cache if isinstance(self._cache, ResponseCache) else None
        gone: dict[str, Any] = {"_cache": kept, "_rate_limiter": None, "_meter": None}
        return {name: value for name, value in self.__dict__.items() if name != "lm"} | gone

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lm = BackendLM(self)

    def __copy__(self) -> Backend:
        return self

    def __deepcopy__(self, memo: Any) -> Backend:
        return self  # configuration and open connections are shared by copies of a program

    def for_run(
        self, journal: Journal, rate_limiter: RateLimiter | None = None, meter: UsageTracker | None = None
    ) -> Backend:
        """The same models for one run.

        Args:
            journal: takes the place of the response cache.
            rate_limiter: spaces the calls.
            meter: the run's usage tracker; its budget limits every call.
        """
        return journal.asked_by(_like(self, self.transports, _cache=journal, _rate_limiter=rate_limiter, _meter=meter), self)

    def supports(self, feature: str) -> bool:
        """Whether the first model takes "logprobs", "schema" or "tools", or is a "reasoning" model, as far as is known."""
        return self._has(self.transports[0], feature)

    def gives(self, feature: str, completion: Completion) -> bool:
        """The same of the model that gave an answer."""
        return any(transport.name == completion.model and self._has(transport, feature) for transport in self.transports)

    def refused(self, feature: str, *, certain: bool) -> None:
        """Learns that the first model refused a request that asked for a feature, and took the same without it.

        Args:
            feature: such as "logprobs".
            certain: whether it said so; otherwise, one refusal says little.
        """
        self.transports[0].habits.saw(feature, False, certain=certain)

    @staticmethod
    def _has(transport: Transport, feature: str) -> bool:
        habits = transport.habits
        if feature == "logprobs" and habits.knows("thinking first"):
            return False  # those of a thought are no answer's
        if habits.knows(feature) is False or habits.leaves_out(_SENT_AS.get(feature, feature)):
            return False
        return transport.supports(feature)

    @property
    def decides(self) -> bool:
        """Whether it is a decision model: it answers Yes/No questions, and writes nothing."""
        return only_decides(self.name)

    @property
    def thinks(self) -> bool:
        """Whether the first model thinks before it answers: its table says so, or it was seen to at its address."""
        habits = self.transports[0].habits
        return self.supports("reasoning") or bool(habits.knows("thinking") or habits.knows("thinking first"))

    @property
    def sampling(self) -> Mapping[str, Any]:
        """What the first model's configuration says of every answer: max_tokens, temperature, stop, …"""
        return self.transports[0].sampling

    def complete(
        self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None, ctx: CallContext | None = None
    ) -> Completion:
        """Asks for one answer.

        Args:
            messages: chat messages.
            params: OpenAI chat parameters (max_tokens, logprobs, response_format, …).
            salt: tells apart answers that the cache must not share (DSPy's rollout id).
            ctx: who asks and where the call is entered; by default the running program call's.

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

    def astream(
        self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None, ctx: CallContext | None = None
    ) -> AsyncIterator[str | Completion]:
        """The answer of ``acomplete`` as it comes: its text in pieces, unreviewed, then all of it. What breaks before the
        first piece is asked for again, as any call; what breaks later raises."""
        return token_stream(partial(self.acomplete, messages, params, salt=salt, ctx=ctx))

    def stream(
        self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None, ctx: CallContext | None = None
    ) -> Iterator[str | Completion]:
        """The sync form of ``astream``."""
        return iterated(partial(self.astream, messages, params, salt=salt, ctx=ctx))

    def _flow(
        self, messages: Sequence[Message], params: Mapping[str, Any], salt: Any, ctx: CallContext | None
    ) -> Flow[Completion]:
        check_text(messages)
        payers = Payers(self._meter, ctx)
        if payers.limit_dollars:
            with payers.pausing():
                self.check_prices()
        failures: list[tuple[Transport, LMError]] = []
        for transport in self.transports:
            deadline = Deadline()
            try:
                completion = yield from self.ask_one(transport, messages, params, salt, ctx, deadline)
            except LMError as error:
                failures.append((transport, error))
                if ctx is not None and transport is not self.transports[-1]:
                    event = f"{transport.name} failed ({failure_kind(error)}), went on to the next model"
                    ctx.tracker.note(f"{ctx.role}: {event}")
                continue
            if ctx is not None:
                ctx.exchanges.append(Exchange(tuple(messages), completion, dict(params)))
            return completion
        failure = backend_failure(failures, messages, out_of_time=deadline.missed)
        record_lost(failure)
        raise_alone(failure)

    def ask_one(
        self,
        transport: Transport,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        salt: Any,
        ctx: CallContext | None,
        deadline: Deadline,
    ) -> Flow[Completion]:
        """One model's answer: a kept one, or that of its first attempt to succeed."""
        payers, in_vain = Payers(self._meter, ctx, deadline.clock), list[CallUsage]()

        def answer(reply: Answer) -> Answer:
            patient = ctx is None or ctx.role not in ("review", "judge")  # a reviewer asks again itself, with more room
            try:
                return answered(reply[0], messages, params, transport, patient=patient), reply[1]
            except EmptyAnswerError as error:  # it was paid for all the same
                in_vain.append(CallUsage.of(Completion(error.body, transport.name, reply[1]), 0.0))
                payers.enter(in_vain[-1])
                raise

        def attempt(sent: Mapping[str, Any]) -> IOStep:
            sender, left = begin_attempt(payers, transport, key, messages, sent)
            deadline.set(left)
            seconds = min(self.timeout, left)

            def call() -> Answer:
                return answer(sender.call(messages, sent, seconds))

            async def acall() -> Answer:
                return await heard(sender, messages, params, sent, seconds, answer, payers, deadline)

            if isinstance(transport, LMTransport):  # shows itself
                return payers.step(IOStep(call, acall))
            shown = self.lm, transport.name, messages, params
            return payers.step(IOStep(partial(seen, *shown, call), partial(aseen, *shown, acall)))

        fallback = transport is not self.transports[0]
        cache, role = self._kept_in(), None if ctx is None else ctx.role
        key = None
        if cache is not None:
            with payers.pausing():  # a name may be LiteLLM's to read
                to = transport.identity(params, role)
                parts = {"v": 1, "to": to, "messages": list(messages), "params": dict(params), "salt": salt}
                key = cache.key(parts, transport.credentials(params))
        with InflightRequest(cache, key) as request:
            entry = yield from request.lookup(payers.seconds_left())
            if entry is not None and missing(entry["body"], one_token=bool(params.get("logprobs"))) is None:
                self._enter_kept(payers, key, entry["spend"])
                if isinstance(cache, ResponseCache):
                    lm = transport.lm if isinstance(transport, LMTransport) else self.lm
                    seen_again(lm, transport.name, messages, params, entry["body"])
                return Completion(entry["body"], transport.name, cached=True, fallback=fallback, key=key)
            live = asks_live(transport)
            if self._rate_limiter is not None and live:
                yield payers.step(self._rate_limiter.acquire())
            started = deadline.now()
            policy = retry_policy(self.retries + 1, transport.retries_itself, live)

            def send(sent: Mapping[str, Any]) -> Flow[Answer]:
                return retrying(partial(attempt, sent), policy, deadline)

            asked = as_streamed(transport.arguments(params, role))
            body, dollars = yield from mending(send, asked, messages, transport.habits, partial(_note, ctx, transport.name))
            completion = Completion(body, transport.name, dollars, fallback=fallback, key=key)
            usage = CallUsage.of(completion, deadline.now() - started)
            payers.enter(usage)
            if self._rate_limiter is not None and live:
                self._rate_limiter.record(usage.tokens)
            wanting = bool(params.get("logprobs")) and not completion.first_token
            if params.get("logprobs"):
                transport.habits.saw("logprobs", not wanting)
            if completion.finish_reason != "error" and not wanting:
                yield request.store({"body": completion.body, "spend": sum(in_vain, usage).to_dict()})
            return completion

    def fallback(self) -> Backend | None:
        """The same without its first model; None where there is no other."""
        return _like(self, rest, name=rest[0].name) if (rest := self.transports[1:]) else None

    def reject(self, completion: Completion) -> IOStep:
        """Takes an answer back that its caller could not use: the next to make this request asks the model anew."""
        return InflightRequest(self._cache, completion.key).drop()

    def embedding(self, model: str, texts: Sequence[str], ctx: CallContext) -> Flow[list[list[float]]]:
        """One embedding for each text, by an embedding model beside this one; cached and entered like an answer.

        A registered callable is kept in a run's journal only: by the next run it may be another one.

        Raises:
            BackendError, ConfigurationError: see ``embeddings.embedding``.
            BudgetExceeded: the program call's budget is spent.
        """
        model = local_name(model)
        deadline = Deadline()
        payers = Payers(self._meter, ctx, deadline.clock)
        served = not runs_in_process(model)
        cache = self._kept_in()
        if is_registered(model) and isinstance(cache, ResponseCache):
            cache = None
        key = None
        if cache is not None:
            hosted = served and not is_local(model)
            where = {"address": address(model)} if hosted else {}
            who = credentials(provider_name(model), {}, address(model)) if hosted else {}
            key = cache.key({"v": 1, "embedding": model, "texts": list(texts), **where}, who)
        with InflightRequest(cache, key) as request:
            if (entry := (yield from request.lookup(payers.seconds_left()))) is not None:
                self._enter_kept(payers, key, entry["spend"])
                return [list(unpack(vector)) for vector in entry["vectors"]]
            yield payers.step(preparing(model))
            left = payers.claim() if served else math.inf
            started = deadline.now()
            try:
                vectors = yield from embedding(model, texts, min(self.timeout, left), limit=left)
            except (BackendError, TimeoutError):
                if deadline.now() - started >= left:
                    raise BudgetExceeded(f"the budget's seconds ended before {model} answered") from None
                raise
            usage = CallUsage(calls=int(served), seconds=deadline.now() - started)
            payers.enter(usage)
            packed = [pack(vector) for vector in vectors]
            yield request.store({"vectors": packed, "spend": usage.to_dict()})
            return [list(unpack(vector)) for vector in packed]  # the same numbers, whether fresh or from the cache

    def check_prices(self) -> None:
        """Refuses a model without a price, before anything is sent: a limit of dollars would not hold.

        Raises:
            ConfigurationError: names the model.
        """
        for transport in self.transports:
            if not transport.is_priced:
                raise no_price(transport.name)

    def warm(self) -> None:
        """Does ahead what the first call would have to wait for, and fails as it would; see ``Conscience.warm``."""
        for transport in self.transports:
            transport.prepare()

    def _enter_kept(self, payers: Payers, key: str | None, spend: Mapping[str, Any]) -> None:
        """A cached answer was free; one from a run's journal was paid for by this run, once."""
        if isinstance(self._cache, ResponseCache):
            payers.enter(CallUsage(cached=1))
        else:
            first_use = self._cache is not None and bool(key) and self._cache.is_first_use(str(key))
            payers.enter_replayed(spend, first_use=first_use)

    def _kept_in(self) -> ResponseCache | Journal | None:
        """Where answers are kept now: nowhere, once ``dspy.configure_cache`` has turned the disk off; a run's journal is the
        run's own record, and stays."""
        return None if isinstance(self._cache, ResponseCache) and not dspy_keeps_on_disk() else self._cache


def _like(first: Backend, transports: Sequence[Transport], **changes: Any) -> Backend:
    """A backend with the first one's options for these transports."""
    other = object.__new__(Backend)
    other.__dict__.update(first.__dict__)
    other.__dict__.update(changes)
    other.transports = list(transports)
    other.lm = BackendLM(other)
    return other


_wrapped: weakref.WeakKeyDictionary[Any, Backend] = weakref.WeakKeyDictionary()
_wrapped_lock = ForkLock()


def _note(ctx: CallContext | None, model: str, event: str) -> None:
    if ctx is not None:
        ctx.tracker.note(f"{ctx.role}: {model}: {event}")
