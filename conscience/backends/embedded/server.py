"""The embedded model's server, as a process of its own: ``local.py`` starts it and speaks to it over its pipes.

It reads its order, a line of JSON, from stdin, tells its address on stdout, and serves until stdin closes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

SLOTS = 4
"""Requests that are served side by side."""

MOST_THREADS = 16
"""Reading memory is what takes the time: on a machine with more cores, more threads only wait for one another."""


def serve() -> None:
    """Serves until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; who asked decides when to stop
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    import xllamacpp

    server = xllamacpp.Server(_params(xllamacpp, order))
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    while sys.stdin.read(1):
        pass
    os._exit(0)  # llama.cpp's own shutdown can take seconds, and there is nothing left to save


def _params(engine: Any, order: Mapping[str, Any]) -> Any:
    """The engine's parameters for an order.

    Args:
        engine: the module ``xllamacpp``.
        order: the weights' path, the model's name, the key, whether it embeds, the tokens of context that the slots share
            (one request may use all of them), and the MiB for prompts that no slot holds.
    """
    params = engine.CommonParams()
    params.model.path = order["weights"]
    params.model_alias = {order["model"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order["key"]]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 0
    params.n_ctx = order["context"]
    params.n_parallel = 1 if order["embedding"] else SLOTS
    params.kv_unified = True
    params.cache_ram_mib = order["prompt_cache"]
    params.n_ctx_checkpoints = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    params.cpuparams.n_threads = min(cores, MOST_THREADS)
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    if order["embedding"]:
        params.embedding = True
        params.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
        params.n_batch = params.n_ubatch = 2048
    return params


if __name__ == "__main__":
    serve()
