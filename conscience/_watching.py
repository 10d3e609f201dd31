"""A call under somebody's eyes: what each stage came to, as it happens. It shows drafts, so it is for authors and not for
their users, who get ``Conscience.stream``."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator
from typing import Any

from conscience._base.flow import StageEnded, StageStarted, run_async
from conscience._dspy.streams import ReviewedStream, silent
from conscience.backends.streams import ended
from conscience.observability import request_context
from conscience.outcome import Outcome
from conscience.program import Conscience


async def watched(
    program: Conscience, /, *request: Any, **inputs: Any
) -> AsyncGenerator[StageStarted | StageEnded | Outcome, None]:
    """The stages of a call as they begin and as they end, then its outcome. Whoever leaves ends the call.

    It enforces, also where the program observes, and is no traffic: neither the program's log nor its hooks are told.

    Raises:
        ConscienceError: as ``Conscience.acall`` does.
    """
    program = copy.copy(program)
    program.log, program.on_outcome = None, ()
    queue: asyncio.Queue[StageStarted | StageEnded | None] = asyncio.Queue()
    flow = program._answer(program._inputs(request, inputs))
    with request_context(mode="enforce"), silent(ReviewedStream(program._is_ours)):
        task = asyncio.ensure_future(run_async(flow, queue.put_nowait, queue.put_nowait))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
        yield await task
    finally:
        await ended(task)
