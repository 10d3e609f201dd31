"""Where a call goes: one attempt at one model, through LiteLLM or through a ``dspy.LM`` of the user's.

A target raises only ``LMError`` for a failing model. Retries, fallbacks, caching and accounting belong to the backend.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar

from conscience._dspy import BaseLM, LMError, acall_lm, call_lm, litellm, lm_error, lm_errors
from conscience.errors import ConfigurationError
from conscience.messages.completion import Body, Message

T = TypeVar("T")

CLIENT_OPTIONS = frozenset(
    {"api_key", "api_base", "base_url", "api_version", "organization", "project", "custom_llm_provider"}
    | {"headers", "extra_headers"}
)
"""Options that reach the address, not the model; of these only the ones that are not secret enter a cache key."""

SECRET_OPTIONS = frozenset({"api_key", "headers", "extra_headers"})


class Transport(Protocol):
    """One model at one address."""

    name: str
    retries_itself: bool

    def identity(self) -> dict[str, Any]:
        """Everything but the messages that shapes an answer, without secrets: part of the cache key."""

    def supports(self, feature: str) -> bool:
        """Whether the model is known to take "logprobs", "schema" or "tools", to be a "reasoning" model, or to serve
        questions that are asked at once better than ones asked in turn ("parallel")."""

    @property
    def sampling(self) -> Mapping[str, Any]:
        """The sampling parameters that the user set on it."""

    def secrets(self) -> list[str]:
        """Values that must not appear in any message."""

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> tuple[Body, float | None]: ...

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float
    ) -> tuple[Body, float | None]: ...


class LiteLLMTransport:
    """A LiteLLM model string and its options.

    Args:
        model: such as ``"openai/gpt-4o-mini"`` or ``"anthropic/claude-sonnet-4-5"``.
        options: address and credentials (``CLIENT_OPTIONS``) and default sampling parameters.
    """

    retries_itself = False

    def __init__(self, model: str, options: Mapping[str, Any]) -> None:
        self.name = model
        self._client = {k: v for k, v in options.items() if k in CLIENT_OPTIONS and v is not None}
        self._defaults = {k: v for k, v in options.items() if k not in CLIENT_OPTIONS and v is not None}
        self._checked = False

    @property
    def sampling(self) -> Mapping[str, Any]:
        return self._defaults

    def identity(self) -> dict[str, Any]:
        shown = {k: v for k, v in self._client.items() if k not in SECRET_OPTIONS}
        where = address(self.name, self._client.get("custom_llm_provider"))
        return {"model": self.name, "client": shown, "address": where, "defaults": self._defaults}

    def secrets(self) -> list[str]:
        return _secrets(self._client)

    def supports(self, feature: str) -> bool:
        return feature in _features(self.name, self._client.get("custom_llm_provider"))

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> tuple[Body, float | None]:
        kwargs = self._arguments(messages, params, seconds)
        try:
            return _unpack(litellm().completion(**kwargs))
        except Exception as error:  # LiteLLM raises its SDKs' errors, which share no base; what is no LM error passes
            mapped = lm_error(error, model=self.name)
            if mapped is None:
                raise
            raise mapped from error

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float
    ) -> tuple[Body, float | None]:
        kwargs = self._arguments(messages, params, seconds)
        try:
            async with asyncio.timeout(seconds):  # LiteLLM's own limit begins anew with every byte, blanks included
                raw = await litellm().acompletion(**kwargs)
            return _unpack(raw)
        except TimeoutError:
            raise _timed_out(self.name, seconds) from None
        except Exception as error:  # LiteLLM raises its SDKs' errors, which share no base; what is no LM error passes
            mapped = lm_error(error, model=self.name)
            if mapped is None:
                raise
            raise mapped from error

    def _arguments(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        if not self._checked:
            self._check()
        return {
            **self._defaults,
            **params,
            **self._client,
            "model": self.name,
            "messages": list(messages),
            "timeout": seconds,
            "num_retries": 0,
            "max_retries": 0,
            "cache": {"no-cache": True, "no-store": True},
        }

    def _check(self) -> None:
        """Finds a wrong name or a missing key before the first call; SDKs report either as a server's error.

        Raises:
            ConfigurationError: names what to write or to set.
        """
        _features(self.name, self._client.get("custom_llm_provider"))
        if "api_key" not in self._client:
            missing = litellm().validate_environment(self.name)["missing_keys"]
            # Several keys, as clouds have, may also come from a profile or a role that nobody sees here.
            if len(missing) == 1 and missing[0].endswith("_API_KEY"):
                raise ConfigurationError(f"{self.name}: no credentials", hint=f"set {missing[0]}")
        self._checked = True


class LocalTransport(LiteLLMTransport):
    """The embedded model: its server is started by the first call.

    Args:
        weights: a GGUF file; None for the built-in SmolLM2-135M-Instruct.
        options: sampling parameters.
    """

    def __init__(self, weights: str | None, options: Mapping[str, Any]) -> None:
        # Greedy and bounded: a 135M model left to sample at length mostly repeats itself.
        super().__init__("local" if weights is None else f"local:{weights}", {**LOCAL_SAMPLING, **options})
        self._weights = weights
        self._own = options

    @property
    def sampling(self) -> Mapping[str, Any]:
        return self._own

    def supports(self, feature: str) -> bool:
        # Not parallel: questions at once would go to slots of their own, each of which would read the draft anew.
        return feature in {"logprobs", "schema", "schema_limits"}

    def _check(self) -> None:
        """Its name and key are our own."""

    def secrets(self) -> list[str]:
        return []

    def _arguments(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        from conscience.backends.local import endpoint

        server = endpoint(self._weights)
        arguments = super()._arguments(messages, params, seconds)
        return arguments | {"model": f"openai/{server.model}", "api_base": server.base_url, "api_key": server.api_key}

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> tuple[Body, float | None]:
        return super().call(messages, params, seconds)[0], 0.0

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float
    ) -> tuple[Body, float | None]:
        return (await super().acall(messages, params, seconds))[0], 0.0


LOCAL_SAMPLING: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 400}


class LMTransport:
    """A ``dspy.LM`` of the user's, called as it is: its engine, its retries, its callbacks."""

    def __init__(self, lm: BaseLM) -> None:
        self.lm = lm
        self.name = str(lm.model)
        self.retries_itself = getattr(lm, "num_retries", 0) > 0

    @property
    def sampling(self) -> Mapping[str, Any]:
        return {name: value for name, value in self.lm.kwargs.items() if value is not None}

    @property
    def _scripted(self) -> bool:
        return not isinstance(getattr(self.lm, "engine", None), str)

    def identity(self) -> dict[str, Any]:
        kwargs = {k: v for k, v in self.lm.kwargs.items() if k not in SECRET_OPTIONS}
        where = [] if self._scripted else address(self.name)
        return {"model": self.name, "lm": type(self.lm).__qualname__, "address": where, "kwargs": kwargs}

    def secrets(self) -> list[str]:
        return _secrets(self.lm.kwargs)

    def supports(self, feature: str) -> bool:
        if not self._scripted:
            return feature in _features(self.name, None)
        engine = getattr(self.lm, "engine", self.lm)
        if feature == "parallel":
            return True
        if feature == "logprobs":
            return "top_logprobs" in getattr(engine, "supported_params", ())
        attribute = {"schema": "response_schema", "tools": "function_calling"}.get(feature, feature)
        return bool(getattr(engine, f"supports_{attribute}", False))

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> tuple[Body, float | None]:
        try:
            body = call_within(seconds, partial(call_lm, self.lm, messages, params))
        except TimeoutError:
            raise _timed_out(self.name, seconds) from None
        return body, self._price(body)

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float
    ) -> tuple[Body, float | None]:
        try:
            async with asyncio.timeout(seconds):  # wait_for can swallow a cancellation on Python 3.11
                body = await acall_lm(self.lm, messages, params)
        except TimeoutError:
            raise _timed_out(self.name, seconds) from None
        return body, self._price(body)

    def _price(self, body: Body) -> float | None:
        return None if self._scripted else _list_price(self.name, body)


