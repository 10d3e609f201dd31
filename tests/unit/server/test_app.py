"""The routes, without a socket: who may ask, what comes back, and what a failure is told as."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY  # noqa: TID251 - what must stay empty
from starlette.testclient import TestClient

from conscience import Conscience
from conscience.errors import (
    BackendError,
    BudgetExceeded,
    ConfigurationError,
    ConscienceError,
    ContextTooLong,
    EmptyAnswer,
    InputError,
    ReviewError,
    UnresolvedError,
)
from conscience.server import Limits, Policy, create_app
from conscience.server.errors import api_error
from tests.support.serving import HARM, scripted

CHAT = "/v1/chat/completions"
ANSWERING = (CHAT, "/v1/responses", "/v1/review")


def body(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app({"m": scripted()}, limits=Limits(body_bytes=20_000))) as asking:
        yield asking


def text_of(response: Any) -> Any:
    return response.json()["choices"][0]["message"]["content"]


def events_of(response: Any) -> list[Any]:
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [part if part == "[DONE]" else json.loads(part) for part in data]


def test_an_answer_is_openais_with_what_the_review_found(client: TestClient) -> None:
    said = client.post(CHAT, json=body("harm"))
    assert (said.status_code, text_of(said)) == (200, "A clean answer.")
    assert said.json()["conscience"]["status"] == "revised"
    assert said.headers["x-request-id"].startswith("req_")
    assert HARM not in said.text


def test_a_stream_holds_the_reviewed_text_and_ends_as_openais(client: TestClient) -> None:
    said = client.post(CHAT, json=body("harm", stream=True))
    assert said.headers["content-type"].startswith("text/event-stream")
    *chunks, done = events_of(said)
    assert (
        "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]).strip() == "A clean answer."
    )
    assert done == "[DONE]"
    assert HARM not in said.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("asked", "status", "code"), [("down", 502, "model_error"), ("busy", 503, "model_unavailable")])
def test_an_outage_is_told_as_one(client: TestClient, asked: str, status: int, code: str, stream: bool) -> None:
    """Also of a stream, whose status is not sent before its first event; and the provider's words stay in the log."""
    said = client.post(CHAT, json=body(asked, stream=stream))
    assert (said.status_code, said.json()["error"]["code"]) == (status, code)
    assert "10.1.2.3" not in said.text
    assert "conscience" not in said.json()


def test_a_failed_review_is_no_verdict(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is why it failed for whoever asked."""
    with caplog.at_level(logging.WARNING):
        said = client.post(CHAT, json=body("unreviewed"))
    assert (said.status_code, said.json()["conscience"]["status"]) == (200, "unreviewed")
    assert "Paris" not in said.text
    assert "10.1.2.3" not in said.text
    assert "10.1.2.3" in caplog.text


@pytest.mark.parametrize("path", ANSWERING)
@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"null", {}, 400),
        (b'{"model": NaN}', {}, 400),
        (b'{"model": "\xff"}', {}, 400),
        (b'{"model": "\\ud800"}', {}, 400),
        (b"[" * 10_000, {}, 400),
        (b'{"a":' * 100 + b"1" + b"}" * 100, {}, 400),
        (b'{"model": "%s"}' % (b"x" * 30_000), {}, 413),
        (b"model=m", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b'{"model": "m"}', {}, 400),
        (b'{"model": 3, "response": "x", "messages": []}', {}, 400),
    ],
)
def test_a_body_that_cannot_be_used_is_refused(
    client: TestClient, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    """With OpenAI's shape, and none of it given back."""
    said = client.post(path, content=content, headers={"content-type": "application/json", **headers})
    assert said.status_code == status
    assert set(said.json()["error"]) == {"message", "type", "param", "code"}
    assert len(said.text) < 500


@pytest.mark.parametrize("path", ANSWERING)
def test_a_model_that_is_not_there_is_named(client: TestClient, path: str) -> None:
    asked = {CHAT: body(), "/v1/responses": {"input": "hi"}, "/v1/review": {"response": "x"}}[path]
    said = client.post(path, json={**asked, "model": "other"})
    assert (said.status_code, said.json()["error"]["code"], said.json()["error"]["param"]) == (
        404,
        "model_not_found",
        "model",
    )


def test_one_request_is_not_the_work_of_many(client: TestClient) -> None:
    """As many answers as it may ask for count as one towards the concurrency."""
    assert len(client.post(CHAT, json=body(n=3)).json()["choices"]) == 3
    said = client.post(CHAT, json=body(n=9))
    assert (said.status_code, said.json()["error"]["param"]) == (400, "n")


def test_paths_and_methods_that_there_are_not(client: TestClient) -> None:
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    said = client.get(CHAT)
    assert (said.status_code, said.headers["allow"], said.json()["error"]["code"]) == (405, "POST", "method_not_allowed")


def test_a_fault_of_our_own_is_told_without_a_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Neither client nor log gets the text of an error that nobody foresaw: it may be a draft's."""
    program = scripted(refusal=lambda outcome: str({}[HARM]))
    with TestClient(create_app({"m": program})) as client:
        said = client.post(CHAT, json=body("stubborn"))
    assert (said.status_code, said.json()["error"]["code"]) == (500, "internal_error")
    assert HARM not in said.text + caplog.text
    assert "KeyError, from" in caplog.text


def test_a_text_from_anywhere_is_reviewed(client: TestClient) -> None:
    said = client.post("/v1/review", json={"request": "What?", "response": f"{HARM}, do it."}).json()
    assert (said["object"], said["model"], said["flagged"]) == ("review", "m", True)
    assert said["findings"][0]["principle"] == "no-serious-harm"
    conversation = [{"role": "user", "content": "What?"}]
    said = client.post("/v1/review", json={"model": "m", "request": conversation, "response": "Paris."}).json()
    assert said["flagged"] is False


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"response": "x", "extra": 1}, "extra"),
        ({"response": ""}, "response"),
        ({"response": 1}, "response"),
        ({"response": "x", "request": 7}, "request"),
        ({"response": "x", "request": [1]}, "request"),
        ({"response": "x", "reasoning": []}, "reasoning"),
    ],
)
def test_a_review_of_what_is_no_text_is_refused_by_name(client: TestClient, given: dict[str, Any], param: str) -> None:
    said = client.post("/v1/review", json=given)
    assert (said.status_code, said.json()["error"]["param"]) == (400, param)


