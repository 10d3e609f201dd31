"""The playground's routes. All but the page itself are for the operator: what they tell holds drafts.

``GET /playground``            the page; it says nothing of this server
``GET /playground/programs``   what may be asked, and whose cases may be scored
``POST /playground/ask``       {"model", "inputs"}: the stages of a call as server-sent events, drafts included
``POST /playground/scores``    {"model", "pack"}: a pack's cases with the gate's probability, as server-sent events
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from conscience._base.flow import StageEnded, StageStarted
from conscience._watching import watched
from conscience.constitution.schema import Constitution
from conscience.outcome import Outcome
from conscience.program import Conscience
from conscience.server.bodies import Json
from conscience.server.errors import forbidden, invalid
from conscience.server.handling import Answer, Answering, Service, Streamed
from conscience.server.playground.page import page
from conscience.server.playground.scores import PackScores
from conscience.server.policies import Tenant

Event = Mapping[str, Any]

PACKS = Constitution.builtin_names()
"""There is a pack of labelled answers for each built-in constitution."""


def playground_routes(service: Service) -> list[BaseRoute]:
    """The routes, for a server that was asked to have a playground."""
    shown = page()
    kept: dict[tuple[int, str], PackScores] = {}  # by the program itself: it may have several names

    async def the_page(request: Request) -> Response:
        return Response(shown.body, headers=shown.headers)

    async def programs(request: Request) -> Response:
        tenant = service.operator(request.scope)
        return Json({"programs": [_described(name, program) for name, program in tenant.programs.items()], "packs": PACKS})

    def scores(tenant: Tenant, body: dict[str, Any]) -> Answer:
        model, pack = _asked(tenant, body, "pack")
        if pack not in PACKS:
            raise invalid(f"There is no such pack. There are {', '.join(PACKS)}.", code="invalid_value", param="pack")
        program = tenant.program(model)
        key = (id(program), pack)
        if key not in kept:
            kept[key] = PackScores(program, pack)
        return Streamed(model, partial(_scores, kept[key]), last=b"")

    return [
        Route("/playground", the_page),
        Route("/playground/programs", programs),
        Route("/playground/ask", Answering(service, _ask), methods=["POST"]),
        Route("/playground/scores", Answering(service, scores), methods=["POST"]),
    ]


def _described(name: str, program: Conscience) -> dict[str, Any]:
    return {
        "name": name,
        "inputs": list(program.generate.inputs),
        "constitution": program.constitution.name,
        "threshold": program.threshold,
        "critique": program.gate_settings.critique,
    }


def _ask(tenant: Tenant, body: dict[str, Any]) -> Answer:
    model, inputs = _asked(tenant, body, "inputs")
    if not isinstance(inputs, dict) or not all(isinstance(value, str) for value in inputs.values()):
        raise invalid("'inputs' is not an object of strings.", code="invalid_type", param="inputs")
    program = tenant.program(model)
    names = program.generate.inputs
    if set(inputs) != set(names):
        raise invalid(f"'inputs' needs these fields and no other: {', '.join(names)}.", code="invalid_value", param="inputs")
    return Streamed(model, partial(_stages, program, inputs), last=b"")


def _asked(tenant: Tenant, body: dict[str, Any], what: str) -> tuple[str, Any]:
    """The model, and the one other parameter.

    Raises:
        ApiError: the key may not see drafts, or the body is another.
    """
    if not tenant.operator:
        raise forbidden("The playground is for keys of the server's operator: it shows drafts.")
    for name in body:
        if name not in ("model", what):
            raise invalid(f"Unknown parameter: {name[:100]!r}.", code="unknown_parameter", param=name[:100])
    for name in ("model", what):
        if name not in body:
            raise invalid(f"{name!r} is missing.", code="missing_parameter", param=name)
    if not isinstance(body["model"], str):
        raise invalid("'model' is not a string.", code="invalid_type", param="model")
    return body["model"], body[what]


async def _stages(program: Conscience, inputs: Mapping[str, str]) -> AsyncGenerator[Event, None]:
    async with aclosing(watched(program, **inputs)) as events:
        async for event in events:
            match event:
                case StageStarted(name):
                    yield {"type": "stage", "name": name}
                case StageEnded(name, result):
                    yield {"type": name, "result": result.to_dict()}
                case Outcome():
                    yield {"type": "outcome", "result": event.to_json(full=True)}


async def _scores(scores: PackScores) -> AsyncGenerator[Event, None]:
    yield {"type": "pack", "cases": len(scores.cases)}
    async with aclosing(scores.rows()) as rows:
        async for row in rows:
            yield {"type": "case", "result": row.to_json()}
    yield {"type": "done"}
