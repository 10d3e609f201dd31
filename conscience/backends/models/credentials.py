"""What tells one caller of a provider from another: keys, headers, organizations, projects, however they were given.

Two callers must not share an answer: what one may ask, and what was answered to one, is no business of the other's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from conscience.backends.models.table import loaded_litellm

_SECRET_WORDS = frozenset(
    {"key", "keys", "token", "secret", "password", "passphrase", "credential", "credentials", "auth", "authorization"}
    | {"headers", "cookie", "cookies", "session"}
)
_TENANT_WORDS = frozenset(
    {"org", "organization", "project", "tenant", "client", "account", "user", "username", "profile", "role"}
)
_ADDRESS_WORDS = frozenset({"base", "url", "host", "endpoint", "region", "location", "version", "workspace", "space"})

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "bedrock": ("AWS",),
    "sagemaker": ("AWS",),
    "vertex": ("GOOGLE", "GCLOUD"),
    "gemini": ("GOOGLE",),
    "huggingface": ("HF",),
    "openrouter": ("OR",),
    "watsonx": ("WX", "IBM"),
    "cohere": ("CO",),
    "volcengine": ("ARK",),
    "perplexity": ("PERPLEXITYAI",),
    "nvidia": ("NGC",),
    "text": ("OPENAI",),
    "custom": ("OPENAI",),
}
"""What a provider's variables begin with beside its own name; by the first word of that."""

_SETTINGS = frozenset({"organization", "headers", "api_base", "api_version", "vertex_project", "vertex_location"})
"""LiteLLM's own settings of this kind, beside its keys; they hold for whatever provider."""


def credentials(provider: str, options: Mapping[str, Any], addresses: Sequence[str | None]) -> dict[str, Any]:
    """What tells who makes a call; empty where nothing does, as with a server of one's own.

    Args:
        provider: LiteLLM's name of it.
        options: of the model and of the call.
        addresses: that were found in the environment.
    """
    places = [options.get("api_base"), options.get("base_url"), *addresses]
    holding = [url for url in places if isinstance(url, str) and ("@" in url or "?" in url)]
    return {**_found(provider), **secret_options(options), **({"addresses": holding} if holding else {})}


def secret_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a model's options that are keys and the like, by name; headers too."""
    return {name: value for name, value in options.items() if value is not None and _is_secret(name)}


@lru_cache(maxsize=512)
def _is_secret(name: str) -> bool:
    return not _SECRET_WORDS.isdisjoint(name.lower().split("_"))


def _found(provider: str) -> dict[str, Any]:
    """What a provider's calls are signed with where no option says it: from the environment, and from LiteLLM's settings."""
    found: dict[str, Any] = {}
    signed = False
    starts = _starts(provider)
    for name in os.environ:
        if name.startswith(starts) and (kind := _kind(name)):
            value = os.environ.get(name)
            if value:
                found[name] = value
                signed = signed or kind == "who"
    found = found if signed else {}
    if (module := loaded_litellm()) is not None:
        settings = vars(module)
        for name in _setting_names():
            if (value := settings.get(name)) and isinstance(value, str | dict):
                found[f"litellm.{name}"] = value
    return found


@lru_cache(maxsize=1)
def _setting_names() -> tuple[str, ...]:
    return tuple(name for name in vars(loaded_litellm()) if name in _SETTINGS or name.endswith("_key"))


@lru_cache(maxsize=64)
def _starts(provider: str) -> tuple[str, ...]:
    name = provider.lower().replace("-", "_")
    first = name.split("_")[0]
    own = {name, first, name.replace("_", "")}
    return tuple(sorted({f"{word.upper()}_" for word in own} | {f"{word}_" for word in _ALIASES.get(first, ())}))


@lru_cache(maxsize=512)
def _kind(variable: str) -> str:
    words = set(variable.lower().split("_")[1:])
    if words & (_SECRET_WORDS | _TENANT_WORDS):
        return "who"
    return "where" if words & _ADDRESS_WORDS else ""
