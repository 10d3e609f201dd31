"""What LiteLLM's tables say of a model: who serves it and where, what it can do, what it costs."""

from __future__ import annotations

import os
from functools import lru_cache

from conscience._dspy.lm import litellm
from conscience.backends.models import prices
from conscience.backends.models.table import address_provider, entry, is_name, route
from conscience.errors import ConfigurationError
from conscience.messages.completion import Body


def address(model: str, provider: str | None = None) -> list[str | None]:
    """Where the environment says that a LiteLLM model is served; the model's name alone does not tell two servers apart."""
    name = provider_name(model, provider).upper().replace("-", "_")
    return [os.environ.get(f"{name}_{suffix}") for suffix in ("API_BASE", "BASE_URL")]


@lru_cache(maxsize=256)
def provider_name(model: str, provider: str | None = None) -> str:
    """The provider that LiteLLM takes a model's name for; what stands before the slash where it knows none."""
    if provider is None and (known := address_provider(model)) is not None:
        return known
    lite = litellm()
    try:
        name = str(lite.get_llm_provider(model, custom_llm_provider=provider)[1])
        return name.removesuffix("_chat")  # ollama_chat is served by ollama
    except lite.BadRequestError:
        return model.split("/", 1)[0]


@lru_cache(maxsize=256)
def features(model: str, provider: str | None) -> frozenset[str]:
    """What LiteLLM's table says of a model; a model that it does not know has what its API's dialect has.

    Raises:
        ConfigurationError: its name leads to no provider.
    """
    if provider is None and is_name(model) is False:
        raise _no_provider(model)
    lite = litellm()
    known = {"parallel"}
    try:
        lite.get_llm_provider(model, custom_llm_provider=provider)
        params = lite.get_supported_openai_params(model=model, custom_llm_provider=provider) or []
        if lite.supports_reasoning(model, custom_llm_provider=provider):
            known.add("reasoning")
        if lite.supports_response_schema(model=model, custom_llm_provider=provider):
            known.add("schema")
        if lite.supports_function_calling(model=model, custom_llm_provider=provider):
            known.add("tools")
    except lite.BadRequestError as error:
        raise _no_provider(model) from error
    # A reasoning model thinks before its first written token, so that token's log-probability is no verdict.
    if "logprobs" in params and "top_logprobs" in params and "reasoning" not in known:
        known.add("logprobs")
    return frozenset(known)


def _no_provider(model: str) -> ConfigurationError:
    hint = "write provider/model, such as openai/gpt-4o-mini, or local for the embedded model"
    return ConfigurationError(f"model {model!r} names no provider that LiteLLM knows", hint=hint)


def list_price(model: str, body: Body) -> float | None:
    """The price of an answer in dollars; None where LiteLLM's list has none for the model."""
    usage = body.get("usage") or {}
    if (to := route(model)) is not None:
        return prices.price(to, usage)
    lite = litellm()
    try:
        dollars = lite.cost_per_token(
            model=model,
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
        )
    except Exception:  # a model without a price: LiteLLM has raised several kinds of error for it
        return None
    return float(sum(dollars)) or (0.0 if is_free(model) else None)


def is_priced(model: str) -> bool:
    """Whether LiteLLM's list has a price for a model; OpenRouter tells its own with each answer."""
    provider, slash, name = model.partition("/")
    if provider == "openrouter" or prices.is_priced(entry(provider, name) if slash else entry("", model)):
        return True
    if route(model) is not None or is_name(model) is False:
        return False
    return prices.is_priced(_info(model))


def is_free(model: str) -> bool:
    """Whether LiteLLM's list says of a model that it costs nothing, as it does of Ollama's."""
    info = _info(model)
    return prices.is_priced(info) and not any(value for key, value in (info or {}).items() if "cost_per" in key)


def _info(model: str) -> dict[str, object] | None:
    try:
        return dict(litellm().get_model_info(model))
    except Exception:  # a model that is not on the list: LiteLLM has raised several kinds of error for it
        return None
