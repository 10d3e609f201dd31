"""From a request to its outcome, with the answer released in windows: each is reviewed as an answer that ends there.

text ─▶ window ─▶ Review of all up to its end ─pass─▶ released; meanwhile the next one is generated
                                              ─flag─▶ generation ends; what was released stays, its continuation is
                                                      revised, and reviewed as one with it before anything more leaves
end of the answer ─▶ Review of the whole ─▶ the rest is released, or revised likewise
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dspy

from conscience._base.flow import Flow, IOStep, StageStarted, run_async
from conscience._calls.call import Call
from conscience._dspy.lm import ChatPredict
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.backends.streams import ended, heard_by
from conscience.errors import BackendError, BudgetExceeded, ReviewError
from conscience.modules.generate import Generate
from conscience.modules.review import Review
from conscience.modules.task import asks_plainly
from conscience.outcome import Draft, Verdict
from conscience.streaming.listening import PartialAnswer, Window
from conscience.usage import CallContext, Exchange

HELD = "stream: held until the review: {why}"

Emit = Callable[[StageStarted | str], None]
"""Is given each stage as it begins, and each text as it is released."""


def windowed(
    generate: Generate, review: Review, inputs: Mapping[str, Any], call: Call, writer: BoundBackend, emit: Emit
) -> Flow[tuple[Draft, Verdict | None]]:
    """The draft, parts of which were released while it was written (``call.released``), and the verdict on it where it has
    one: on the whole answer, or on as much of it as was flagged. Driven async where anything can be released.

    Args:
        generate: writes the draft.
        review: judges it, and its windows.
        inputs: of the call.
        call: pays, and keeps what was released.
        writer: the model that generates.
        emit: is given what is released.

    Raises:
        ConscienceError: there is no draft. What was released stays released.
    """
    if why := _held_because(generate, inputs):
        call.tracker.note(HELD.format(why=why))
        return (yield from generate.draft(inputs, writer)), None
    windows = _Windows(generate, review, inputs, call, writer, emit)
    return (yield IOStep(_refuse_sync, windows.draft))  # type: ignore[no-any-return]


def _held_because(generate: Generate, inputs: Mapping[str, Any]) -> str:
    """Why an answer to these inputs cannot be released before its end; empty where it can."""
    predict = generate.predict
    if not isinstance(predict, ChatPredict):
        return "what generates is not a plain chat turn"
    if not asks_plainly(predict.signature, inputs):
        return "the answer is written in the format of an adapter"
    return ""


def _thinks_aloud(backend: Backend) -> bool:
    """Whether thinking stands, or may stand, where the answer does: it was seen to, or the model thinks and no table says
    that its server tells the two apart."""
    seen = backend.transports[0].habits.knows("thinking aloud")
    return bool(seen) or (backend.thinks and not backend.supports("reasoning"))


def _refuse_sync() -> Any:
    raise AssertionError("a stream is driven async")


@dataclass
class _Windows:
    """The windows of one answer."""

    generate: Generate
    review: Review
    inputs: Mapping[str, Any]
    call: Call
    writer: BoundBackend
    emit: Emit

    async def draft(self) -> tuple[Draft, Verdict | None]:
        """See ``windowed``."""
        backend = self.writer.backend
        answer = PartialAnswer(thinks_aloud=_thinks_aloud(backend))
        with heard_by(answer):
            writing = asyncio.ensure_future(run_async(self.generate.draft(self.inputs, self.writer)))
        last: tuple[Draft, Verdict] | None = None
        try:
            while (window := await answer.next_window(self.call.released, writing)) is not None:
                if self.call.observe is not None:
                    self._release(window, answer)  # its review alters nothing, and comes later
                    continue
                draft = self._draft_of(window)
                try:
                    review = self.review.judge(draft, self.call.model("review"))
                    verdict = await run_async(review, self.emit)
                except (ReviewError, BackendError) as error:
                    self._note(f"a window was not reviewed ({error.message}); the rest is held until the answer's end")
                    break
                except BudgetExceeded:
                    if self.call.on_error != "open":
                        raise  # nothing more can be released, so nothing more is generated
                    break
                if answer.attempt != window.attempt:
                    continue  # that answer broke off, and another one has begun
                if verdict.flagged:
                    self._note("a window was flagged, and the generation ended there")
                    return draft, verdict
                self._release(window, answer)
                last = draft, verdict
            if window is None and answer.held_because:
                self.call.tracker.note(HELD.format(why=answer.held_because))
            draft = await writing
        finally:
            await ended(writing)
        self._check(draft)
        if self.call.observe is not None:
            self.call.released = ""  # what would have become of the draft is found out as if nobody had seen it
        return draft, last[1] if last is not None and _same(draft, last[0]) else None

    def _draft_of(self, window: Window) -> Draft:
        """A window, with all before it, as the draft that it would be if the answer ended there."""
        (name,) = self.generate.predict.signature.output_fields
        ctx = CallContext(self.call.tracker, "generate")
        prediction = dspy.Prediction(**{name: window.text})
        ctx.exchanges.append(Exchange(tuple(window.messages), window.completion, dict(window.params)))
        ctx.steps.append((self.generate.predict, self.inputs, prediction))
        return self.generate.read(prediction, self.inputs, BoundBackend(self.writer.backend, ctx))

    def _release(self, window: Window, answer: PartialAnswer) -> None:
        """Lets out what is new in a window; from here on there is no other answer."""
        answer.committed = True
        piece = window.text[len(self.call.released) :]
        self.call.released = window.text
        self.emit(piece)

    def _check(self, draft: Draft) -> None:
        """Refuses an answer that turns out to be another one than was shown of it.

        Raises:
            BackendError: such as thinking that nothing marked before its end.
        """
        if not str(next(iter(draft.outputs.values()))).startswith(self.call.released):
            raise BackendError(
                f"{self.writer.name}: what was streamed first is no part of the answer",
                hint="ask again: if it was thinking, that is known now",
                retryable=True,
            )

    def _note(self, event: str) -> None:
        self.call.tracker.note(f"stream: {event}")


def _same(draft: Draft, judged: Draft) -> bool:
    """Whether a verdict on the one is a verdict on the other."""
    return replace(draft, truncated=judged.truncated) == judged
