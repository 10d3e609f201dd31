"""Which transport a model's name, or an LM, is called through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conscience._dspy.lm import BaseLM
from conscience.backends.decisions.naming import PREFIX, only_decides
from conscience.backends.decisions.transport import DecisionsTransport
from conscience.backends.embedded.catalogue import is_local, weights_named
from conscience.backends.lm_transport import LMTransport
from conscience.backends.models.prices import RATES, TokenPrices
from conscience.backends.transports import LiteLLMTransport, LocalTransport, Transport
from conscience.backends.wire.transport import wire_transport
from conscience.errors import ConfigurationError


def transport_for(model: Any, engine: str, options: Mapping[str, Any]) -> Transport:
    """The transport of a model.

    Args:
        model: a LiteLLM model string, "local", "local:NAME", "local:FILE.gguf", "decisions:" and a LiteLLM model string, a
            ``dspy.LM``, or a transport that is there already.
        engine: "wire", "litellm", or "auto" for the engine of DSPy's choice; see ``Backend``.
        options: see ``LiteLLMTransport``.

    Raises:
        ConfigurationError: an empty or malformed name, or options beside a ``dspy.LM``.
    """
    if isinstance(model, LiteLLMTransport):
        return model
    if isinstance(model, BaseLM):
        if more := sorted(options.keys() - set(RATES)):
            raise ConfigurationError(f"options {more} do not go with a dspy.LM", hint="set them on the LM")
        return LMTransport(model, TokenPrices.of(options))
    if not isinstance(model, str) or not model.strip() or not model.isprintable() or (" " in model and not is_local(model)):
        raise ConfigurationError(f"{model!r} is no model name", hint="write provider/model, such as openai/gpt-4o-mini")
    if model.startswith(PREFIX):
        return DecisionsTransport(model.removeprefix(PREFIX), options, wire=engine == "wire")
    if engine == "wire" and not model.endswith("/"):
        return wire_transport(model, options)
    if is_local(model):
        return LocalTransport(weights_named(model), options)
    if model.endswith("/"):
        raise ConfigurationError(f"{model!r} names a provider but no model", hint="write provider/model")
    if engine == "auto":
        import dspy

        own = {name: value for name, value in options.items() if name not in RATES}
        return LMTransport(dspy.LM(model, cache=False, **own), TokenPrices.of(options))
    return LiteLLMTransport(model, options)


def check_alike(transports: Sequence[Transport]) -> None:
    """Refuses fallbacks between decision models and chat models: what the one is asked, the other cannot answer.

    Raises:
        ConfigurationError: there are both.
    """
    deciding = [transport.name for transport in transports if only_decides(transport.name)]
    if deciding and len(deciding) < len(transports):
        other = next(transport.name for transport in transports if transport.name not in deciding)
        raise ConfigurationError(
            f"{deciding[0]} and {other} are no fallbacks of each other: one decides, the other writes",
            hint="name decision models as fallbacks of decision models",
        )
