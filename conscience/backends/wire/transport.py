"""The light wire: calls of OpenAI's chat wire without LiteLLM, which takes seconds to import and milliseconds a call.

It sends what LiteLLM would send, to where LiteLLM would send it, and gives the same answers, errors, usage and prices, so
cached answers and journals serve both. It takes the calls that it knows: a provider of ``model_table.DIALECTS``, parameters
and messages that go there as they are, and nobody who hooked into LiteLLM. Every other call is LiteLLM's, call by call.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from conscience._dspy.lm import LMError, lm_errors
from conscience.backends.embedded.catalogue import is_local, weights_named
from conscience.backends.models import table as model_table
from conscience.backends.models.prices import BATCH, price
from conscience.backends.models.table import Route
from conscience.backends.transports import Answer, LiteLLMTransport, LocalTransport, timed_out
from conscience.backends.wire.connection import HTTPFailure, Reply, tls_context
from conscience.backends.wire.http_client import apost, post
from conscience.backends.wire.origins import UnknownScheme, locate
from conscience.backends.wire.replies import chat_body, reply_error
from conscience.backends.wire.requests import has_plain_values, plain_messages, thinking_refuses
from conscience.backends.wire.streaming import astreamed
from conscience.errors import ConfigurationError
from conscience.messages.chunks import STREAMING, Chunks
from conscience.messages.completion import Body, Message

HOOKS = (
    *("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback"),
    *("_async_input_callback", "_async_success_callback", "_async_failure_callback"),
    *("pre_call_rules", "post_call_rules", "model_alias_map", "custom_provider_map", "secret_manager_client"),
    *("api_base", "api_key", "openai_key", "azure_key", "groq_key", "xai_key", "together_key", "openrouter_key"),
    *("api_version", "organization", "headers", "proxy_auth", "drop_params", "modify_params", "use_litellm_proxy"),
    *("client_session", "aclient_session", "cache", "model_fallbacks", "cost_discount_config", "cost_margin_config"),
    *("openai_system_messages_first", "route_all_chat_openai_to_responses", "forward_traceparent_to_llm_provider"),
    "ssl_certificate",
)
"""Settings of LiteLLM's that change what a call does; all are empty where nobody touched them."""

VARIABLES = (
    *("USE_LITELLM_PROXY", "LITELLM_PROXY_API_BASE", "LITELLM_PROXY_API_KEY", "LITELLM_DROP_PARAMS"),
    *("LITELLM_MODIFY_PARAMS", "SSL_VERIFY", "SSL_CERTIFICATE", "SSL_SECURITY_LEVEL"),
)
"""The same in the environment."""

_ADDRESSING = frozenset({"api_key", "api_base", "base_url", "api_version", "organization", "headers", "extra_headers"})

Sent = tuple[str, Sequence[tuple[str, str]], bytes]
"""Address, headers and body of a request."""


def is_hooked() -> bool:
    """Whether somebody in this process, or who started it, has set LiteLLM up: then every call is LiteLLM's."""
    if any(map(os.environ.get, VARIABLES)):
        return True
    if (module := model_table.loaded_litellm()) is None:
        return False
    settings = vars(module)
    return any(map(settings.get, HOOKS)) or settings.get("ssl_verify", True) is not True