def test_a_review_that_fails_is_an_outage(client: TestClient) -> None:
    said = client.post("/v1/review", json={"request": "unreviewed", "response": "x"})
    assert (said.status_code, said.json()["error"]["code"]) == (502, "model_error")


def test_a_server_remembers_no_call() -> None:
    """DSPy's histories and traces would hold thousands of requests, and drafts that nobody may see."""
    program = scripted()
    before = len(GLOBAL_HISTORY), len(dspy.settings.trace or ())
    with TestClient(create_app({"m": program})) as client:
        for stream in (False, True):
            client.post(CHAT, json=body("harm", stream=stream))
        client.post("/v1/review", json={"response": "x"})
    assert (len(GLOBAL_HISTORY), len(dspy.settings.trace or ())) == before
    assert not program.history
    assert not program.get_lm().history


# Keys ------------------------------------------------------------------------------------------------------------------

POLICIES = (
    Policy("acme", "key-of-acme", {"gpt-4o": "m"}, threshold=0.99),
    Policy("boss", "key-of-the-operator", operator=True),
)


@pytest.fixture(scope="module")
def keyed() -> Iterator[TestClient]:
    with TestClient(create_app({"m": scripted(), "other": scripted()}, policies=POLICIES)) as asking:
        yield asking


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearing(""),
        bearing("key-of-acm"),
        bearing("key-of-acme "[:-1] + "x"),
        {"authorization": "Basic key-of-acme"},
        {"authorization": "key-of-acme"},
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/review", "/v1/models", "/metrics"])
def test_nothing_without_a_key(keyed: TestClient, path: str, headers: dict[str, str]) -> None:
    """And the key that was sent is not given back."""
    said = (
        keyed.get(path, headers=headers)
        if path in ("/v1/models", "/metrics")
        else keyed.post(path, json=body(), headers=headers)
    )
    assert (said.status_code, said.json()["error"]["code"]) == (401, "invalid_api_key")
    assert said.headers["www-authenticate"] == "Bearer"
    assert "key-of" not in said.text


def test_each_key_has_its_own_models(keyed: TestClient) -> None:
    def names(key: str) -> list[str]:
        return [model["id"] for model in keyed.get("/v1/models", headers=bearing(key)).json()["data"]]

    assert names("key-of-acme") == ["gpt-4o"]
    assert names("key-of-the-operator") == ["m", "other"]
    assert keyed.post(CHAT, json=body(), headers=bearing("key-of-acme")).status_code == 404
    assert keyed.get("/v1/models/gpt-4o", headers=bearing("key-of-acme")).json()["id"] == "gpt-4o"
    assert keyed.get("/v1/models/m", headers=bearing("key-of-acme")).status_code == 404


def test_each_key_has_its_own_threshold(keyed: TestClient) -> None:
    """The draft's probability is .95."""
    strict = keyed.post(CHAT, json=body("harm"), headers=bearing("key-of-the-operator")).json()
    lenient = keyed.post(CHAT, json={**body("harm"), "model": "gpt-4o"}, headers=bearing("key-of-acme")).json()
    assert (strict["conscience"]["status"], lenient["conscience"]["status"]) == ("revised", "clean")


def test_metrics_are_the_operators() -> None:
    with TestClient(create_app({"m": scripted(), "other": scripted()}, policies=POLICIES)) as client:
        client.post(CHAT, json={**body("harm"), "model": "gpt-4o"}, headers=bearing("key-of-acme"))
        client.post(CHAT, json=body("harm"), headers=bearing("key-of-the-operator"))
        assert client.get("/metrics", headers=bearing("key-of-acme")).status_code == 403
        text = client.get("/metrics", headers=bearing("key-of-the-operator")).text
    assert 'conscience_outcomes_total{model="gpt-4o",status="clean",tenant="acme"} 1.0' in text
    assert 'conscience_model_calls_total{model="m",role="revise",tenant="boss"} 1.0' in text
    assert 'route="other"' not in text
    assert HARM not in text
    assert "key-of" not in text


