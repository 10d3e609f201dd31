"""The ASGI app: OpenAI's routes over programs, a route that reviews, and those that an operator's tools ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from conscience._types import ReleaseMode
from conscience.errors import ConfigurationError
from conscience.observability.background import flush_all as flush
from conscience.program import Conscience
from conscience.server import endpoints, metrics
from conscience.server.bodies import Json
from conscience.server.errors import invalid
from conscience.server.handling import Answering, Handling, Service
from conscience.server.limits import Limits
from conscience.server.openapi import document
from conscience.server.playground import playground_routes
from conscience.server.policies import Policy, Tenants


def create_app(
    programs: Mapping[str, Conscience],
    *,
    policies: Sequence[Policy] = (),
    limits: Limits | None = None,
    release: ReleaseMode = "hold",
    only_local: bool = False,
    playground: bool = False,
) -> Starlette:
    """An app for any ASGI server.

    ``/v1/chat/completions``, ``/v1/responses`` and ``/v1/models`` are OpenAI's; ``/v1/review`` judges a text from anywhere;
    ``/healthz``, ``/readyz``, ``/metrics`` and ``/openapi.json`` are for an operator's tools. A server on the wire should
    bound the time of headers and slow readers itself, as ``conscience serve`` does.

    Args:
        programs: the model's name that clients ask for → the program that answers.
        policies: a key each; without any, everybody may ask everything.
        limits: of sizes, times and numbers.
        release: how answers are streamed: "hold", nothing before the verdict; "window", about sentence by sentence as each
            passes. See ``Conscience.stream``.
        only_local: refuse what was sent to any other host than this machine, as a page in a browser can have it sent.
        playground: with a page at ``/playground`` on which operators watch programs work, drafts included.

    Raises:
        ConfigurationError: a program takes more than a chat has, and there is no playground to ask it by; a policy names a
            program that is not there; two have the same key.
    """
    for name, program in programs.items():
        if len(inputs := program.generate.inputs) != 1 and not playground:
            raise ConfigurationError(
                f"the program {name} takes {', '.join(inputs) or 'nothing'}, and a chat has nothing but its messages",
                hint="serve a program with one input",
            )
    service = Service(Tenants(programs, policies, release), limits or Limits(), only_local=only_local)
    routes = [*_routes(service), *(playground_routes(service) if playground else ())]
    service.routes = {route.endpoint: route.path for route in routes if isinstance(route, Route)}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for program in programs.values():
            await program.awarm()
        service.ready = True
        yield
        service.ready = False
        await service.last_words()
        await asyncio.to_thread(flush)  # a worker that a signal ends comes no further
        service.metrics.close()

    return Starlette(
        routes=routes,
        middleware=[Middleware(Handling, service=service)],
        exception_handlers={HTTPException: _no_route},
        lifespan=lifespan,
    )


def _routes(service: Service) -> list[BaseRoute]:
    async def models(request: Request) -> Response:
        return Json(endpoints.models(service.tenant(request.scope)))

    async def model(request: Request) -> Response:
        return Json(endpoints.model(service.tenant(request.scope), request.path_params["name"]))

    async def healthz(request: Request) -> Response:
        return Json({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if service.ready and not service.admission.full:
            return Json({"status": "ready"})
        return Json({"status": "busy" if service.ready else "starting"}, 503)

    async def measured(request: Request) -> Response:
        service.operator(request.scope)
        return Response(service.metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})

    async def openapi(request: Request) -> Response:
        tenant = service.tenant(request.scope)
        return Json(document(list(tenant.programs), service.limits, keyed=not service.tenants.open))

    chat = partial(endpoints.chat, choices=service.limits.choices)
    return [
        Route("/v1/chat/completions", Answering(service, chat), methods=["POST"]),
        Route("/v1/responses", Answering(service, endpoints.responses), methods=["POST"]),
        Route("/v1/review", Answering(service, endpoints.review), methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", measured),
        Route("/openapi.json", openapi),
    ]


async def _no_route(request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    said = invalid(
        f"{error.detail}: {request.method[:10]} {request.url.path[:100]}",
        code="not_found" if error.status_code == 404 else "method_not_allowed",
    )
    return Json(said.body(), error.status_code, error.headers)
