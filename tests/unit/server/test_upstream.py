"""The model behind the server fails: what a client is told, and what stays behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conscience import Conscience
from conscience.server import Limits
from tests.support.loopback import Loopback, Raw, chat, error, is_gate, well_behaved
from tests.support.serving import Serving, serving

STREAMS = (False, True)
SECRET = "a draft that nobody reviewed"


@pytest.fixture
def served(server: Loopback) -> Iterator[Serving]:
    program = Conscience(lm=server.backend(retries=1))
    with serving({"m": program}, limits=Limits(request_seconds=2.0)) as running:
        yield running


def ask(served: Serving, *, stream: bool = False) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=30)


FAILURES = {
    "dies in the middle": (Raw(text='{"choices": [{"message": {"content": "' + SECRET, cut=True), 503, "model_unavailable"),
    "sends a page": (Raw(text=f"<html>{SECRET}</html>", content_type="text/html"), 503, "model_unavailable"),
    "fails": (error(500, SECRET), 503, "model_unavailable"),
    "is busy": (error(429, SECRET, **{"retry-after": "0"}), 503, "model_unavailable"),
    "refuses the key": (error(401, SECRET), 502, "model_error"),
    "finds it too long": (error(400, "maximum context length is 8 tokens"), 400, "context_length_exceeded"),
    "refuses the request": (error(422, SECRET), 400, "refused_by_model"),
    "filters": (error(400, "content_filter"), 400, "provider_content_filter"),
    "hangs": (Raw(text="{}", hang=2.5), 504, "timeout"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.long
def test_a_generation_that_fails_is_an_outage(server: Loopback, served: Serving, name: str) -> None:
    """With a status, whole or streamed, and without the provider's words."""
    answer, status, code = FAILURES[name]
    server.behaviour = lambda body, number: answer
    for stream in STREAMS if name != "hangs" else STREAMS[:1]:
        said = ask(served, stream=stream)
        assert (said.status_code, said.json()["error"]["code"]) == (status, code)
        assert SECRET not in said.text


@pytest.mark.parametrize("answer", [Raw(text="{", cut=True), error(500, "gone"), error(401, "no")])
def test_a_review_that_fails_closes(server: Loopback, served: Serving, answer: Any) -> None:
    """The draft is there by then, and nobody sees it; nor is a verdict told."""
    server.behaviour = lambda body, number: answer if is_gate(body) else chat(SECRET)
    for stream in STREAMS:
        said = ask(served, stream=stream)
        assert said.status_code == 200
        assert '"status":"unreviewed"' in said.text
        assert SECRET not in said.text


def test_a_storm_of_429_leaves_nothing_behind(server: Loopback, served: Serving) -> None:
    """No connection, no file, no turn; and when it is over, the next request is answered."""
    server.behaviour = lambda body, number: error(429, "slow down", **{"retry-after": "0"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    codes: list[int] = []

    def storm() -> None:
        with httpx.Client(timeout=30) as client:
            for _ in range(3):
                body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                codes.append(client.post(f"{served.url}/v1/chat/completions", json=body).status_code)

    threads = [threading.Thread(target=storm) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [503] * 36
    server.behaviour = well_behaved
    assert ask(served).status_code == 200
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 40  # the pooled connections to the model


def test_a_client_that_leaves_ends_the_call(server: Loopback, served: Serving) -> None:
    """What comes after the draft is not asked for: nobody is left to pay for."""
    server.behaviour = lambda body, number: Raw(text="{}", hang=0.4)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{served.url}/v1/chat/completions",
            json={"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            timeout=0.15,
        )
    assert ask_until_idle(served)
    assert len(server.calls) == 1


def ask_until_idle(served: Serving) -> bool:
    """Whether no request is under way, after a while."""
    for _ in range(100):
        text = httpx.get(f"{served.url}/metrics").text
        if "conscience_running_requests 0.0" in text and 'status="499"' in text:
            return True
    return False
