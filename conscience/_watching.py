"""A call under somebody's eyes: what each stage came to, as it happens. It shows drafts, so it is for authors and not for
their users, who get ``Conscience.stream``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from conscience._base.flow import StageEnded, StageStarted, run_async
from conscience._dspy.streams import ReviewedStream, silent
from conscience.outcome import Outcome
from conscience.program import Conscience


async def watched(
    program: Conscience, /, *request: Any, **inputs: Any
) -> AsyncGenerator[StageStarted | StageEnded | Outcome, None]:
    """The stages of a call as they begin and as they end, then its outcome. Whoever leaves ends the call.

    Raises:
        ConscienceError: as ``Conscience.acall`` does.
    """
    queue: asyncio.Queue[StageStarted | StageEnded | None] = asyncio.Queue()
    flow = program._answer(program._inputs(request, inputs))
    with silent(ReviewedStream(program._is_ours)):
        task = asyncio.ensure_future(run_async(flow, queue.put_nowait, queue.put_nowait))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
        yield await task
    finally:
        task.cancel()
