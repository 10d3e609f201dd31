"""A stream that takes its time: what keeps it open, and how it ends when it cannot go on."""

from __future__ import annotations

import threading
import time

import httpx
import openai
import pytest

from conscience.server import Limits, sending
from tests.support.serving import HARM, Serving, scripted, serving

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "harm"}], "stream": True}


def test_what_is_held_is_kept_open_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which clients pass over: the text is there as if nothing had been between."""
    monkeypatch.setattr(sending, "EARLY", 0.02)
    monkeypatch.setattr(sending, "SILENCE", 0.05)
    with serving({"m": scripted(seconds=0.1)}) as served:
        said = httpx.post(served.url + CHAT, json=ASKED, timeout=30)
        assert said.text.count(": \n\n") > 3
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
            stream = client.chat.completions.create(**ASKED)  # type: ignore[call-overload]
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "A clean answer."


def test_what_fails_after_the_beginning_is_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is gone by then; openai's client raises all the same, and no end is told."""
    monkeypatch.setattr(sending, "EARLY", 0.0)
    with serving({"m": scripted(seconds=0.1)}) as served:
        asked = {**ASKED, "messages": [{"role": "user", "content": "down"}]}
        said = httpx.post(served.url + CHAT, json=asked, timeout=30)
        assert '"code":"model_error"' in said.text
        assert "[DONE]" not in said.text
        assert "10.1.2.3" not in said.text
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0)
        with client, pytest.raises(openai.APIError, match="refuses the call"):
            list(client.chat.completions.create(**asked))  # type: ignore[call-overload]


def test_a_stream_that_takes_too_long_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "EARLY", 0.02)
    with serving({"m": scripted(seconds=0.2)}, limits=Limits(request_seconds=0.3)) as served:
        said = httpx.post(served.url + CHAT, json=ASKED, timeout=30)
        assert said.text.endswith('"code":"timeout"}}\n\n')
        assert HARM not in said.text
        late = httpx.post(served.url + CHAT, json={**ASKED, "stream": False}, timeout=30)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")


def test_what_is_not_finished_when_the_server_has_to_end_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams by their last event, others by their status."""
    monkeypatch.setattr(sending, "EARLY", 0.02)
    said: dict[bool, httpx.Response] = {}

    def ask(served: Serving, stream: bool) -> None:
        said[stream] = httpx.post(served.url + CHAT, json={**ASKED, "stream": stream}, timeout=30)

    with serving({"m": scripted(seconds=5.0)}, limits=Limits(shutdown_seconds=1)) as served:
        threads = [threading.Thread(target=ask, args=(served, stream)) for stream in (False, True)]
        for thread in threads:
            thread.start()
        while served.connections < 2:
            time.sleep(0.01)
        time.sleep(0.1)
        served.server.should_exit = True
        for thread in threads:
            thread.join()
    assert said[True].text.endswith('"code":"shutting_down"}}\n\n')
    assert (said[False].status_code, said[False].json()["error"]["code"]) == (503, "shutting_down")
