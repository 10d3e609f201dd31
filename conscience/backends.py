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

from conscience.asked import Asked
from conscience.cache import ResponseCache, shared_cache
from conscience.dspy_seam import Account, BackendLM, BaseLM, LMError, account, lm_errors, retryable, settings
from conscience.embedding import embedding, in_process, pack, registered, unpack
from conscience.errors import BackendError, BudgetExceeded, ConfigurationError, ContextTooLong, InputError
from conscience.flow import Flow, Step, adrive, drive
from conscience.journal import Journal
from conscience.pace import Pace
from conscience.redaction import redact
from conscience.reply import Message, Reply, clean
from conscience.targets import LiteLLMTarget, LMTarget, LocalTarget, Target, address, in_time
from conscience.usage import ROLES, Ledger, Role, Spend

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
        self.targets: list[Target] = [_target(model, engine, options)]
        for other in fallbacks:
            self.targets.extend(Backend.of(other).targets)
        self.name = self.targets[0].name
        self.timeout = timeout
        self.retries = retries
        self._cache: ResponseCache | Journal | None = _cache(cache, model)
        self._pace: Pace | None = None
        self._meter: Ledger | None = None
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
            return _like(backends[0], [t for b in backends for t in b.targets])
        raise ConfigurationError(
            f"{type(value).__name__} is no model", hint="pass a LiteLLM model string, a dspy.LM, a Backend or a list of them"
        )

    def __repr__(self) -> str:
        return f"Backend({', '.join(repr(t.name) for t in self.targets)})"

    def __copy__(self) -> Backend:
        return self

    def __deepcopy__(self, memo: Any) -> Backend:
        return self  # configuration and open connections are shared by copies of a program

    def during(self, journal: Journal, pace: Pace | None = None, meter: Ledger | None = None) -> Backend:
        """The same models for one run: its journal is their cache, its pace theirs, and they spend from its ledger."""
        return _like(self, self.targets, _cache=journal, _pace=pace, _meter=meter)

    def supports(self, feature: str) -> bool:
        """Whether the first model takes "logprobs", "schema" or "tools", or is a "reasoning" model, as far as is known."""
        return feature not in self._lacking and self.targets[0].supports(feature)

    def lacks(self, feature: str) -> None:
        """Learns that a model does not do what its table promises; remembered as long as this backend lives."""
        self._lacking.add(feature)

    def complete(
        self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None, who: Account | None = None
    ) -> Reply:
        """Asks for one answer.

        Args:
            messages: chat messages.
            params: OpenAI chat parameters (max_tokens, logprobs, response_format, …).
            salt: tells apart answers that the cache must not share (DSPy's rollout id).
            who: the account to enter it under; by default that of the running program call.

        Raises:
            BackendError: every model failed after its retries; ContextTooLong where the request is too long for them.
            ConfigurationError: a key or an extra is missing.
            BudgetExceeded: the program call's budget is spent.
        """
        return drive(self._flow(messages, params, salt, who or account()))

    async def acomplete(
        self, messages: Sequence[Message], params: Mapping[str, Any], *, salt: Any = None, who: Account | None = None
    ) -> Reply:
        """The async form of ``complete``."""
        return await adrive(self._flow(messages, params, salt, who or account()))

    def asking(self, messages: Sequence[Message], params: Mapping[str, Any], who: Account) -> Step:
        """The same question as a step of a flow."""
        return Step(
            partial(self.complete, messages, params, who=who),
            partial(self.acomplete, messages, params, who=who),
        )

    def _flow(self, messages: Sequence[Message], params: Mapping[str, Any], salt: Any, who: Account | None) -> Flow[Reply]:
        check_text(messages)
        failures: list[tuple[Target, LMError]] = []
        for target in self.targets:
            fallback = target is not self.targets[0]
            key = self._key(target, messages, params, salt)
            attempts = _Attempts(self, target, messages, params, who)
            with Asked(self._cache, key) as asked:
                if (hit := (yield from asked.stored())) is not None:
                    self._enter_hit(who, key, hit["spend"])
                    return _exchange(who, messages, Reply(hit["body"], target.name, cached=True, fallback=fallback))
                if self._pace is not None:
                    yield self._pace.waiting()
                started = time.perf_counter()
                try:
                    body, dollars = yield attempts.step()
                except LMError as error:
                    failures.append((target, error))
                    if who is not None and target is not self.targets[-1]:
                        who.ledger.note(f"{who.role}: {target.name} failed ({_kind(error)}), went on to the next model")
                    continue
                reply = Reply(clean(body), target.name, dollars, fallback=fallback)
                spend = _spend(reply, time.perf_counter() - started)
                self._enter(who, spend)
                if self._pace is not None:
                    self._pace.spent(spend.tokens)
                if reply.finish_reason != "error":
                    yield asked.keeping({"body": reply.body, "spend": spend.to_dict()})
                return _exchange(who, messages, reply)
        failure = self._failure(failures, spent=attempts.spent)
        if isinstance(failure, BackendError) and failure.gone and (lost := _lost.get()) is not None:
            lost.append(failure)
        try:
            raise failure
        finally:
            failure.__context__ = None  # the errors behind it may repeat a key, and loggers print them

    def embedding(self, model: str, texts: Sequence[str], who: Account) -> Flow[list[list[float]]]:
        """One embedding for each text, by an embedding model beside this one; cached and entered like an answer.

        A registered callable is kept in a run's journal only: by the next run it may be another one.

        Raises:
            BackendError, ConfigurationError: see ``conscience.embedding``.
            BudgetExceeded: the program call's budget is spent.
        """
        served = not in_process(model)
        cache = None if registered(model) and isinstance(self._cache, ResponseCache) else self._cache
        where = {"address": address(model)} if cache and served and model != "local" else {}
        key = ResponseCache.key({"v": 1, "embedding": model, "texts": list(texts), **where}) if cache else None
        with Asked(cache, key) as asked:
            if (hit := (yield from asked.stored())) is not None:
                self._enter_hit(who, key, hit["spend"])
                return [list(unpack(vector)) for vector in hit["vectors"]]
            left = self._left(who) if served else math.inf
            started = time.perf_counter()
            try:
                vectors: list[list[float]] = yield _cut_off(embedding(model, texts, min(self.timeout, left)), left)
            except (BackendError, TimeoutError):
                if time.perf_counter() - started >= left:
                    raise BudgetExceeded(f"the budget's seconds ended before {model} answered") from None
                raise
            spend = Spend(calls=int(served), seconds=time.perf_counter() - started)
            self._enter(who, spend)
            packed = [pack(vector) for vector in vectors]
            yield asked.keeping({"vectors": packed, "spend": spend.to_dict()})
            return [list(unpack(vector)) for vector in packed]  # the same numbers, whether fresh or from the cache

    def _left(self, who: Account | None) -> float:
        """Claims a call from the budgets over it; the seconds that they leave, without end where none limits them."""
        ledgers = [ledger for ledger in (self._meter, who.ledger if who is not None else None) if ledger is not None]
        return min([math.inf, *(left for ledger in ledgers if (left := ledger.begin()) is not None)])

    def _enter(self, who: Account | None, spend: Spend) -> None:
        if who is not None:
            who.ledger.enter(who.role, spend)
        if self._meter is not None:
            self._meter.enter(who.role if who is not None else "propose", spend)

    def _enter_hit(self, who: Account | None, key: str | None, spend: Mapping[str, Any]) -> None:
        """A cached answer was free; one from a run's journal was paid for by this run, once."""
        if isinstance(self._cache, ResponseCache):
            self._enter(who, Spend(cached=1))
            return
        if who is not None:
            who.ledger.enter(who.role, Spend(**spend), replayed=True)
        if self._meter is not None and self._cache is not None and key and self._cache.first(key):
            self._meter.enter(who.role if who is not None else "propose", Spend(**spend), replayed=True)

    def _key(self, target: Target, messages: Sequence[Message], params: Mapping[str, Any], salt: Any) -> str | None:
        if self._cache is None:
            return None
        parts = {"v": 1, "to": target.identity(), "messages": list(messages), "params": dict(params), "salt": salt}
        return ResponseCache.key(parts)

    def _failure(self, failures: Sequence[tuple[Target, LMError]], *, spent: bool) -> Exception:
        """The last model's failure decides the class of the error; the message names every model's."""
        secrets = [s for t in self.targets for s in t.secrets()]
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


