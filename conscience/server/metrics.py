"""What Prometheus reads: requests, what became of them, and what they cost. No text of any request or answer is among it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder in which several workers add up; it is read when prometheus_client is imported."""

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


class Metrics:
    """The counters of one app; with several workers, of all of them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        add: Any = {"registry": self.registry}
        self._requests = Counter("conscience_http_requests", "Requests.", ["route", "method", "status"], **add)
        self._seconds = Histogram(
            "conscience_http_request_seconds", "Time of a request.", ["route"], buckets=_SECONDS, **add
        )
        self._refused = Counter(
            "conscience_refused_requests", "Requests told an error, by its code.", ["route", "code"], **add
        )
        self._outcomes = Counter("conscience_outcomes", "Answers by status.", ["tenant", "model", "status"], **add)
        self._calls = Counter("conscience_model_calls", "Calls of models.", ["tenant", "model", "role"], **add)
        self._tokens = Counter("conscience_tokens", "Tokens.", ["tenant", "model", "role", "direction"], **add)
        self._dollars = Counter("conscience_dollars", "Price by LiteLLM's list.", ["tenant", "model"], **add)
        self._running = Gauge(
            "conscience_running_requests", "Requests that are answered now.", multiprocess_mode="livesum", **add
        )
        self._waiting = Gauge(
            "conscience_waiting_requests", "Requests that wait for their turn.", multiprocess_mode="livesum", **add
        )
        if not _shared():
            ProcessCollector(registry=self.registry)

    def request(self, route: str, method: str, status: int, seconds: float, code: str | None) -> None:
        """Counts a request that is over; ``code`` is that of an error."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if code is not None:
            self._refused.labels(route, code).inc()

    def load(self, running: int, waiting: int) -> None:
        """Says how many requests there are now."""
        self._running.set(running)
        self._waiting.set(waiting)

    def outcome(self, tenant: str, model: str, status: str, usage: Mapping[str, Any]) -> None:
        """Counts an answer, and what it cost (``Usage.to_dict``)."""
        self._outcomes.labels(tenant, model, status).inc()
        self._dollars.labels(tenant, model).inc(usage["dollars"])
        for role, spent in usage["by_role"].items():
            self._calls.labels(tenant, model, role).inc(spent["calls"])
            self._tokens.labels(tenant, model, role, "input").inc(spent["input_tokens"])
            self._tokens.labels(tenant, model, role, "output").inc(spent["output_tokens"])

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        registry = self.registry
        if _shared():
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """This worker ends: what it has at the moment no longer counts."""
        if _shared():
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def _shared() -> bool:
    return bool(os.environ.get(SHARED_FOLDER))
