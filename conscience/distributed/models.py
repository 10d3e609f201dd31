"""Models as data: their names and what they were set to, by which another process makes the same backends.

No key and no address is part of it. A model that was given one as an argument is refused, rather than asked without it, or
somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from conscience._dspy.lm import dspy_keeps_on_disk
from conscience.backends.backend import Backend
from conscience.backends.lm_transport import LMTransport
from conscience.backends.models.credentials import secret_options
from conscience.backends.roles import Roles
from conscience.backends.storage.cache import shared_cache
from conscience.backends.transports import CLIENT_OPTIONS, LiteLLMTransport, Transport
from conscience.distributed.data import is_json
from conscience.distributed.names import named
from conscience.errors import ConfigurationError

_PLACES = CLIENT_OPTIONS - {"custom_llm_provider", "api_version"}
"""Options that say where a call goes, or in whose name."""


def roles_data(roles: Roles) -> dict[str, Any]:
    """Roles as JSON types: role → its backend. Where no role has one, DSPy's LM generates.

    Raises:
        ConfigurationError: a model exists in this process only, or was given a key or an address as an argument.
    """
    return {role: backend_data(backend) for role, backend in roles.named.items()}


def roles_from_data(data: Mapping[str, Any]) -> Roles:
    """The roles that ``roles_data`` wrote."""
    return Roles({role: backend_from_data(backend) for role, backend in data.items()})


def backend_data(backend: Backend) -> dict[str, Any]:
    """A backend as JSON types.

    Raises:
        ConfigurationError: see ``roles_data``.
    """
    kept = backend.__getstate__()["_cache"] if dspy_keeps_on_disk() else None
    cache = kept is not None and (True if kept is shared_cache() or kept.directory is None else str(kept.directory))
    models = [_model_data(transport) for transport in backend.transports]
    return {"models": models, "timeout": backend.timeout, "retries": backend.retries, "cache": cache}


def backend_from_data(data: Mapping[str, Any]) -> Backend:
    """The backend that ``backend_data`` wrote, with the keys and addresses of this process's environment."""
    settings = {name: data[name] for name in ("timeout", "retries", "cache")}
    first, *others = data["models"]
    return _made(first, settings, [_made(other, settings) for other in others])


def _made(model: Mapping[str, Any], settings: Mapping[str, Any], fallbacks: list[Backend] | None = None) -> Backend:
    given, options = model["model"], dict(model["options"])
    if isinstance(given, Mapping):
        given = named(given["class"])() if "class" in given else dspy.BaseLM.load_state(given)
    return Backend(given, engine=model["engine"], fallbacks=fallbacks or (), **settings, **options)


def _model_data(transport: Transport) -> dict[str, Any]:
    if isinstance(transport, LMTransport):
        options = {} if transport.prices is None else transport.prices.options
        return {"model": _lm_data(transport), "engine": "wire", "options": options}
    if not isinstance(transport, LiteLLMTransport):
        raise _only_here(transport.name)
    _check_options(transport.name, transport.options)
    return {"model": transport.model, "engine": transport.engine, "options": transport.options}


def _lm_data(transport: LMTransport) -> dict[str, Any]:
    lm = transport.lm
    if getattr(type(lm), "stands_in", False):
        return {"class": f"{type(lm).__module__}:{type(lm).__qualname__}"}
    if type(lm) is not dspy.LM or not isinstance(getattr(lm, "engine", None), str):
        raise _only_here(transport.name)
    _check_options(transport.name, lm.kwargs)
    state: dict[str, Any] = lm.dump_state()
    return state


def _only_here(model: str) -> ConfigurationError:
    hint = "name a LiteLLM model, or a dspy.LM of one"
    return ConfigurationError(f"the model {model} exists in this process only, and cannot be sent to workers", hint=hint)


def _check_options(model: str, options: Mapping[str, Any]) -> None:
    """Refuses what may not travel."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted((_PLACES & given.keys()) | secret_options(given).keys()):
        raise ConfigurationError(
            f"{model}: {name}= is an argument, and neither keys nor addresses are sent to workers",
            hint="leave it out, and set it in the environment, here and where they run",
        )
    for name, value in given.items():
        if not is_json(value):
            raise ConfigurationError(f"{model}: {name}= is a {type(value).__name__}, which cannot be sent to workers")
