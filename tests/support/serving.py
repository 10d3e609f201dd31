"""The server on a real socket, in a thread of the test's own process, with programs that answer by script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from uvicorn import Server

from conscience import Conscience
from conscience.server import Limits, Policy, create_app
from conscience.server.protocol import ServerConfig
from conscience.server.running import bound
from conscience.testing import Fault, ScriptedLM, by_stage

HARM = "HARMFUL words"
"""What the scripted gate flags."""

FINDING = {"principle": "no-serious-harm", "quote": HARM, "why": "It harms.", "change": "Leave it out."}


def scripted(*, seconds: float = 0.0, **options: Any) -> Conscience:
    """A program whose request says what happens: "harm" (a draft that is flagged and revised), "stubborn" (its revision is
    flagged too), "down" (the model refuses), "busy" (it answers 429), "unreviewed" (the review fails), "long" (an answer of
    a megabyte).

    Args:
        seconds: how long each call of the model takes.
    """
    lm = ScriptedLM(by_stage(_draft, gate=_gate, critique=_critique, revise=_revision), seconds=seconds)
    return Conscience(lm=lm, **options)


def quick() -> Conscience:
    """The same, for a command line to name."""
    return scripted()


def slow() -> Conscience:
    """The same, whose model takes its time."""
    return scripted(seconds=0.1)


def _asked(messages: Sequence[Mapping[str, Any]]) -> str:
    return str(messages)


def _draft(messages: Any, params: Any) -> Any:
    asked = _asked(messages)
    if "down" in asked:
        return Fault("auth", "the key of 10.1.2.3 is refused")
    if "busy" in asked:
        return Fault("rate_limit", "too many")
    if "long" in asked:
        return "word " * 40_000
    return f"{HARM}, do it." if "harm" in asked or "stubborn" in asked else "Paris."


def _gate(messages: Any, params: Any) -> Any:
    if len(messages) > 1 and "unreviewed" in _asked(messages[:-2]):
        return Fault("auth", "the key of 10.1.2.3 is refused")
    return 0.95 if HARM in _asked(messages[-2:-1]) else 0.05


def _critique(messages: Any, params: Any) -> Any:
    return json.dumps({"findings": [FINDING]})


def _revision(messages: Any, params: Any) -> Any:
    return f"Still {HARM}." if "stubborn" in _asked(messages) else "A clean answer."


@dataclass(frozen=True)
class Serving:
    """A server that runs.

    Attributes:
        url: its address, such as ``http://127.0.0.1:1234``.
        port: the port in it.
    """

    server: Server
    url: str
    port: int

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.server.server_state.connections)


@contextmanager
def serving(
    programs: Mapping[str, Conscience] | None = None,
    *,
    policies: Sequence[Policy] = (),
    limits: Limits | None = None,
    only_local: bool = False,
    playground: bool = False,
) -> Iterator[Serving]:
    """Serves until the block ends."""
    limits = limits or Limits()
    options: dict[str, Any] = {"policies": policies, "only_local": only_local, "playground": playground}
    app = create_app(programs or {"m": scripted()}, limits=limits, **options)
    listener = bound("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(ServerConfig(app, limits))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield Serving(server, f"http://127.0.0.1:{port}", port)
    finally:
        server.should_exit = True
        thread.join()
