"""A ``dspy.LM`` of the user's as the place where a call goes."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from conscience._dspy.lm import SAMPLING, BaseLM, acall_lm, call_lm, litellm
from conscience._redaction import credentials_in, watch, without_credentials
from conscience.backends.habits.memory import Habits, habits_of
from conscience.backends.limits.timeouts import call_within
from conscience.backends.models.credentials import credentials, secret_options
from conscience.backends.models.prices import TokenPrices
from conscience.backends.providers import address, features, is_priced, list_price, provider_name
from conscience.backends.transports import SECRET_OPTIONS, Answer, timed_out
from conscience.messages.chunks import Chunks
from conscience.messages.completion import Body, Message
from conscience.messages.parameters import merged, settings_for

NATIVE = frozenset({"openai", "anthropic", "gemini", "ollama", "groq", "openrouter", "deepseek", "xai", "hosted_vllm"})
"""Providers that DSPy calls without LiteLLM where it may choose."""


class LMTransport:
    """A ``dspy.LM`` of the user's, called as it is: its engine, its retries, its callbacks.

    Args:
        prices: where they are not among the LM's own arguments.
    """

    def __init__(self, lm: BaseLM, prices: TokenPrices | None = None) -> None:
        self.lm = lm
        self.prices = prices
        self.name = str(lm.model)
        self.retries_itself = getattr(lm, "num_retries", 0) > 0
        self._own_habits = Habits()
        watch(self)

    @property
    def habits(self) -> Habits:
        if self._scripted:  # a script is nobody else's, whatever its name
            return self._own_habits
        given = self.lm.kwargs.get("api_base") or self.lm.kwargs.get("base_url")
        where = given or next(filter(None, address(self.name)), "")
        return habits_of(self.name, str(where).rstrip("/"))

    def __getstate__(self) -> dict[str, Any]:
        lm = copy.copy(self.lm)
        lm.history = []
        lm.kwargs = without_credentials(self.lm.kwargs)
        return self.__dict__ | {"lm": lm, "_own_habits": Habits()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        watch(self)

    @property
    def sampling(self) -> Mapping[str, Any]:
        return {name: value for name, value in self.lm.kwargs.items() if value is not None}

    @property
    def _scripted(self) -> bool:
        return not isinstance(getattr(self.lm, "engine", None), str)

    def identity(self, params: Mapping[str, Any], role: str | None = None) -> dict[str, Any]:
        taken = settings_for(role, {k: v for k, v in self.lm.kwargs.items() if k in SAMPLING})
        kwargs = {k: v for k, v in self.lm.kwargs.items() if k not in SECRET_OPTIONS and (k not in SAMPLING or k in taken)}
        where = [] if self._scripted else address(self.name)
        return {"model": self.name, "lm": type(self.lm).__qualname__, "address": where, "kwargs": kwargs}

    def arguments(self, params: Mapping[str, Any], role: str | None = None) -> dict[str, Any]:
        own = {name: value for name, value in self.lm.kwargs.items() if name in SAMPLING and value is not None}
        return merged(settings_for(role, own), params)

    def credentials(self, params: Mapping[str, Any]) -> dict[str, Any]:
        options = {**params, **self.lm.kwargs}
        if self._scripted:
            return secret_options(options)
        return credentials(provider_name(self.name), options, address(self.name))

    def secrets(self) -> list[str]:
        return credentials_in(self.lm.kwargs)

    def supports(self, feature: str) -> bool:
        if not self._scripted:
            return feature in features(self.name, None)
        engine = getattr(self.lm, "engine", self.lm)
        if feature == "parallel":
            return True
        if feature == "logprobs":
            return "top_logprobs" in getattr(engine, "supported_params", ())
        attribute = {"schema": "response_schema", "tools": "function_calling"}.get(feature, feature)
        return bool(getattr(engine, f"supports_{attribute}", False))

    @property
    def is_priced(self) -> bool:
        return self._own_prices() is not None or (not self._scripted and is_priced(self.name))

    def prepare(self) -> None:
        engine = getattr(self.lm, "engine", None)
        if engine == "litellm" or (engine == "auto" and self.name.split("/", 1)[0] not in NATIVE):
            litellm()

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        self.prepare()
        try:
            body = call_within(seconds, partial(call_lm, self.lm, messages, params))
        except TimeoutError:
            raise timed_out(self.name, seconds) from None
        return body, self.price(body)

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        if not self._scripted:
            await asyncio.to_thread(self.prepare)
        try:
            async with asyncio.timeout(seconds):  # wait_for can swallow a cancellation on Python 3.11
                body = await acall_lm(self.lm, messages, params, chunks)
        except TimeoutError:
            raise timed_out(self.name, seconds) from None
        return body, self.price(body)

    def price(self, body: Body) -> float | None:
        if (prices := self._own_prices()) is not None:
            return prices.dollars(body.get("usage"))
        return None if self._scripted else list_price(self.name, body)

    def _own_prices(self) -> TokenPrices | None:
        return self.prices or TokenPrices.of(self.lm.kwargs) or getattr(self.lm, "prices", None)