def _timed_out(model: str, seconds: float) -> LMError:
    error: LMError = lm_errors.LMTimeoutError(f"no answer within {seconds:.3g} seconds", model=model)
    return error


def call_within(seconds: float, work: Callable[[], T]) -> T:
    """Does work in a thread of its own, which is left behind when the time is up; here where there is no limit.

    Raises:
        TimeoutError: the time is up.
    """
    if math.isinf(seconds):
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # it is the caller's, whatever it is
            done.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    return done.result(seconds)


def address(model: str, provider: str | None = None) -> list[str | None]:
    """Where the environment says that a LiteLLM model is served; the model's name alone does not tell two servers apart."""
    name = provider_name(model, provider).upper().replace("-", "_")
    return [os.environ.get(f"{name}_{suffix}") for suffix in ("API_BASE", "BASE_URL")]


@lru_cache(maxsize=256)
def provider_name(model: str, provider: str | None = None) -> str:
    """The provider that LiteLLM takes a model's name for; what stands before the slash where it knows none."""
    lite = litellm()
    try:
        found = str(lite.get_llm_provider(model, custom_llm_provider=provider)[1])
        return found.removesuffix("_chat")  # ollama_chat is served by ollama
    except lite.BadRequestError:
        return model.split("/", 1)[0]


def _secrets(options: Mapping[str, Any]) -> list[str]:
    headers = [value for name in ("headers", "extra_headers") for value in dict(options.get(name) or {}).values()]
    return [str(value) for value in (options.get("api_key"), *headers) if value]


@lru_cache(maxsize=256)
def _features(model: str, provider: str | None) -> frozenset[str]:
    """What LiteLLM's table says of a model; a model that it does not know has what its API's dialect has."""
    lite = litellm()
    found = {"parallel"}
    try:
        lite.get_llm_provider(model, custom_llm_provider=provider)
        params = lite.get_supported_openai_params(model=model, custom_llm_provider=provider) or []
        if lite.supports_reasoning(model, custom_llm_provider=provider):
            found.add("reasoning")
        if lite.supports_response_schema(model=model, custom_llm_provider=provider):
            found.add("schema")
        if lite.supports_function_calling(model=model, custom_llm_provider=provider):
            found.add("tools")
    except lite.BadRequestError as error:
        raise ConfigurationError(
            f"model {model!r} names no provider that LiteLLM knows",
            hint="write provider/model, such as openai/gpt-4o-mini, or local for the embedded model",
        ) from error
    # A reasoning model thinks before its first written token, so that token's log-probability is no verdict.
    if "logprobs" in params and "top_logprobs" in params and "reasoning" not in found:
        found.add("logprobs")
    return frozenset(found)


def _unpack(raw: Any) -> tuple[Body, float | None]:
    body = raw.model_dump(exclude_none=True)
    cost = getattr(raw, "_hidden_params", {}).get("response_cost")
    return body, float(cost) if isinstance(cost, int | float) and cost > 0 else None


def _list_price(model: str, body: Body) -> float | None:
    usage = body.get("usage") or {}
    lite = litellm()
    try:
        prices = lite.cost_per_token(
            model=model,
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
        )
    except Exception:  # a model without a price: LiteLLM has raised several kinds of error for it
        return None
    return float(sum(prices)) or None
