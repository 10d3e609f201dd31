"""Reviewed answers over HTTP: as JSON, and streamed as server-sent events.

python examples/fastapi_app.py            # asks itself once, with a scripted model: no key, no server
uvicorn fastapi_app:app --app-dir examples   # serves; needs uvicorn and OPENAI_API_KEY

curl -N 'localhost:8000/stream?question=Who+proved+that+octopuses+dream?'
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from conscience import Conscience, ConscienceError, InputError, Outcome
from conscience.testing import ScriptedLM, by_stage


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Imports, an engine's start and a missing key come before the first request, not with it."""
    await program.awarm()
    yield


app = FastAPI(lifespan=lifespan)
program = Conscience("question -> answer", lm=os.environ.get("APP_MODEL", "openai/gpt-4o-mini"))


@app.post("/answer")
async def answer(question: str) -> Outcome:
    """The outcome as ``to_json()`` has it: what may be shown, and nothing of the draft."""
    outcome: Outcome = await program.acall(question=question)
    return outcome


@app.get("/stream")
async def stream(question: str) -> StreamingResponse:
    """``stage`` while it works, ``text`` once it is reviewed, then ``outcome`` or ``error``."""
    return StreamingResponse(events(question), media_type="text/event-stream")


async def events(question: str) -> AsyncIterator[str]:
    """The program's events as server-sent ones. A client that hangs up ends the call."""
    try:
        async for event in program.stream(question=question):
            if isinstance(event, Outcome):
                yield sent("outcome", event.to_json())
            elif isinstance(event, str):
                yield sent("text", event)
            else:
                yield sent("stage", event.name)
    except ConscienceError as error:  # the status has been sent by now, so the stream tells it
        yield sent("error", error.message)


def sent(kind: str, data: object) -> str:
    """One server-sent event; JSON, so that no line break of a text ends it."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


@app.exception_handler(ConscienceError)
async def failed(request: Request, error: ConscienceError) -> JSONResponse:
    """No answer at all: what was asked cannot be used, or no model could be reached."""
    return JSONResponse({"error": error.message}, 422 if isinstance(error, InputError) else 503)


def main() -> None:
    """Both routes, asked in this process."""
    from fastapi.testclient import TestClient

    finding = {"principle": "honesty", "quote": "Kim proved it", "why": "It is made up.", "change": "Say what is known."}
    script = by_stage(
        generate="Kim proved it.",
        gate=lambda messages, params: 0.9 if "Kim" in messages[-2]["content"] else 0.1,  # messages[-2]: the text in question
        critique=json.dumps({"findings": [finding]}),
        revise="Nobody has proved it.",
    )
    program.set_lm(ScriptedLM(script))
    client = TestClient(app)
    print(client.post("/answer", params={"question": "Who proved that octopuses dream?"}).json()["outputs"])
    print(client.get("/stream", params={"question": "Who proved that octopuses dream?"}).text)


if __name__ == "__main__":
    main()