@dataclass(frozen=True)
class Account:
    """A provider's account: where it is, and who asks.

    Attributes:
        base: the address that paths such as ``/chat/completions`` follow; Azure's resource.
        version: Azure's, of its API.
        headers: further ones, such as the organization.
    """

    provider: str
    base: str
    key: str = field(repr=False)
    version: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class OpenAIWireTransport(LiteLLMTransport):
    """A model whose provider speaks OpenAI's chat wire.

    Args:
        to: where its name leads.
        model: its LiteLLM model string.
        options: see ``LiteLLMTransport``.
    """

    def __init__(self, to: Route, model: str, options: Mapping[str, Any]) -> None:
        super().__init__(model, options)
        self._to = to
        self._features: frozenset[str] | None = None

    @property
    def engine(self) -> str:
        return "wire"

    @property
    def provider(self) -> str:
        """Who serves it, by LiteLLM's name."""
        return self._to.provider

    def supports(self, feature: str) -> bool:
        if model_table.loaded_litellm() is not None:  # it may know of models that users registered
            return super().supports(feature)
        if self._features is None:
            self._features = model_table.features(self._to)
        return feature in self._features

    def prepare(self) -> None:
        if is_hooked():
            self._prepare_litellm()
        elif (where := self._address()) is not None and where[0].startswith("https"):
            tls_context()

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        answer = self.try_call(messages, params, seconds)
        return super().call(messages, params, seconds) if answer is None else answer

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        answer = await self.atry_call(messages, params, seconds, chunks)
        return await super().acall(messages, params, seconds, chunks) if answer is None else answer

    def try_call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer | None:
        """One attempt over the light wire; None where the call is LiteLLM's."""
        try:
            sent = self._request(messages, params)
            return None if sent is None else self._answer(post(*sent, seconds))
        except UnknownScheme:
            return None
        except (TimeoutError, HTTPFailure) as error:
            raise wire_failure(error, self.name, seconds) from None

    async def atry_call(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer | None:
        """The async form of ``try_call``; with ``chunks``, the answer is streamed into them."""
        try:
            sent = self._request(messages, params if chunks is None else self._beside(params))
            if sent is None or chunks is None:
                return None if sent is None else self._answer(await apost(*sent, seconds))
            body = await astreamed(sent, messages, seconds, chunks, self.name)
            return body, self.price(body)
        except UnknownScheme:
            return None
        except (TimeoutError, HTTPFailure) as error:
            raise wire_failure(error, self.name, seconds) from None

    # The answer ------------------------------------------------------------------------------------------------------

    def _answer(self, reply: Reply) -> Answer:
        if not 200 <= reply.status < 300:
            raise reply_error(reply, self.name)
        body = chat_body(reply, self.name)
        return body, self.price(body)

    def batched(self, reply: Reply) -> Answer:
        """The answer that a reply out of a batch file is, at the price of one.

        Raises:
            LMError: it is none.
        """
        body, _ = self._answer(reply)
        return body, self.batch_price(body["usage"])

    def batch_price(self, usage: Mapping[str, Any]) -> float | None:
        """Dollars for a usage where the request came in a batch file; a price of the user's own is taken as it is."""
        return price(self._to, usage, BATCH) if self._prices is None else self._prices.dollars(usage)

    def price(self, body: Body) -> float | None:
        usage = body["usage"]
        if self._prices is not None:
            return self._prices.dollars(usage)
        provider = self._to.provider
        if provider == "openrouter":
            return _dollars(usage.get("cost"))
        if provider == "xai":
            _fold_reasoning(usage)
            ticks = usage.get("cost_in_usd_ticks")
            if isinstance(ticks, int) and (told := _dollars(ticks / 1e10)) is not None:
                return told
        return price(self._to, usage, body.get("service_tier"))

    # The request -----------------------------------------------------------------------------------------------------

    def _request(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Sent | None:
        """What to send; None where the call is LiteLLM's.

        Raises:
            ConfigurationError: no key, or no address.
            LMUnsupportedFeatureError: the model refuses a parameter.
        """
        if is_hooked() or (where := self._address()) is None or (content := self.content(messages, params)) is None:
            return None
        url, headers = where
        return url, headers, content

    def content(self, messages: Sequence[Message], params: Mapping[str, Any]) -> bytes | None:
        """The body of a request, as JSON; None where only LiteLLM can shape it.

        Raises:
            LMUnsupportedFeatureError: the model refuses a parameter.
        """
        to = self._to
        asked = {k: v for k, v in params.items() if v is not None}
        more = asked.pop("extra_body", None) or {}
        shaped, sent_messages = self._shaped(asked), plain_messages(messages, to)
        if shaped is None or sent_messages is None or not isinstance(more, Mapping):
            return None
        body = {"model": to.model, "messages": sent_messages, **shaped, **more}
        if to.provider == "openrouter":
            body.setdefault("usage", {"include": True})
        try:
            return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            try:  # whole numbers beyond 64 bits
                return json.dumps(body, ensure_ascii=False).encode()
            except (TypeError, ValueError):
                return None

    def account(self) -> Account | None:
        """Where the provider's other endpoints are, and who asks there; None where only LiteLLM knows the way.

        Raises:
            ConfigurationError: no key, or no address.
        """
        if (where := self._address()) is None:
            return None
        base, key = self._base_and_key()
        version = self._client.get("api_version") or os.environ.get("AZURE_API_VERSION")
        keys = {"authorization", "api-key", "accept", "content-type", "user-agent"}
        more = {name: value for name, value in where[1] if name.lower() not in keys}
        return Account(self._to.provider, base.strip().rstrip("/"), key, version, more)

    def _base_and_key(self) -> tuple[Any, Any]:
        client, dialect, find = self._client, self._to.dialect, model_table.from_environment
        base = client.get("api_base") or client.get("base_url") or find(dialect.bases) or dialect.base
        return base, client.get("api_key") or find(dialect.keys) or dialect.key

    def _address(self) -> tuple[str, Sequence[tuple[str, str]]] | None:
        """The address and the headers; None where only LiteLLM knows the way."""
        client, dialect, provider = self._client, self._to.dialect, self._to.provider
        if not client.keys() <= _ADDRESSING:
            return None
        find = model_table.from_environment
        base, key = self._base_and_key()
        more = {**(client.get("headers") or {}), **(client.get("extra_headers") or {})}
        if provider == "azure":
            version = client.get("api_version") or os.environ.get("AZURE_API_VERSION")
            if not (base and key and version) or any(part in base for part in ("/openai", "gateway", "services.ai")):
                return None  # identities other than a key, and other forms of addresses
            path = f"/openai/deployments/{self._to.model}/chat/completions?api-version={version}"
            named = [("api-key", key)]
        else:
            if not base:
                hint = f"set {dialect.bases[0]}, or pass api_base"
                raise ConfigurationError(f"{self.name}: no address of the server", hint=hint)
            if not key:
                raise self._no_key(dialect.key_name)
            if provider == "mistral" and not base.rstrip("/").endswith("/v1"):
                return None
            path = "/chat/completions"
            named = [("authorization", f"Bearer {key}")]
        if not isinstance(base, str) or "chat/completions" in base or not all(isinstance(v, str) for v in more.values()):
            return None
        url = base.strip().rstrip("/") + path
        try:
            locate(url)
            _ = str(key).encode("ascii")
        except (UnknownScheme, UnicodeEncodeError):
            return None
        if provider in ("openai", "lm_studio"):
            organization = client.get("organization") or find(("OPENAI_ORGANIZATION", "OPENAI_ORG_ID"))
            project = os.environ.get("OPENAI_PROJECT_ID")
            named += [("openai-organization", organization)] if organization else []
            named += [("openai-project", project)] if project else []
        elif provider == "openrouter":
            referer, title = os.environ.get("OR_SITE_URL"), os.environ.get("OR_APP_NAME")
            named += [("http-referer", referer or "https://litellm.ai"), ("x-title", title or "liteLLM")]
        own = {name.lower() for name in more}
        fixed = [("accept", "application/json"), ("content-type", "application/json"), ("user-agent", "dspy-conscience")]
        return url, [*((k, v) for k, v in (*fixed, *named) if k not in own), *more.items()]

    def _shaped(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """The parameters as the provider takes them; None where LiteLLM must shape them."""
        to, dialect = self._to, self._to.dialect
        shaped = {name: value for name, value in asked.items() if name not in ("stream", "timeout", "cache") or value}
        if not shaped.keys() <= dialect.params or not has_plain_values(shaped, to):
            return None
        refused = model_table.unsupported(to)
        if shaped.get("n") == 1 and "n" in refused:
            del shaped["n"]
        if lacking := sorted(shaped.keys() & refused):
            raise self._refused(lacking)
        if model_table.is_o_series(to) or model_table.is_gpt_5(to):
            if "max_tokens" in shaped:
                shaped["max_completion_tokens"] = shaped.pop("max_tokens")
            if (forbidden := thinking_refuses(shaped, to)) is None:
                return None
            if forbidden:
                raise self._refused(forbidden)
        if to.provider == "openai" and to.entry is None:
            shaped.pop("user", None)
        if not shaped.get("tools"):
            shaped.pop("tool_choice", None)
        for name, other in (dialect.renamed or {}).items():
            if name in shaped:
                shaped[other] = shaped.pop(name)
        return shaped

    def _beside(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a streamed call: what asks for the stream goes beside those that are checked."""
        streaming = {name: params[name] for name in STREAMING if name in params and name not in self._to.dialect.lacks}
        asked = {name: value for name, value in params.items() if name not in STREAMING}
        return {**asked, "extra_body": {**(asked.get("extra_body") or {}), **streaming}}

    def _refused(self, names: Sequence[str]) -> LMError:
        message = f"{self._to.provider} does not support parameters: {list(names)}, for model={self._to.model}"
        error: LMError = lm_errors.LMUnsupportedFeatureError(message, features=list(names), model=self.name, status=400)
        return error


def _dollars(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    return number if 0 < number < float("inf") else None


def _fold_reasoning(usage: dict[str, Any]) -> None:
    """xAI counts reasoning apart from completion, and both in the total."""
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    if usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] + reasoning:
        usage["completion_tokens"] += reasoning


class LocalWireTransport(LocalTransport):
    """The embedded model over the light wire."""

    _found = False

    @property
    def engine(self) -> str:
        return "wire"

    def prepare(self) -> None:
        self._served()
        if is_hooked():
            self._prepare_litellm()

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        answer = self._served().try_call(messages, self._as_sent(params), seconds)
        return super().call(messages, params, seconds) if answer is None else (answer[0], 0.0)

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        # Starting the engine must not hold up the event loop.
        served = self._served() if self._found else await asyncio.to_thread(self._served)
        answer = await served.atry_call(messages, self._as_sent(params), seconds, chunks)
        return await super().acall(messages, params, seconds, chunks) if answer is None else (answer[0], 0.0)

    def _served(self) -> OpenAIWireTransport:
        from conscience.backends.embedded.local import endpoint

        server = endpoint(self._weights)
        self._found = True
        options = {"api_base": server.base_url, "api_key": server.api_key}
        return OpenAIWireTransport(Route("openai", server.model, None), self.name, options)

    def _as_sent(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as they are sent; what OpenAI has no name for is llama.cpp's."""
        known = model_table.DIALECTS["openai"].params | {"extra_body"}
        own = {name: value for name, value in params.items() if name not in known}
        sent = {name: value for name, value in params.items() if name in known}
        return {**sent, "extra_body": {**own, **(sent.get("extra_body") or {})}}


def embed_locally(model: str, texts: Sequence[str], seconds: float) -> list[list[float]] | None:
    """The embeddings of weights on the embedded engine; None where somebody hooked into LiteLLM.

    Raises:
        LMError: they did not come.
    """
    if is_hooked():
        return None
    try:
        return _vectors(post(*_embedding_request(model, texts), seconds), model)
    except (TimeoutError, HTTPFailure) as error:
        raise wire_failure(error, model, seconds) from None


async def aembed_locally(model: str, texts: Sequence[str], seconds: float) -> list[list[float]] | None:
    """The async form of ``embed_locally``."""
    if is_hooked():
        return None
    try:
        return _vectors(await apost(*_embedding_request(model, texts), seconds), model)
    except (TimeoutError, HTTPFailure) as error:
        raise wire_failure(error, model, seconds) from None


def _embedding_request(model: str, texts: Sequence[str]) -> Sent:
    from conscience.backends.embedded.local import endpoint

    server = endpoint(weights_named(model), embedding=True)
    body = {"model": server.model, "input": list(texts), "encoding_format": "float"}
    headers = [("authorization", f"Bearer {server.api_key}"), ("content-type", "application/json")]
    return f"{server.base_url}/embeddings", headers, orjson.dumps(body)


def _vectors(reply: Reply, model: str) -> list[list[float]]:
    if not 200 <= reply.status < 300:
        raise reply_error(reply, model)
    try:
        rows = sorted(orjson.loads(reply.content)["data"], key=lambda row: row["index"])
        return [[float(value) for value in row["embedding"]] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise lm_errors.LMServerError(f"the answer holds no embeddings: {error!r}", model=model) from None


def wire_failure(error: Exception, model: str, seconds: float) -> LMError:
    """The error where no whole answer came: a ``TimeoutError``, or a connection's failure."""
    if isinstance(error, TimeoutError):
        return timed_out(model, seconds)
    failure: LMError = lm_errors.LMTransportError(f"Connection error: {error}", model=model)
    return failure


def wire_transport(model: str, options: Mapping[str, Any]) -> LiteLLMTransport:
    """The light wire to a model where it leads there, LiteLLM elsewhere.

    Raises:
        ConfigurationError: the name leads to no provider.
    """
    if is_local(model):
        return LocalWireTransport(weights_named(model), options)
    to = model_table.route(model) if options.get("custom_llm_provider") is None else None
    return LiteLLMTransport(model, options) if to is None else OpenAIWireTransport(to, model, options)
