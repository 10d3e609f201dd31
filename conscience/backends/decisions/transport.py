"""One attempt at a decision model: over the light wire where its provider's route is plain, through LiteLLM elsewhere."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson

from conscience._dspy.lm import LMError, litellm, litellm_errors
from conscience.backends.decisions.answers import decision_body, predicates, request_body
from conscience.backends.decisions.naming import PREFIX, ROUTES, check_name, writes_nothing
from conscience.backends.limits.timeouts import call_within
from conscience.backends.models import table as model_table
from conscience.backends.models.prices import price
from conscience.backends.models.table import Route
from conscience.backends.transports import Answer, LiteLLMTransport
from conscience.backends.wire.connection import HTTPFailure, Reply
from conscience.backends.wire.http_client import apost, post
from conscience.backends.wire.origins import UnknownScheme, locate
from conscience.backends.wire.replies import json_object, reply_error
from conscience.backends.wire.transport import Sent, is_hooked, wire_failure
from conscience.errors import ConfigurationError
from conscience.messages.chunks import Chunks
from conscience.messages.completion import Body, Message
from conscience.messages.rendering import content_text

_SAMPLING = model_table.PLAIN | {"top_k", "min_p", "tools", "tool_choice", "reasoning_effort"}
_ADDRESSING = frozenset({"api_key", "api_base", "base_url", "headers", "extra_headers"})
_OWN_HEADERS = frozenset({"authorization", "content-type"})
"""Headers that the route itself says, whatever the caller does: LiteLLM drops them, too."""

_KEY_MISSING = re.compile("Missing API key for Decisions")
_ADDRESS_MISSING = re.compile(
    r"api_base is required for Decisions|requires api_base or \w+|Missing \w+_(API_BASE|ACCOUNT_ID)"
)
"""What LiteLLM says before it sends anything."""


class DecisionsTransport(LiteLLMTransport):
    """A decision model: ``call`` takes a text as messages and questions as the parameter ``questions``, and its answer is a
    chat body whose text is a JSON list of the probabilities of Yes, in the order of the questions.

    Args:
        model: a LiteLLM model string, without the prefix.
        options: address and credentials; what else LiteLLM needs to reach the provider.
        wire: whether the light wire may be taken.

    Raises:
        ConfigurationError: no decisions route serves the model, or an option is one of chat models.
    """

    def __init__(self, model: str, options: Mapping[str, Any], *, wire: bool) -> None:
        check_name(model)
        super().__init__(PREFIX + model, options)
        if unfit := sorted(self._defaults.keys() & _SAMPLING):
            raise ConfigurationError(f"{self.name}: a decision model takes no {', '.join(unfit)}", hint="leave it out")
        provider, slash, name = model.partition("/")
        if not slash:  # a bare name of OpenAI's, or one that LiteLLM may know
            provider, name = "openai" if model_table.entry("openai", model) else "", model
        self._model, self._provider = model, provider
        self._route = ROUTES.get(self._provider)
        self._engine = "wire" if wire else "litellm"
        self._wire = wire and self._route is not None and self._client.keys() <= _ADDRESSING and not self._defaults
        self._served = name

    @property
    def engine(self) -> str:
        return self._engine

    def supports(self, feature: str) -> bool:
        return False  # these are features of chat models

    def _served_by(self) -> str:
        return self._provider or "openai"

    def _served_at(self) -> list[str | None]:
        prefix = self._provider.upper()
        names = self._route.bases if self._route else (f"{prefix}_API_BASE", f"{prefix}_BASE_URL")
        return [os.environ.get(name) for name in names]

    def _check(self) -> None:
        """Its name was looked at when it was made; LiteLLM says what is missing."""

    @property
    def is_priced(self) -> bool:
        return self._prices is not None or self._row(self._served) is not None

    def prepare(self) -> None:
        if self._request("", ()) is None:
            litellm()

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        text, questions = self._asked(messages, params)
        if (sent := self._request(text, questions)) is not None:
            try:
                return self._read(post(*sent, seconds), len(questions))
            except UnknownScheme:
                pass  # a proxy that LiteLLM knows
            except (TimeoutError, HTTPFailure) as error:
                raise wire_failure(error, self.name, seconds) from None
        litellm()  # its import is no part of the attempt
        try:  # LiteLLM's own limit begins anew with every byte
            return call_within(seconds, partial(self._by_litellm, text, questions, seconds))
        except TimeoutError as error:
            raise wire_failure(error, self.name, seconds) from None

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        text, questions = self._asked(messages, params)
        if (sent := self._request(text, questions)) is not None:
            try:
                return self._read(await apost(*sent, seconds), len(questions))
            except UnknownScheme:
                pass
            except (TimeoutError, HTTPFailure) as error:
                raise wire_failure(error, self.name, seconds) from None
        await asyncio.to_thread(litellm)
        try:
            async with asyncio.timeout(seconds):
                return await self._aby_litellm(text, questions, seconds)
        except TimeoutError as error:
            raise wire_failure(error, self.name, seconds) from None

    def _asked(self, messages: Sequence[Message], params: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
        questions = params.get("questions")
        if not questions:
            raise writes_nothing(self.name, "answer a chat")
        return "\n\n".join(content_text(message.get("content")) for message in messages), questions

    # The light wire --------------------------------------------------------------------------------------------------

    def _request(self, text: str, questions: Sequence[str]) -> Sent | None:
        """What to send; None where the call is LiteLLM's.

        Raises:
            ConfigurationError: no key, or no address.
        """
        route = self._route
        if not self._wire or route is None or is_hooked():
            return None
        find, client = model_table.from_environment, self._client
        base = client.get("api_base") or client.get("base_url") or find(route.bases) or route.base
        key = client.get("api_key") or find(route.keys)
        if not base:
            raise ConfigurationError(f"{self.name}: no address", hint=f"set {route.bases[0]}, or pass api_base")
        if not key and route.needs_key:
            raise self._no_key(route.keys[0])
        more = self._headers()
        url = str(base).strip().rstrip("/").removesuffix("/v1") + route.path
        try:
            locate(url)
            _ = str(key).encode("ascii")
        except (UnknownScheme, UnicodeEncodeError):
            return None
        fixed = [("accept", "application/json"), ("user-agent", "dspy-conscience")]
        kept = {name.lower() for name in more}
        headers = [pair for pair in fixed if pair[0] not in kept] + list(more.items())
        headers += [("authorization", f"Bearer {key}")] if key else []
        headers.append(("content-type", "application/json"))
        return url, headers, orjson.dumps(request_body(self._served, text, questions, system_one=route.system_one))

    def _headers(self) -> dict[str, str]:
        more = {**(self._client.get("headers") or {}), **(self._client.get("extra_headers") or {})}
        return {name: str(value) for name, value in more.items() if name.lower() not in _OWN_HEADERS}

    def _read(self, reply: Reply, count: int) -> Answer:
        if not 200 <= reply.status < 300:
            raise reply_error(reply, self.name)
        body = decision_body(json_object(reply, self.name), count, self.name)
        return body, self.price(body)

    def price(self, body: Body) -> float | None:
        if self._prices is not None:
            return self._prices.dollars(body["usage"])
        row = self._row(body["model"]) or self._row(self._served)
        return price(Route(self._provider, self._served, _decision_prices(row)), body["usage"]) if row else None

    def _row(self, name: str) -> model_table.Entry | None:
        row = model_table.entry(self._provider, name)
        return row if row and "input_cost_per_token" in row else None

    # LiteLLM ---------------------------------------------------------------------------------------------------------

    def _by_litellm(self, text: str, questions: Sequence[str], seconds: float) -> Answer:
        with self._litellm_errors():
            raw = litellm().decisions(**self._decision_arguments(text, questions, seconds))
        return self._unpacked(raw, len(questions))

    async def _aby_litellm(self, text: str, questions: Sequence[str], seconds: float) -> Answer:
        with self._litellm_errors():
            raw = await litellm().adecisions(**self._decision_arguments(text, questions, seconds))
        return self._unpacked(raw, len(questions))

    def _decision_arguments(self, text: str, questions: Sequence[str], seconds: float) -> dict[str, Any]:
        client = {name: value for name, value in self._client.items() if name not in ("headers", "extra_headers")}
        return {
            **self._defaults,
            **client,
            "model": self._model,
            "input": text,
            "questions": predicates(questions),
            "extra_headers": self._headers() or None,
            "timeout": seconds,
            "num_retries": 0,
            "max_retries": 0,
            "cache": {"no-cache": True, "no-store": True},
        }

    @contextmanager
    def _litellm_errors(self) -> Iterator[None]:
        """LiteLLM's errors as DSPy's; a key or an address that is not set up is the caller's to set."""
        try:
            with litellm_errors(self._model):
                yield
        except LMError as error:
            if _KEY_MISSING.search(error.message):
                hint = "set the provider's key in the environment, or pass api_key"
                raise ConfigurationError(f"{self.name}: no credentials", hint=hint) from None
            if _ADDRESS_MISSING.search(error.message):
                hint = "set the provider's address in the environment, or pass api_base"
                raise ConfigurationError(f"{self.name}: no address", hint=hint) from None
            raise

    def _unpacked(self, raw: Any, count: int) -> Answer:
        cost = getattr(raw, "_hidden_params", {}).get("response_cost")
        dollars = float(cost) if isinstance(cost, int | float) and cost > 0 else None
        body = decision_body(raw.model_dump(), count, self.name)
        return body, dollars if self._prices is None else self._prices.dollars(body["usage"])


def _decision_prices(row: Mapping[str, Any]) -> dict[str, Any]:
    """A model's row with the prices of its decisions route, where these are others."""
    suffix = "_decisions"
    own = {name.removesuffix(suffix): value for name, value in row.items() if name.endswith(suffix)}
    return {**{name: value for name, value in row.items() if not name.endswith(suffix)}, **own}
