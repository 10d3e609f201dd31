"""Clients and locks of DSPy and LiteLLM after a fork: on the sockets of its parent a child would read the answers of its
parent, and a lock that a thread of the parent held would stay closed."""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

from conscience._base.forks import after_fork

_called: weakref.WeakSet[Any] = weakref.WeakSet()
_inherited: list[Any] = []
"""The parent's clients. Nobody uses them, and nobody closes them: what closes may say goodbye to the server."""

_LOCKS = (
    ("dspy", "_cache_lock"),
    ("dspy.clients.model_metadata", "_lock"),
    ("litellm.caching.evicted_client_closer", "_LOOP_TOKEN_LOCK"),
    ("litellm.litellm_core_utils.logging_callback_manager", "_callback_lists_lock"),
    ("litellm.types.llms.base_model", "_SCHEMA_BUILD_LOCK"),
)
"""Module and name of each lock that a call takes."""


def remember(lm: Any) -> None:
    """Notes an LM that keeps clients of its own, before it is called."""
    _called.add(lm)


def _forget() -> None:
    for lm in list(_called):
        clients = getattr(lm, "_engine_store", None)
        if isinstance(clients, dict):
            _inherited.append(dict(clients))
            clients.clear()
            lm._engine_lock = threading.RLock()
    module = sys.modules.get("litellm")
    is_loaded = module is not None and type(module).__name__ != "_LazyModule"  # which a look would load
    settings = vars(module) if is_loaded else {}
    cache = settings.get("in_memory_llm_clients_cache")
    for name in ("cache_dict", "ttl_dict", "expiration_heap"):
        if (entries := getattr(cache, name, None)) is not None:
            _inherited.append(entries.copy())
            entries.clear()
    _open(getattr(cache, name, None) for name in ("_increment_lock", "_write_lock"))
    _open(vars(sys.modules[module]).get(name) for module, name in _LOCKS if module in sys.modules)
    for name in ("module_level_client", "module_level_aclient"):  # made anew when they are next asked for
        _inherited.append(settings.pop(name, None))
    _renew_pool(getattr(sys.modules.get("litellm.litellm_core_utils.thread_pool_executor"), "executor", None))


def _open(locks: Iterable[Any]) -> None:
    """Opens locks in place, as others hold them too; what Python itself does with those of its library."""
    for lock in locks:
        if (reinit := getattr(lock, "_at_fork_reinit", None)) is not None:
            reinit()


def _renew_pool(pool: Any) -> None:
    """LiteLLM's pool for logging, in place, since many of its modules hold it: its threads are not in the child, and a
    thread of the parent may have held its locks."""
    if pool is not None:
        with contextlib.suppress(AttributeError, TypeError):  # of a version that builds it otherwise
            type(pool).__init__(pool, pool._max_workers, pool._max_pending_tasks)


after_fork(_forget)
