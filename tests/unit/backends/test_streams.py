"""Token streams of a backend: the light wire against a server on loopback, and scripted models."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from conscience import Backend, BackendError
from conscience.messages.completion import Completion
from conscience.testing import Fault, ScriptedLM
from conscience.usage import CallContext, UsageTracker
from tests.support.loopback import Loopback, Streamed, chat, chunk, error, stream

ASKED = [{"role": "user", "content": "What is the capital of France?"}]
DONE = b"data: [DONE]\n\n"
END = chunk(finish="stop")


def read(server: Loopback, **options: Any) -> tuple[list[str], Completion]:
    """The pieces of a streamed answer, and all of it."""
    *pieces, completion = server.backend(**options).stream(ASKED, {})
    assert isinstance(completion, Completion)
    return pieces, completion  # type: ignore[return-value]


async def aread(backend: Backend) -> list[str | Completion]:
    return [part async for part in backend.astream(ASKED, {})]


def test_pieces_come_as_they_are_written_and_the_usage_with_the_last() -> None:
    """The request asks for both; cost and tokens are entered as for any other answer."""
    with Loopback(lambda body, number: stream("Par", "is.")) as server:
        pieces, completion = read(server)
    assert (pieces, completion.text, completion.tokens()) == (["Par", "is."], "Paris.", (7, 3, 0))
    assert server.calls[0]["stream"] is True
    assert server.calls[0]["stream_options"] == {"include_usage": True}


async def test_the_first_piece_comes_before_the_last_is_written() -> None:
    """A server that waits with the rest does not hold up what it has written."""
    with Loopback(lambda body, number: Streamed([chunk("Par"), 5.0, chunk("is."), END, DONE])) as server:
        answer = server.backend().astream(ASKED, {})
        began = time.monotonic()
        assert await anext(answer) == "Par"
        assert time.monotonic() - began < 4
        await answer.aclose()  # type: ignore[attr-defined]


ENDS = {
    "done alone": [chunk("Paris."), DONE],
    "a finish reason alone": [chunk("Paris."), END],
    "no blank line at the end": [chunk("Paris."), END, b"data: [DONE]"],
    "something after the end": [chunk("Paris."), END, DONE, chunk(" No.")],
    "comments and blanks": [b": ping\n\n", b"\n\n", chunk("Paris."), b"event: x\nid: 3\n\n", END, DONE],
    "all in one": [chunk("Par") + chunk("is.") + END + DONE],
    "a byte a time": [bytes([byte]) for byte in chunk("Paris.") + END],
}


@pytest.mark.parametrize("pieces", ENDS.values(), ids=list(ENDS))
def test_streams_end_as_servers_end_them(pieces: list[bytes]) -> None:
    """Each is one whole answer."""
    with Loopback(lambda body, number: Streamed(pieces)) as server:
        assert read(server)[1].text == "Paris."


def test_a_server_that_leaves_the_connection_open_has_answered() -> None:
    """After the end mark nothing is waited for."""
    with Loopback(lambda body, number: Streamed([chunk("Paris."), END, DONE], endless=True)) as server:
        assert read(server)[1].text == "Paris."


def test_a_cut_after_the_finish_reason_lost_nothing() -> None:
    """The tokens are estimated then."""
    with Loopback(lambda body, number: Streamed([chunk("Paris."), END], cut=True)) as server:
        completion = read(server)[1]
    assert (completion.text, completion.tokens()) == ("Paris.", (7, 1, 0))


def test_a_server_may_answer_without_a_stream() -> None:
    """The text comes whole then."""
    with Loopback(lambda body, number: chat("Paris.")) as server:
        assert read(server)[0] == ["Paris."]


REFUSED = {
    "stream_options": (["stream_options"], "Unrecognized request argument supplied: stream_options"),
    "include_usage": (["stream_options"], "stream_options.include_usage: extra fields not permitted"),
    "stream": (["stream", "stream_options"], "Streaming is not supported for this model"),
}


@pytest.mark.parametrize(("names", "words"), REFUSED.values(), ids=list(REFUSED))
def test_a_refused_parameter_of_streams_is_left_out(names: list[str], words: str) -> None:
    """As any other, and remembered."""

    def behaviour(body: Any, number: int) -> Any:
        if any(name in body for name in names):
            return error(400, words)
        return stream("Paris.") if body.get("stream") else chat("Paris.")

    with Loopback(behaviour) as server:
        assert read(server)[1].text == "Paris."
        before = len(server.calls)
        assert read(server)[1].text == "Paris."
    assert len(server.calls) == before + 1
    assert not any(name in server.calls[-1] for name in names)


BROKEN = {
    "cut": Streamed([chunk("Par")], cut=True),
    "no end": Streamed([chunk("Par")]),
    "an error event": Streamed([chunk("Par"), b'data: {"error": {"message": "overloaded", "code": 503}}\n\n']),
    "no JSON": Streamed([chunk("Par"), b"data: <html>\n\n"]),
    "broken off": Streamed([chunk("Par"), chunk(finish="error"), DONE]),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_a_stream_that_breaks_is_not_begun_again(broken: Streamed) -> None:
    """Its first piece was read: no other answer can follow it."""
    with Loopback(lambda body, number: broken) as server:
        answer = server.backend(retries=2).stream(ASKED, {})
        assert next(answer) == "Par"
        with pytest.raises(BackendError) as caught:
            list(answer)
    assert "Par" not in str(caught.value)
    assert len(server.calls) == 1


def test_what_breaks_before_its_first_piece_is_asked_for_again() -> None:
    """As any call is."""
    early = [Streamed([], cut=True), error(500, "oops"), stream("Paris.")]
    with Loopback(lambda body, number: early[number - 1]) as server:
        assert read(server, retries=2)[0] == ["Paris."]


def test_the_next_model_takes_over_before_the_first_piece() -> None:
    """And only then."""
    with Loopback(lambda body, number: stream("Paris.")) as server:
        backend = Backend(ScriptedLM([Fault("auth")]), fallbacks=[server.backend()])
        *pieces, completion = backend.stream(ASKED, {})
    assert (pieces, completion.fallback) == (["Paris."], True)  # type: ignore[union-attr]


async def test_whoever_leaves_ends_the_call_upstream() -> None:
    """The connection is closed, and what came is paid for by an estimate."""
    endless = Streamed([chunk("one "), chunk("two ")], endless=True)
    tracker = UsageTracker()
    with Loopback(lambda body, number: endless) as server:
        backend = server.backend()
        answer = backend.astream(ASKED, {}, ctx=CallContext(tracker, "generate"))
        assert await anext(answer) == "one"
        await asyncio.sleep(0.05)
        await answer.aclose()  # type: ignore[attr-defined]
        for _ in range(100):
            if server.left:
                break
            await asyncio.sleep(0.02)
        assert len(server.left) == 1
    used = tracker.usage().by_role["generate"]
    assert (used.calls, used.output_tokens, used.input_tokens) == (1, 2, len(ASKED[0]["content"]) // 4)


def test_a_lost_iterator_ends_the_call_upstream() -> None:
    """Also where nobody closes it."""
    with Loopback(lambda body, number: Streamed([chunk("one"), chunk(" ")], endless=True)) as server:
        answer = server.backend().stream(ASKED, {})
        assert next(answer) == "one"
        del answer
        for _ in range(100):
            if server.left:
                break
            time.sleep(0.02)
        assert len(server.left) == 1


def test_a_stream_has_no_longer_than_any_call() -> None:
    """However busily the server writes."""
    dripping = Streamed([part for _ in range(100) for part in (chunk(" "), 0.05)])
    with Loopback(lambda body, number: dripping) as server, pytest.raises(BackendError, match=r"no answer within 0\.3"):
        read(server, timeout=0.3, retries=0)


async def test_a_stream_is_kept_like_any_answer(tmp_path: Any) -> None:
    """Under the key of the same call without a stream."""
    with Loopback(lambda body, number: stream("Paris.") if body.get("stream") else chat("Lyon.")) as server:
        backend = server.backend(cache=tmp_path)
        assert (await aread(backend))[0] == "Paris."
        await asyncio.sleep(0)
        assert (await backend.acomplete(ASKED, {})).text == "Paris."
        assert (await aread(backend))[0] == "Paris."
    assert len(server.calls) == 1


def test_a_scripted_model_streams_in_chunks_of_its_own() -> None:
    """And breaks where it is told to."""
    lm = ScriptedLM(["Paris is it."], chunks=lambda text: text.partition(" "))
    assert list(Backend.of(lm).stream(ASKED, {}))[:-1] == ["Paris", " is it."]
    broken = Backend(ScriptedLM([Fault("connection", after="Par")]), retries=0).stream(ASKED, {})
    assert next(broken) == "Par"
    with pytest.raises(BackendError, match="scripted fault"):
        next(broken)