class Roles:
    """Which backend serves which role.

    A role without one of its own takes: revise ← generate; review ← generate (a frozen copy of itself judges);
    judge ← review; propose ← generate. With none at all, the LM configured in DSPy at the time of the call.
    """

    _instead: Mapping[str, Role] = {"review": "generate", "revise": "generate", "judge": "review", "propose": "generate"}

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = dict(backends)

    @classmethod
    def of(cls, lm: Any) -> Roles:
        """From one model for every role, or a mapping from role to model."""
        if lm is None:
            return cls({})
        if isinstance(lm, Roles):
            return lm
        if isinstance(lm, Mapping):
            unknown = sorted(set(lm) - set(ROLES))
            if unknown:
                raise ConfigurationError(f"role {unknown[0]!r} does not exist", hint=f"roles are {', '.join(ROLES)}")
            return cls({role: Backend.of(model) for role, model in lm.items()})
        return cls({"generate": Backend.of(lm)})

    def backend(self, role: Role) -> Backend:
        """The backend of a role.

        Raises:
            ConfigurationError: no model is set anywhere; names both ways to set one.
        """
        if (own := self.own(role)) is not None:
            return own
        if settings.lm is None:
            raise ConfigurationError(
                f"no model is set for the role {role}",
                hint='pass lm="openai/gpt-4o-mini" (or lm="local"), or call dspy.configure(lm=dspy.LM(...)) first',
            )
        return Backend.of(settings.lm)

    def during(self, journal: Journal, pace: Pace | None = None, meter: Ledger | None = None) -> Roles:
        """The same roles for one run, see ``Backend.during``; DSPy's LM takes the role generate where no other has it."""
        own = self._backends or {"generate": self.backend("generate")}
        return Roles({role: backend.during(journal, pace, meter) for role, backend in own.items()})

    def own(self, role: Role) -> Backend | None:
        """The backend of a role where these roles say it themselves, without DSPy's."""
        found: str | None = role
        while found is not None:
            if found in self._backends:
                return self._backends[found]
            found = self._instead.get(found)
        return None

    def __repr__(self) -> str:
        return f"Roles({self._backends!r})"


