"""One request from its headers to the end of its response: who asks, what, whether there is room, and what became of it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import traceback
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from conscience._dspy.visible import unremembered
from conscience.errors import ConscienceError
from conscience.observability.context import request_context
from conscience.server.bodies import ClientGone, Json, read_json
from conscience.server.errors import ApiError, api_error, forbidden, internal, out_of_time, shutting_down
from conscience.server.limits import Admission, Limits
from conscience.server.metrics import Metrics
from conscience.server.policies import Tenant, Tenants
from conscience.server.sending import Event, Reply, send_events, while_there

log = logging.getLogger("conscience.server")

_REQUEST_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_LOCAL = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
UNREVIEWED = "the review failed"
"""All that a client is told of why."""
LAST_WORDS = 1.0
"""Seconds at most."""
GONE = 499
"""The status by which a request counts whose client left."""


@dataclass
class Exchange:
    """What is known of a request while it is handled.

    Attributes:
        id: the caller's ``X-Request-ID``, or one of this server's.
        headers: the request's.
        reply: where its response is sent.
        tenant: who asks, once that is known.
    """

    id: str
    headers: Headers
    reply: Reply
    tenant: str = ""
    started: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Whole:
    """An answer in one piece, ready to be begun.

    Attributes:
        model: the name that was asked for.
        begin: makes it.
    """

    model: str
    begin: Callable[[], Awaitable[Event]]


@dataclass(frozen=True)
class Streamed:
    """An answer in events, ready to be begun.

    Attributes:
        model: the name that was asked for.
        begin: makes them.
        last: what is sent after the last one.
    """

    model: str
    begin: Callable[[], AsyncGenerator[Event, None]]
    last: bytes


Answer = Whole | Streamed


class Service:
    """What all requests of an app share.

    Args:
        tenants: who may ask what.
        limits: see ``Limits``.
        only_local: whether only what was sent to an address of this machine's is answered.

    Attributes:
        routes: endpoint → its path, as metrics and logs call it; what is under none counts as one.
        ready: whether every model was made ready.
        handled: the tasks that handle a request now.
    """

    def __init__(self, tenants: Tenants, limits: Limits, *, only_local: bool) -> None:
        self.tenants = tenants
        self.limits = limits
        self.only_local = only_local
        self.routes: Mapping[Any, str] = {}
        self.ready = False
        self.handled: set[asyncio.Task[Any]] = set()
        self.metrics = Metrics()
        self.admission = Admission(limits, self.metrics.load)

    async def last_words(self) -> None:
        """Waits a moment for those whose requests have just been broken off to hear of it."""
        if self.handled:
            await asyncio.wait(set(self.handled), timeout=LAST_WORDS)

    def tenant(self, scope: Scope) -> Tenant:
        """Who asks.

        Raises:
            ApiError: no key, one that is not known, or an address that is none of this machine's.
        """
        exchange: Exchange = scope["exchange"]
        if self.only_local and not _LOCAL.fullmatch(exchange.headers.get("host", "")):
            # A page in a browser on this machine can have any name resolved to it, and would read what is answered.
            raise forbidden("Without a key this server answers on localhost alone.")
        tenant = self.tenants.of(exchange.headers.get("authorization"))
        exchange.tenant = tenant.name
        return tenant

    def operator(self, scope: Scope) -> Tenant:
        """Who asks for what only the operator may have.

        Raises:
            ApiError: the key's policy does not say so.
        """
        tenant = self.tenant(scope)
        if not tenant.operator:
            raise forbidden("This is for keys of the server's operator.")
        return tenant


class Answering:
    """A route that answers a JSON object by a program: keys first, then the body, then room, then the work.

    Args:
        service: of the app.
        ask: reads a request's body; raises where it cannot be used, which costs no room.
    """

    def __init__(self, service: Service, ask: Callable[[Tenant, dict[str, Any]], Answer]) -> None:
        self._service = service
        self._ask = ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["exchange"]
        tenant = self._service.tenant(scope)
        answer = self._ask(tenant, await read_json(exchange.headers, receive, self._service.limits))
        with request_context(id=exchange.id, tenant=tenant.name), unremembered():
            await while_there(receive, exchange.reply, self._in_turn(answer, scope, receive, exchange))

    async def _in_turn(self, answer: Answer, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        async with self._service.admission.turn():
            try:
                async with asyncio.timeout(self._service.limits.request_seconds) as limit:
                    await self._send(answer, scope, receive, exchange)
            except TimeoutError:
                if limit.expired():
                    raise out_of_time(self._service.limits.request_seconds) from None
                raise

    async def _send(self, answer: Answer, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        match answer:
            case Whole():
                body = await answer.begin()
                self._count(answer, exchange, body)
                await Json(body)(scope, receive, exchange.reply)
            case Streamed():
                await send_events(exchange.reply, self._counted(answer, exchange), answer.last)

    async def _counted(self, answer: Streamed, exchange: Exchange) -> AsyncGenerator[Event, None]:
        async with aclosing(answer.begin()) as events:
            async for event in events:
                self._count(answer, exchange, event)
                yield event

    def _count(self, answer: Answer, exchange: Exchange, event: Event) -> None:
        """Enters what an answer came to, once; of why it was not reviewed the client learns no more than that."""
        reports, is_last = _reports(event)
        for report in reports:
            if report["error"] not in ("", UNREVIEWED):
                log.warning("%s: not reviewed: %s", exchange.id, report["error"])
                report["error"] = UNREVIEWED
            if is_last:
                self._service.metrics.outcome(exchange.tenant, answer.model, report["status"], report["usage"])


def _reports(event: Event) -> tuple[list[dict[str, Any]], bool]:
    """What an answer, or an event of it, says of its review, of each choice where there are several; and whether no later
    event says the same."""
    choices = event.get("choices", ())
    parts = (*choices, *([event["response"]] if isinstance(event.get("response"), dict) else []))
    own = [part["conscience"] for part in parts if "conscience" in part]
    began = event.get("object") == "chat.completion.chunk" and not any(choice["finish_reason"] for choice in choices)
    return own or ([event["conscience"]] if "conscience" in event else []), not began


class Handling:
    """Around every request: its id, its error as JSON, its line in the log, its part of the metrics."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        exchange = Exchange(given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}", headers, Reply(send))
        exchange.reply.headers = [(b"x-request-id", exchange.id.encode()), (b"x-content-type-options", b"nosniff")]
        scope["exchange"] = exchange
        task = asyncio.current_task()
        assert task is not None
        self._service.handled.add(task)
        try:
            code = await self._handled(scope, receive, exchange)
        finally:
            self._service.handled.discard(task)
        self._tell(scope, exchange, code)

    async def _handled(self, scope: Scope, receive: Receive, exchange: Exchange) -> str | None:
        """Handles a request; the code of its error, where it has one."""
        try:
            await self._app(scope, receive, exchange.reply)
        except ClientGone:
            return "client_gone"
        except asyncio.CancelledError:
            await self._end(scope, receive, exchange, shutting_down())
            raise
        except Exception as error:
            told = explained(error, exchange)
            await self._end(scope, receive, exchange, told)
            return told.code or told.kind
        return None

    async def _end(self, scope: Scope, receive: Receive, exchange: Exchange, told: ApiError) -> None:
        if exchange.reply.status:
            await exchange.reply.break_off(told)
        else:
            await Json(told.body(), told.status, told.headers)(scope, receive, exchange.reply)

    def _tell(self, scope: Scope, exchange: Exchange, code: str | None) -> None:
        seconds = time.perf_counter() - exchange.started
        status = GONE if code == "client_gone" else exchange.reply.status
        route = self._service.routes.get(scope.get("endpoint"), "other")
        self._service.metrics.request(route, scope["method"], status, seconds, code)
        done = (scope["method"][:10], route, status, exchange.id, seconds, exchange.tenant or "-", code or "-")
        log.info("%s %s %d %s %.3f s tenant=%s code=%s", *done)


def explained(error: Exception, exchange: Exchange) -> ApiError:
    """What a client is told of an error. What it is not told goes to the log, without what anybody asked or was answered."""
    match error:
        case ApiError():
            return error
        case ConscienceError():
            told = api_error(error)
            if told.status >= 500:
                log.warning("%s: %s: %s", exchange.id, told.code, error)
            return told
        case _:
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s: %s, from\n%s", exchange.id, type(error).__name__, where)  # its text may hold a draft's
            return internal()
