"""Where a call goes: one attempt at one model. Here: through LiteLLM, and to the embedded engine through it.

A transport raises only ``LMError`` for a failing model. Retries, fallbacks, caching and accounting belong to the backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from conscience._dspy.lm import LMError, litellm, litellm_errors, lm_errors
from conscience._dspy.streams import feed
from conscience._redaction import credentials_in, watch, without_credentials
from conscience.backends.embedded.catalogue import GREEDY, LOCAL, NO_LOOPS
from conscience.backends.embedded.weights import weights_of
from conscience.backends.habits.memory import Habits, habits_of
from conscience.backends.limits.timeouts import call_within
from conscience.backends.models.credentials import credentials
from conscience.backends.models.prices import RATES, TokenPrices
from conscience.backends.providers import address, features, is_free, is_priced, list_price, provider_name
from conscience.backends.wire.replies import readable
from conscience.backends.wire.streaming import streamed_body
from conscience.errors import ConfigurationError
from conscience.messages.chunks import Chunks
from conscience.messages.completion import Body, Message
from conscience.messages.parameters import merged, settings_for

Answer = tuple[Body, float | None]
"""The OpenAI chat body, and its price in dollars where it is known."""

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

    def identity(self, params: Mapping[str, Any], role: str | None = None) -> dict[str, Any]:
        """What shapes the answer to a call with these parameters beside messages and parameters; part of the cache key.

        It holds no secret.
        """

    def arguments(self, params: Mapping[str, Any], role: str | None = None) -> dict[str, Any]:
        """The parameters of a call that is asked with these, in this role: with the model's own settings where they say
        nothing."""

    def credentials(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What tells who asks with these parameters, given or found in the environment: part of the cache key by a keyed
        digest only. Empty where nothing does."""

    def supports(self, feature: str) -> bool:
        """Whether the model is known to take "logprobs", "schema" or "tools", to be a "reasoning" model, or to serve
        questions that are asked at once better than ones asked in turn ("parallel"), to show any number of candidates for
        a token ("many_candidates"), or to go on with a last turn of its own that was begun ("begun_answers")."""

    @property
    def sampling(self) -> Mapping[str, Any]:
        """The sampling parameters that the user set on it."""

    @property
    def habits(self) -> Habits:
        """What the model was seen to do at its address."""

    def secrets(self) -> list[str]:
        """Values that must not appear in any message."""

    @property
    def is_priced(self) -> bool:
        """Whether it is known what an answer costs, be it nothing."""

    def prepare(self) -> None:
        """Does ahead what the first call would do for the whole process: imports LiteLLM, starts the engine. It is done once
        and is no part of a call's time.

        Raises:
            ConfigurationError, BackendError: no call can succeed: a name, a key, an address, weights, an engine.
        """

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer: ...

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        """The async form of ``call``. With ``chunks``, the parameters ask for a stream, and the answer is fed to them as it
        comes; one that comes whole is not."""

    def price(self, body: Body) -> float | None:
        """What an answer costs in dollars by its usage; None where nothing tells."""