class _Attempts:
    """One target's attempts: the retry policy, in its sync and its async form. None begins or waits past the budget."""

    def __init__(
        self, backend: Backend, target: Target, messages: Sequence[Message], params: Mapping[str, Any], who: Account | None
    ) -> None:
        self._target, self._messages, self._params = target, messages, params
        self._left, self._timeout = partial(backend._left, who), backend.timeout
        self._tries = 1 if target.retries_itself else backend.retries + 1
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

    def step(self) -> Step:
        return Step(self._run, self._arun)

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


def _target(model: Any, engine: str, options: Mapping[str, Any]) -> Target:
    if isinstance(model, BaseLM):
        if options:
            raise ConfigurationError(f"options {sorted(options)} do not go with a dspy.LM", hint="set them on the LM")
        return LMTarget(model)
    if not isinstance(model, str) or not model.strip() or any(c.isspace() or not c.isprintable() for c in model):
        raise ConfigurationError(f"{model!r} is no model name", hint="write provider/model, such as openai/gpt-4o-mini")
    if model == "local" or model.startswith("local:"):
        return LocalTarget(model[6:] or None, options)
    if model.endswith("/"):
        raise ConfigurationError(f"{model!r} names a provider but no model", hint="write provider/model")
    if engine == "auto":
        import dspy

        return LMTarget(dspy.LM(model, cache=False, **options))
    return LiteLLMTarget(model, options)


def _like(first: Backend, targets: Sequence[Target], **changes: Any) -> Backend:
    """A backend with the first one's options for these targets."""
    other = object.__new__(Backend)
    other.__dict__.update(first.__dict__)
    other.__dict__.update(changes)
    other.targets = list(targets)
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


def _cut_off(step: Step, seconds: float) -> Step:
    """The same work, which ends in a TimeoutError when the time is up: SDKs retry embeddings on their own."""

    async def arun() -> Any:
        async with asyncio.timeout(seconds):
            return await step.arun()

    return Step(partial(in_time, seconds, step.run), arun)


def _exchange(who: Account | None, messages: Sequence[Message], reply: Reply) -> Reply:
    if who is not None:
        who.exchanges.append((tuple(messages), reply))
    return reply


def _spend(reply: Reply, seconds: float) -> Spend:
    tokens_in, tokens_out, reused = reply.tokens()
    unpriced = int(reply.dollars is None)
    return Spend(1, 0, tokens_in, tokens_out, reused, seconds, reply.dollars or 0.0, unpriced)


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


def check_text(value: Any) -> None:
    """Refuses chat messages, or any part of them, that no provider can receive.

    Raises:
        InputError: NUL bytes or lone surrogates in a text of them, however deep.
    """
    if isinstance(value, str):
        check_string(value, "the request")
    elif isinstance(value, Mapping):
        check_text(list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            check_text(inner)


def check_string(text: str, what: str) -> None:
    """Refuses NUL bytes and lone surrogates, in one line.

    Raises:
        InputError: names the position.
    """
    if "\0" in text:
        raise InputError(f"{what} holds a NUL byte at position {text.index(chr(0))}", hint="remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{what} holds a lone surrogate at position {error.start}", hint="repair the text's encoding first"
            ) from None
