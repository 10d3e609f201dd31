"""A server that knows whose text is whose, and fails in every way that servers do: a process of its own.

Requests name their caller (``caller-00042``), and so does every answer. With the share of faults in its argument, calls are
answered wrongly, at random: ``GET`` tells what each caller was answered, call by call. The process imports nothing of this
project, so that it is up at once.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Body = dict[str, Any]
CALLER = re.compile(r"caller-\d{5}")

STATUSES = {"429": 429, "500": 500, "502 page": 502, "503": 503, "529": 529}
ONE_REPLY = {"gate": ["no log-probabilities", "neither Yes nor No"], "critique": ["no JSON"]}
FAULTS = [
    *STATUSES,
    *("reset", "hang", "slow", "empty", "null", "no choices", "filtered", "no word", "garbled", "truncated", "cut off"),
    *("error with 200", "not a chat"),
]
HANG = 60.0


@dataclass(frozen=True)
class Served:
    """One call that a server answered.

    Attributes:
        stage: generate, gate, critique, revise or score.
        model: the model that was asked.
        fault: what went wrong; empty where nothing did.
    """

    stage: str
    model: str
    fault: str


class FaultyServer:
    """The server's process, seen from a test."""

    def __init__(self, url: str) -> None:
        self.url = url

    def log(self) -> dict[str, list[Served]]:
        """Caller → its calls, in order. A call that named several callers is listed under all of them, joined."""
        with urllib.request.urlopen(self.url, timeout=60) as answer:
            told: dict[str, list[Any]] = json.load(answer)
        return {caller: [Served(*call) for call in calls] for caller, calls in told.items()}


@contextmanager
def faulty_server(faults: float, seed: int = 0) -> Iterator[FaultyServer]:
    """Starts the server.

    Args:
        faults: the share of calls that go wrong.
        seed: of the choice.
    """
    from conscience.gate.questions import WRITTEN_SCORE, YES_OR_NO
    from conscience.messages.wordings import AGAIN as INSTRUCTIONS
    from conscience.modules.critique import SHAPE

    marks = {"gate": YES_OR_NO, "score": WRITTEN_SCORE, "critique": SHAPE, "revise": INSTRUCTIONS}
    command = [sys.executable, "-I", "-S", str(Path(__file__)), str(faults), str(seed), json.dumps(marks)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield FaultyServer(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()


# The process -----------------------------------------------------------------------------------------------------------


class Server:
    """Answers calls, and remembers them."""

    def __init__(self, faults: float, seed: int, marks: dict[str, str]) -> None:
        self.faults = faults
        self.marks = marks
        self.random = random.Random(seed)
        self.calls: dict[str, list[tuple[str, str, str]]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep-alive HTTP, just enough of it."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    self._send(writer, 200, json.dumps(self.calls))
                    continue
                length = next(int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length"))
                body = json.loads(await reader.readexactly(length))
                caller = "+".join(sorted(set(CALLER.findall(json.dumps(body["messages"])))))
                stage = self._stage(body)
                fault = self._fault(stage)
                self.calls.setdefault(caller, []).append((stage, body["model"], fault))
                if not await self._answer(writer, fault, chat_for(body, stage, caller)):
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _fault(self, stage: str) -> str:
        if self.random.random() >= self.faults:
            return ""
        return self.random.choice(FAULTS + ONE_REPLY.get(stage, []))

    async def _answer(self, writer: asyncio.StreamWriter, fault: str, answer: Body) -> bool:
        """Whether the connection goes on."""
        if fault in STATUSES:
            text = "<html>bad gateway</html>" if "page" in fault else json.dumps({"error": {"message": fault}})
            self._send(writer, STATUSES[fault], text)
        elif fault == "reset":
            writer.transport.abort()
            return False
        elif fault in ("truncated", "cut off"):
            half = json.dumps(answer)[: len(json.dumps(answer)) // 2]
            self._send(writer, 200, half, more=100 if fault == "cut off" else 0)
            if fault == "cut off":
                writer.close()
                return False
        elif fault == "garbled":
            self._send(writer, 200, "".join(self.random.choice('{}[]":, \x00\ufffdabc') for _ in range(80)))
        else:
            if fault in ("hang", "slow"):
                await asyncio.sleep(HANG if fault == "hang" else 0.3)
            self._send(writer, 200, json.dumps(spoiled(answer, fault)))
        return True

    def _send(self, writer: asyncio.StreamWriter, status: int, text: str, more: int = 0) -> None:
        data = text.encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data) + more}\r\n\r\n"
        writer.write(head.encode() + data)

    def _stage(self, body: Body) -> str:
        """Which stage of a program asks: by how its question ends, or by the instructions of a revision."""
        last = str(body["messages"][-1]["content"])
        for stage in ("gate", "score", "critique"):
            if last.endswith(self.marks[stage]):
                return stage
        return "revise" if any(self.marks["revise"] in str(m["content"]) for m in body["messages"]) else "generate"


def chat(text: str, yes: float | None = None) -> Body:
    """A chat completion; ``yes``: with log-probabilities in which Yes has this probability."""
    choice: Body = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if yes is not None:
        pairs = sorted({"Yes": yes, "No": 1 - yes}.items(), key=lambda pair: -pair[1])
        top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in pairs]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def chat_for(body: Body, stage: str, caller: str) -> Body:
    """The right answer."""
    talk = json.dumps(body["messages"])
    bad = "BADWORD" in talk
    if stage == "gate":
        return chat("Yes" if bad else "No", yes=0.95 if bad else 0.05)
    if stage == "score":
        return chat(f"Score: {97 if bad else 2}")
    if stage == "critique":
        finding = {"principle": "no-serious-harm", "quote": "BADWORD", "why": "It harms.", "change": "Leave it out."}
        return chat(json.dumps({"findings": [finding] if bad else []}))
    if stage == "revise":
        return chat(f"A clean answer for {caller}.")
    return chat(f"BADWORD for {caller}." if "UNSAFE" in talk else f"An answer for {caller}.")


def spoiled(answer: Body, fault: str) -> Body:
    """The answer with this fault in it."""
    choice = answer["choices"][0]
    if fault in ("empty", "null", "filtered", "no word"):
        choice["message"]["content"] = None if fault in ("null", "filtered") else ""
        choice["finish_reason"] = {"filtered": "content_filter", "no word": "length"}.get(fault, "stop")
        choice.pop("logprobs", None)
    elif fault == "no choices":
        answer["choices"] = []
    elif fault == "error with 200":
        return {"error": {"message": "upstream failed", "code": 502}}
    elif fault == "not a chat":
        return {"detail": "ok"}
    elif fault == "no log-probabilities":
        del choice["logprobs"]
    elif fault == "neither Yes nor No":
        choice["message"]["content"] = "Perhaps"
        choice["logprobs"] = {"content": [{"token": "Perhaps", "logprob": -0.01, "bytes": None, "top_logprobs": []}]}
    elif fault == "no JSON":
        choice["message"]["content"] = "I find nothing wrong with it, but who knows."
    return answer


async def main() -> None:
    server = Server(float(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
