"""A run's journal and backends in a worker: each request goes to the gateway, and its answer is accounted here."""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle

from conscience._base.flow import Flow, IOStep
from conscience._dspy.lm import BackendLM
from conscience.backends.backend import Backend
from conscience.backends.embedded.weights import local_name
from conscience.backends.embeddings import runs_in_process
from conscience.backends.habits.mending import MOST_TRIES
from conscience.backends.retry import Deadline
from conscience.backends.storage.journal import Journal
from conscience.backends.transports import Transport
from conscience.distributed.gateway.aside import CallsAside
from conscience.distributed.gateway.client import GatewayClient
from conscience.distributed.gateway.requests import Ask, Embed, Payment, Reply
from conscience.errors import BudgetExceeded
from conscience.messages.completion import Completion, Message
from conscience.usage import CallContext, IdleTime, idle_clock

B = TypeVar("B")


class GatewayJournal(Journal):
    """Stands where a run's journal stands, in a process whose calls are made by a gateway.

    Args:
        client: the line to it.
        run: the run's name there.
    """

    def __init__(self, client: GatewayClient, run: str) -> None:
        super().__init__(Path(run))
        self._client, self._run = client, run

    def asked_by(self, backend: B, plain: B) -> B:
        assert isinstance(plain, Backend)
        return GatewayBackend(plain, self._client, self._run)  # type: ignore[return-value]


class GatewayBackend(Backend):
    """A backend whose calls are made by a gateway, with its retries, its journal and its limits.

    Args:
        plain: the same, which would make them here.
        client: the line to the gateway.
        run: the run's name there.
    """

    def __init__(self, plain: Backend, client: GatewayClient, run: str) -> None:
        self.__dict__.update(plain.__dict__)
        self._plain, self._client, self._run = plain, client, run
        self._name_there = ""
        self.lm = BackendLM(self)

    def fallback(self) -> Backend | None:
        other = self._plain.fallback()
        return None if other is None else GatewayBackend(other, self._client, self._run)

    def refused(self, feature: str, *, certain: bool) -> None:
        super().refused(feature, certain=certain)
        self._client.tell("refused", self._run, self._there(), feature, certain)

    def reject(self, completion: Completion) -> IOStep:
        def tell() -> None:
            if completion.key:
                self._client.tell("drop", self._run, self._there(), completion.key)

        async def atell() -> None:
            tell()

        return IOStep(tell, atell)

    def ask_one(
        self,
        transport: Transport,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        salt: Any,
        ctx: CallContext | None,
        deadline: Deadline,
    ) -> Flow[Completion]:
        place = next(i for i, own in enumerate(self.transports) if own is transport)
        question = Ask(self._there(), place, list(messages), dict(params), salt, Payment())
        completion: Completion = yield from self._elsewhere(question, transport, ctx, deadline)
        return completion

    def embedding(self, model: str, texts: Sequence[str], ctx: CallContext) -> Flow[list[list[float]]]:
        model = local_name(model)
        if runs_in_process(model):
            return (yield from super().embedding(model, texts, ctx))
        question = Embed(self._there(), model, list(texts), Payment())
        vectors: list[list[float]] = yield from self._elsewhere(question, None, ctx, Deadline())
        return vectors

    def _kept_in(self) -> None:
        """What is done here after all, by a callable, is not kept."""

    def _elsewhere(
        self, question: Ask | Embed, transport: Transport | None, ctx: CallContext | None, deadline: Deadline
    ) -> Flow[Any]:
        if ctx is None:
            reply: Reply = yield self._request(question, [deadline.clock])
        else:
            with CallsAside(ctx.tracker, self.retries + MOST_TRIES + 1) as aside:
                while not aside.take():
                    yield _PAUSE
                deadline.set(left := max(0.0, ctx.tracker.seconds_left() or 0.0) if aside.timed else math.inf)
                question = replace(question, payment=Payment(ctx.role, left, aside.calls))
                reply = yield self._request(question, [deadline.clock, ctx.tracker.paused])
                aside.spent(reply.calls)
            for usage, replayed in reply.entries:
                ctx.tracker.enter(ctx.role, usage, replayed=replayed)
            for event in reply.events:
                ctx.tracker.note(event)
        if reply.habits is not None and transport is not None:
            transport.habits.adopt(reply.habits)
        if reply.out_of_time:
            deadline.set(0.0)
        if reply.error is not None:
            error = reply.error.made()
            if isinstance(error, BudgetExceeded) and ctx is not None and ctx.tracker.limit_met():
                ctx.tracker.begin()  # which says it in the words of its own budget
            raise error
        return reply.value

    def _request(self, question: Ask | Embed, clocks: Sequence[IdleTime]) -> IOStep:
        def begin() -> tuple[Future[Any], _Pauses]:
            pauses = _Pauses(clocks, idle_clock())
            return self._client.request("answer", self._run, question, told=pauses.told), pauses

        def run() -> Any:
            future, pauses = begin()
            with pauses:
                return future.result()

        async def arun() -> Any:
            future, pauses = begin()
            with pauses:
                return await asyncio.wrap_future(future)

        return IOStep(run, arun)

    def _there(self) -> str:
        """Its name at the gateway, where it is made known with its first call."""
        if not self._name_there:
            pickled = cloudpickle.dumps(self._plain)
            name = secrets.token_hex(8)
            self._client.register(self._run, name, pickled)
            self._name_there = name
        return self._name_there


_PAUSE = IOStep(partial(time.sleep, 0.01), partial(asyncio.sleep, 0.01))


class _Pauses:
    """The clocks that stand still while a request waits for what is not its own."""

    def __init__(self, clocks: Sequence[IdleTime], idle: IdleTime) -> None:
        self._counters = {"paused": clocks, "idle": (idle,)}
        self._lock = threading.Lock()
        self._open: dict[str, ExitStack] = {}
        self._ended = False

    def told(self, kind: str, begins: bool) -> None:
        with self._lock:
            self._tell(kind, begins and not self._ended)

    def _tell(self, kind: str, begins: bool) -> None:
        if (before := self._open.pop(kind, None)) is not None:
            before.close()
        if begins:
            stack = self._open[kind] = ExitStack()
            for clock in self._counters[kind]:
                stack.enter_context(clock.counting())

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
            for kind in self._counters:
                self._tell(kind, False)
