"""The gateway's process: ``python -m conscience.distributed.gateway.process``.

It is told by the first line of its input where to listen, and says on its output at which port. Its life hangs on that
input: when whoever started it has ended, killed or not, it waits for the calls that are under way, writes their answers into
the journal, and ends. Neither a signal to the terminal's processes nor the end of a cluster reaches it before that.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from conscience._base.locks import locked_file
from conscience._dspy.lm import settings
from conscience.distributed.gateway.channel import Channel, Place
from conscience.distributed.gateway.gateway import Gateway
from conscience.distributed.gateway.requests import Ask, Embed, Run, SentError
from conscience.errors import ConfigurationError, InputError

POLL_SECONDS = 0.1


class GatewayServer:
    """Answers what comes over channels. All of it happens on one event loop.

    A message is (number, what, arguments); its reply is (number, "done", result) or (number, "failed", SentError), after any
    (number, "paused" or "idle", whether it begins). What has no number gets no reply.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway = Gateway()
        self._loop = loop
        self._locked: dict[Path, Callable[[], None]] = {}
        self._channels: set[Channel] = set()
        self._ready: dict[str, asyncio.Event] = {}
        self._told_habits: dict[tuple[Channel, str], Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unreadable: dict[str, str] = {}
        self._ending = False

    def accept(self, listener: Listener, key: bytes) -> None:
        """Takes connections of those who know the key, in a thread of its own."""
        while True:
            try:
                connection = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._admit, args=(connection, key), daemon=True).start()

    def _admit(self, connection: Connection, key: bytes) -> None:
        """One who says nothing keeps nobody else waiting."""
        try:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
        except (AuthenticationError, EOFError, OSError):
            connection.close()
        else:
            channel = Channel(connection, self._received, self._closed)
            self._channels.add(channel)  # before it may say that it is closed
            channel.start()

    def _received(self, channel: Channel, message: Any) -> None:
        self._loop.call_soon_threadsafe(self._begin, channel, message)

    def _closed(self, channel: Channel) -> None:
        self._channels.discard(channel)

        def forget() -> None:
            for key in [key for key in self._told_habits if key[0] is channel]:
                del self._told_habits[key]

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(forget)

    def _begin(self, channel: Channel, message: Any) -> None:
        if not self._ending:
            task = self._loop.create_task(self._handle(channel, *message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(self, channel: Channel, number: int | None, what: str, arguments: tuple[Any, ...]) -> None:
        try:
            result = await getattr(self, f"_{what}")(channel, number, *arguments)
        except Exception as error:
            result, kind = SentError.of(error), "failed"
        else:
            kind = "done"
        if number is not None:
            channel.send((number, kind, result))

    async def _run(self, channel: Channel, number: int, run: Run) -> None:
        if run.journal is not None and run.journal not in self._locked:
            await self._lock(run.journal)
        self.gateway.begin(run)
        self._ready.setdefault(run.name, asyncio.Event()).set()

    async def _lock(self, journal: Path) -> None:
        """A gateway whose run was killed may still be writing answers, which this one then finds."""
        journal.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                lock, context = ExitStack(), copy_context()  # a lock is let go in the context that it was taken in
                context.run(lock.enter_context, locked_file(journal))
            except InputError as error:
                if "is in use by" not in error.message:
                    raise
                await asyncio.sleep(POLL_SECONDS)
            else:
                self._locked[journal] = partial(context.run, lock.close)
                return

    async def _spent(self, channel: Channel, number: int, run: str) -> Any:
        return self.gateway.spent(run)

    async def _ended(self, channel: Channel, number: int, run: str) -> Any:
        await self.gateway.drain(run)
        self._ready.pop(run, None)
        spent = self.gateway.end(run)
        for journal in [journal for journal in self._locked if not self.gateway.uses(journal)]:
            self._locked.pop(journal)()
        return spent

    async def _register(self, channel: Channel, number: None, run: str, backend: str, pickled: bytes) -> None:
        await self._ready.setdefault(run, asyncio.Event()).wait()
        try:
            self.gateway.register(run, backend, pickled)
        except Exception as error:  # a class that is not to be found here, for one
            self._unreadable[backend] = f"the model cannot be had in another process: {type(error).__name__}: {error}"

    async def _answer(self, channel: Channel, number: int, run: str, question: Ask | Embed) -> Any:
        await self._ready.setdefault(run, asyncio.Event()).wait()

        def told(kind: str, begins: bool) -> None:
            channel.send((number, kind, begins))

        if question.backend in self._unreadable:
            raise ConfigurationError(self._unreadable[question.backend], hint="name it as a string")
        reply = await self.gateway.answer(run, question, told)
        if isinstance(question, Ask):
            state = self.gateway.habits(run, question)
            place = (channel, f"{run} {question.backend} {question.transport}")
            if any(new is not old for new, old in zip(state, self._told_habits.get(place, (None, None)), strict=True)):
                self._told_habits[place] = state
                return replace(reply, habits=state)
        return reply

    async def _drop(self, channel: Channel, number: None, run: str, backend: str, key: str) -> None:
        self.gateway.drop(run, backend, key)

    async def _refused(self, channel: Channel, number: None, run: str, backend: str, feature: str, certain: bool) -> None:
        self.gateway.refused(run, backend, feature, certain)

    async def end(self) -> None:
        """Takes no more messages, and waits for the calls that are under way."""
        self._ending = True
        await self.gateway.drain()
        for journal in list(self._locked):
            self._locked.pop(journal)()

    def close(self) -> None:
        """Ends the connections."""
        for channel in list(self._channels):
            channel.close()


def main() -> None:
    """Serves until its input ends."""
    order = json.loads(sys.stdin.readline())
    sys.path[:] = order["modules"]
    settings.configure(disable_history=True)  # or DSPy keeps the last 10,000 exchanges
    loop = asyncio.new_event_loop()
    server = GatewayServer(loop)
    place = Place(order["path"], bytes.fromhex(order["key"]), order["host"], order["port"])
    listeners = [Listener(place.path, backlog=256)]
    if place.host:
        listeners.append(Listener((place.host, place.port), backlog=256))
        place = place._replace(port=listeners[-1].address[1])
    for listener in listeners:
        threading.Thread(target=server.accept, args=(listener, place.key), daemon=True).start()
    sys.stdout.write(f"{place.port}\n")
    sys.stdout.flush()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    async def serve() -> None:
        threading.Thread(target=wait, daemon=True).start()
        await ended.wait()
        await server.end()

    ended = asyncio.Event()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serve())
    with suppress(OSError):
        Path(place.path).unlink(missing_ok=True)
        Path(place.path).parent.rmdir()


if __name__ == "__main__":
    main()
