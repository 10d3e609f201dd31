"""LangChain and pydantic-ai, unchanged but for their base URL: what they are told was reviewed.

python examples/clients.py                              # with a server of its own, whose model is scripted
python examples/clients.py http://localhost:8000/v1     # with yours: conscience serve --lm openai/gpt-4o-mini

Needs the extra server, langchain-openai and pydantic-ai-slim[openai]. The key is the one in CONSCIENCE_API_KEY.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import uvicorn
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from conscience import Conscience
from conscience.server import create_app
from conscience.testing import ScriptedLM, by_stage

MODEL = "conscience"
KEY = os.environ.get("CONSCIENCE_API_KEY", "none")
QUESTION = "Who proved that octopuses dream?"


def langchain(base_url: str) -> str:
    """In one piece."""
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key=KEY)
    return str(model.invoke(QUESTION).content)


def langchain_stream(base_url: str) -> str:
    """In pieces, none of which comes before it is reviewed."""
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key=KEY)
    return "".join(str(piece.content) for piece in model.stream(QUESTION))


def pydantic_ai(base_url: str) -> str:
    """An agent's run."""
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=base_url, api_key=KEY))
    return str(Agent(model).run_sync(QUESTION).output)


@contextmanager
def server() -> Iterator[str]:
    """The base URL of a server whose model makes something up, and knows better when it is asked."""
    finding = {"principle": "honesty", "quote": "Kim proved it", "why": "It is made up.", "change": "Say what is known."}
    script = by_stage(
        generate="Kim proved it.",
        gate=lambda messages, params: 0.9 if "Kim" in messages[-2]["content"] else 0.1,  # messages[-2]: the text in question
        critique=json.dumps({"findings": [finding]}),
        revise="Nobody has proved it.",
    )
    app = create_app({MODEL: Conscience(lm=ScriptedLM(script))}, only_local=True)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while thread.is_alive() and not serving.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        serving.should_exit = True
        thread.join()
        listening.close()


def main() -> None:
    with nullcontext(sys.argv[1]) if len(sys.argv) > 1 else server() as base_url:
        for ask in (langchain, langchain_stream, pydantic_ai):
            print(f"{ask.__name__}: {ask(base_url)}")


if __name__ == "__main__":
    main()