class LiteLLMTransport:
    """A LiteLLM model string and its options.

    Args:
        model: such as ``"openai/gpt-4o-mini"`` or ``"anthropic/claude-sonnet-4-5"``.
        options: address and credentials (``CLIENT_OPTIONS``) and default sampling parameters.
    """

    retries_itself = False
    _key_left_behind = False

    def __init__(self, model: str, options: Mapping[str, Any]) -> None:
        self.name = model
        self._prices = TokenPrices.of(options)
        options = {k: v for k, v in options.items() if k not in RATES}
        self._client = {k: v for k, v in options.items() if k in CLIENT_OPTIONS and v is not None}
        self._defaults = {k: v for k, v in options.items() if k not in CLIENT_OPTIONS and v is not None}
        self._checked = False
        watch(self)

    @property
    def sampling(self) -> Mapping[str, Any]:
        return self._defaults

    @property
    def model(self) -> str:
        """The name that ``transport_for`` makes the same of, with ``engine`` and ``options``."""
        return self.name

    @property
    def engine(self) -> str:
        """See ``model``."""
        return "litellm"

    @property
    def options(self) -> dict[str, Any]:
        """See ``model``; keys and addresses are among them."""
        return {**self._defaults, **self._client, **({} if self._prices is None else self._prices.options)}

    @property
    def habits(self) -> Habits:
        given = self._client.get("api_base") or self._client.get("base_url")
        where = given or next(filter(None, self._served_at()), "")
        return habits_of(self.name, str(where).rstrip("/"))

    def __getstate__(self) -> dict[str, Any]:
        client, defaults = without_credentials(self._client), without_credentials(self._defaults)
        left = len(client) + len(defaults) < len(self._client) + len(self._defaults)
        return self.__dict__ | {
            "_client": client,
            "_defaults": defaults,
            "_checked": False,
            "_key_left_behind": left or self._key_left_behind,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        watch(self)

    def identity(self, params: Mapping[str, Any], role: str | None = None) -> dict[str, Any]:
        shown = {k: v for k, v in self._client.items() if k not in SECRET_OPTIONS}
        defaults = settings_for(role, self._sampling(params))
        return {"model": self.name, "client": shown, "address": self._served_at(), "defaults": defaults}

    def _served_at(self) -> list[str | None]:
        """Where the environment says that the model is served."""
        return address(self.name, self._client.get("custom_llm_provider"))

    def _served_by(self) -> str:
        return provider_name(self.name, self._client.get("custom_llm_provider"))

    def arguments(self, params: Mapping[str, Any], role: str | None = None) -> dict[str, Any]:
        return merged(settings_for(role, self._sampling(params)), params)

    def credentials(self, params: Mapping[str, Any]) -> dict[str, Any]:
        options = {**self._defaults, **params, **self._client}
        return credentials(self._served_by(), options, self._served_at())

    def secrets(self) -> list[str]:
        return credentials_in({**self._client, **self._defaults})

    def supports(self, feature: str) -> bool:
        return feature in features(self.name, self._client.get("custom_llm_provider"))

    @property
    def is_priced(self) -> bool:
        return self._prices is not None or is_priced(self.name)

    def prepare(self) -> None:
        self._prepare_litellm()

    def _prepare_litellm(self) -> None:
        if not self._checked:
            self._check()  # a wrong name is told without LiteLLM
        litellm()

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        self._prepare_litellm()
        kwargs = self._arguments(messages, params, seconds)
        try:  # LiteLLM's own limit begins anew with every byte, blanks included
            raw = call_within(seconds, partial(self._completion, kwargs))
        except TimeoutError:
            raise timed_out(self.name, seconds) from None
        return self._unpack(raw)

    def _completion(self, kwargs: Mapping[str, Any]) -> Any:
        with litellm_errors(self.name):
            return litellm().completion(**kwargs)

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        if not self._checked:
            await asyncio.to_thread(self._prepare_litellm)  # an import of seconds must not hold up the event loop
        kwargs = self._arguments(messages, params, seconds)
        try:
            async with asyncio.timeout(seconds):
                with litellm_errors(self.name):
                    raw = await litellm().acompletion(**kwargs)
                    streamed = chunks is not None and hasattr(raw, "__aiter__")
                    if chunks is not None and streamed:
                        await feed(chunks, raw)
        except TimeoutError:
            raise timed_out(self.name, seconds) from None
        if chunks is None or not streamed:
            return self._unpack(raw)
        body = streamed_body(chunks, messages, self.name)
        return body, self.price(body)

    def price(self, body: Body) -> float | None:
        return self._prices.dollars(body.get("usage")) if self._prices is not None else list_price(self.name, body)

    def _unpack(self, raw: Any) -> Answer:
        body = _body(raw, self.name)
        if self._prices is not None:
            return body, self._prices.dollars(body.get("usage"))
        cost = getattr(raw, "_hidden_params", {}).get("response_cost")
        if isinstance(cost, int | float) and cost > 0:
            return body, float(cost)
        return body, 0.0 if is_free(self.name) else None

    def _sampling(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The sampling parameters where a call with these says nothing."""
        return self._defaults

    def _arguments(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return {
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
        features(self.name, self._client.get("custom_llm_provider"))
        if "api_key" not in self._client:
            missing = litellm().validate_environment(self.name)["missing_keys"]
            # Several keys, as clouds have, may also come from a profile or a role that nobody sees here.
            if len(missing) == 1 and missing[0].endswith("_API_KEY"):
                raise self._no_key(missing[0])
        self._checked = True

    def _no_key(self, name: str) -> ConfigurationError:
        left_behind = " (its key was an argument, and a pickle holds none)" if self._key_left_behind else ""
        return ConfigurationError(f"{self.name}: no credentials{left_behind}", hint=f"set {name}")


class LocalTransport(LiteLLMTransport):
    """Weights on the embedded engine: their server is started by the first call.

    Args:
        weights: a name of the catalogue or a GGUF file; None for the built-in SmolLM2-135M-Instruct.
        options: sampling parameters, llama.cpp's own included; they come before the model's.

    Raises:
        ConfigurationError: there is neither such a model nor such a file.
    """

    def __init__(self, weights: str | None, options: Mapping[str, Any]) -> None:
        self._weights = weights_of(weights)
        super().__init__(self._weights.identity, options)
        self._options = options

    @property
    def sampling(self) -> Mapping[str, Any]:
        return self._options

    @property
    def model(self) -> str:
        return self.name if self._weights.file is None else f"{LOCAL}:{self._weights.file}"

    def supports(self, feature: str) -> bool:
        # Not parallel: questions at once would go to slots of their own, each of which would read the draft anew.
        return feature in {"logprobs", "many_candidates", "begun_answers", "schema", "schema_limits", "slow_prompts"}

    def _sampling(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """One token repeats nothing, and the figures of a gate must not hang on a sampler. A greedy answer needs one against
        repetitions; the publisher's other parameters are for answers that are drawn."""
        own = self._weights.sampling
        asked = {**own, **self._options, **params}
        if asked.get("max_tokens") == 1:
            base = GREEDY
        elif asked.get("temperature") == 0:
            base = {**NO_LOOPS, **GREEDY, "max_tokens": own["max_tokens"]}
        else:
            base = own
        merged = {**base, **self._options}
        return {name: value for name, value in merged.items() if value is not None and name not in CLIENT_OPTIONS}

    @property
    def is_priced(self) -> bool:
        return True  # it costs nothing

    def prepare(self) -> None:
        from conscience.backends.embedded.local import endpoint

        endpoint(self._weights)
        self._prepare_litellm()

    def _check(self) -> None:
        """Its name and key are our own."""
        self._checked = True

    def credentials(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def _arguments(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        from conscience.backends.embedded.local import endpoint

        server = endpoint(self._weights)
        arguments = super()._arguments(messages, params, seconds)
        return arguments | {"model": f"openai/{server.model}", "api_base": server.base_url, "api_key": server.api_key}

    def call(self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float) -> Answer:
        return super().call(messages, params, seconds)[0], 0.0

    async def acall(
        self, messages: Sequence[Message], params: Mapping[str, Any], seconds: float, chunks: Chunks | None = None
    ) -> Answer:
        return (await super().acall(messages, params, seconds, chunks))[0], 0.0

    def price(self, body: Body) -> float | None:
        return 0.0


def timed_out(model: str, seconds: float) -> LMError:
    """The error where no whole answer came in time."""
    error: LMError = lm_errors.LMTimeoutError(f"no answer within {seconds:.3g} seconds", model=model)
    return error


def _body(raw: Any, model: str) -> Body:
    """LiteLLM's answer as a chat body; it hands on what servers say, whatever its types say."""
    try:
        body = raw.model_dump(exclude_none=True, warnings=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise lm_errors.LMServerError(f"the answer cannot be read: {type(error).__name__}", model=model) from None
    return readable(body, model)