@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
@pytest.mark.parametrize(("asked", "status"), [("hi", "clean"), ("unreviewed", "unreviewed")])
def test_a_stream_counts_once(path: str, asked: str, status: str, caplog: pytest.LogCaptureFixture) -> None:
    """However many of its events tell of the review; and none of them tells why it failed."""
    with TestClient(create_app({"m": scripted()})) as client:
        request = body(asked) if path == CHAT else {"model": "m", "input": asked}
        assert "10.1.2.3" not in client.post(path, json={**request, "stream": True}).text
        assert caplog.text.count("10.1.2.3") == (status == "unreviewed")
        assert f'conscience_outcomes_total{{model="m",status="{status}",tenant=""}} 1.0' in client.get("/metrics").text


def test_probes_need_no_key(keyed: TestClient) -> None:
    assert keyed.get("/healthz").json() == {"status": "ok"}
    assert keyed.get("/readyz").json() == {"status": "ready"}


def test_a_program_is_served_under_a_policy_without_being_changed() -> None:
    program = scripted()
    before = program.threshold
    create_app({"m": program}, policies=[Policy("a", "key-a", threshold=0.9), Policy("b", "key-b", threshold=0.1)])
    assert program.threshold == before


@pytest.mark.parametrize(
    "build",
    [
        lambda: create_app({}),
        lambda: create_app({"m": Conscience("question, documents -> answer", lm="local")}),
        lambda: create_app({"m": scripted()}, policies=[Policy("a", "k"), Policy("b", "k")]),
        lambda: create_app({"m": scripted()}, policies=[Policy("a", "k", {"x": "nothing"})]),
        lambda: Policy("a", ""),
        lambda: Policy("a", "two words"),
        lambda: Policy("a", "k", threshold=1.5),
        lambda: Policy("a", "k", mode="look"),
        lambda: Limits(concurrency=0),
        lambda: Limits(queue=-1),
        lambda: Limits(body_bytes=1.5),  # type: ignore[arg-type]
        lambda: Limits(request_seconds=float("inf")),
    ],
)
def test_what_cannot_be_served_is_said_when_it_is_set_up(build: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build()
    assert "two words" not in str(caught.value)


def test_a_key_is_in_no_repr() -> None:
    assert "key-of-acme" not in repr(POLICIES)


def test_only_this_machine_is_answered_where_there_is_no_key() -> None:
    """A page in a browser can have any name resolved to loopback; the name stands in the header."""
    app = create_app({"m": scripted()}, only_local=True)
    for host, status in (
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
    ):
        assert TestClient(app).get("/v1/models", headers={"host": host}).status_code == status


# Errors ----------------------------------------------------------------------------------------------------------------


def in_review(error: ConscienceError) -> ConscienceError:
    error.in_review = True
    return error


TOLD = [
    (InputError("request: bad"), 400, "invalid_value"),
    (UnresolvedError("still flagged"), 400, "content_filter"),
    (ContextTooLong("x"), 400, "context_length_exceeded"),
    (EmptyAnswer("x", reason="filtered"), 400, "provider_content_filter"),
    (EmptyAnswer("x", reason="cut"), 400, "max_tokens_too_low"),
    (EmptyAnswer("x"), 503, "model_unavailable"),
    (BackendError("x", retryable=True), 503, "model_unavailable"),
    (BackendError("x", gone=True), 502, "model_error"),
    (BackendError("x"), 400, "refused_by_model"),
    (in_review(BackendError("x")), 503, "review_failed"),
    (in_review(ContextTooLong("x")), 503, "review_failed"),
    (in_review(EmptyAnswer("x", reason="filtered")), 503, "review_failed"),
    (BudgetExceeded("x"), 503, "budget_exceeded"),
    (ReviewError("x"), 503, "review_failed"),
    (ConfigurationError("OPENAI_API_KEY is not set"), 500, "configuration_error"),
]


@pytest.mark.parametrize(("error", "status", "code"), TOLD, ids=[type(error).__name__ for error, *_ in TOLD])
def test_every_error_has_a_status_of_its_own_kind(error: ConscienceError, status: int, code: str) -> None:
    """What a caller did wrong and what a verdict led to is 4xx, an outage 5xx; where asking again helps, it is said when."""
    told = api_error(error)
    assert (told.status, told.code) == (status, code)
    if status >= 500:
        assert ("retry-after" in told.headers) != ("x-should-retry" in told.headers)
        assert "OPENAI" not in told.message


def test_a_request_id_is_the_callers_where_it_is_one(client: TestClient) -> None:
    assert client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/healthz", headers={"x-request-id": "a\tb" * 99}).headers["x-request-id"].startswith("req_")
