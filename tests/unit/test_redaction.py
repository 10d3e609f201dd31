"""Credentials: what counts as one, where each may be known from, and that no form of it is in anything that is told."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import pickle
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import cloudpickle
import dspy
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Backend, BackendError, BudgetExceeded, Case, Conscience, ConscienceError, EvalConfig
from conscience._redaction import PLACEHOLDERS, credentials_in, is_worth_hiding, names_a_secret, redact
from conscience.cli.main import cli
from conscience.evals.runner import run
from conscience.messages.echoes import LEFT_OUT, without_echo
from tests.support.loopback import Body, Loopback, Raw, error, is_critique, is_gate, is_revision, well_behaved

HELLO = [{"role": "user", "content": "hello"}]

secrets = st.text(alphabet="abcdefghijkXYZ0123456789-_/+=.:@!$&'\"<>%\\ é", min_size=10, max_size=60).filter(
    lambda s: s.strip() == s and is_worth_hiding(s)
)

ECHOES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quoted": repr,
    "bytes": lambda s: repr(s.encode()),
    "JSON": json.dumps,
    "JSON of JSON": lambda s: json.dumps(json.dumps({"key": s})),
    "JSON with letters": lambda s: json.dumps(s, ensure_ascii=False),
    "percent": lambda s: quote(s, safe=""),
    "percent in part": quote,
    "percent, small": lambda s: quote(s, safe="").lower() if s == s.lower() else quote(s, safe=""),
    "percent twice": lambda s: quote(quote(s, safe=""), safe=""),
    "form": quote_plus,
    "HTML": html.escape,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for addresses": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "Basic": lambda s: "Basic " + base64.b64encode(f"user:{s}".encode()).decode(),
    "Basic, other user": lambda s: "Basic " + base64.b64encode(f"me@x.org:{s}".encode()).decode(),
    "hexadecimal": lambda s: s.encode().hex(),
    "in a sentence": lambda s: f"Incorrect API key provided: {s}. You can find your key at https://x.org/keys.",
}


# What counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "",
        "no",
        "test",
        "none",
        "EMPTY",
        "sk-1",
        "x",
        "null",
        "lm-studio",
        "ollama",
        "dummy",
        "password",
        "Anything",
        "12345678",
        "xxxxxxxxxxxxxxxx",
        "not-needed",
        "fake-api-key",
    ],
)
def test_what_is_no_secret_garbles_nothing(key: str, server: Loopback) -> None:
    """A short or common key is left alone wherever it stands: it protects nothing."""
    said = f"no test of none is EMPTY: {key or 'x'} is not known, dummy or not"
    server.behaviour = lambda body, n: error(400, said)
    backend = Backend("openai/x", api_base=server.url, api_key=key or "x", cache=False)
    with pytest.raises(BackendError) as caught:
        backend.complete(HELLO, {})
    assert said in str(caught.value)


def test_the_rule_is_the_one_that_is_told() -> None:
    """8 characters of two kinds, or 12 of one, 4 of them different, and no placeholder."""
    assert all(map(is_worth_hiding, ("hunter22", "aB3$aB3$", "correcthorsebattery", "sk-0123456789", "pässwörter-1")))
    assert not any(map(is_worth_hiding, ("hunter2", "elephants", "1a1a1a1a1a1a1a", *PLACEHOLDERS)))


@pytest.mark.parametrize("name", [
    "api_key", "apiKey", "OPENAI_API_KEY", "azure_ad_token", "aws_secret_access_key", "aws_session_token", "password",
    "X-Api-Key", "authorization", "Proxy-Authorization", "cookie", "client_secret", "private_key", "PGPASSWORD", "HF_TOKEN",
    "DB_PASSWORD", "github.token", "subscriptionkey", "SAS", "vertex_credentials", "Ocp-Apim-Subscription-Key", "passphrase",
])  # fmt: skip
def test_names_of_credentials(name: str) -> None:
    """Whatever joins their words."""
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "temperature",
        "model",
        "api_base",
        "monkey_patch",
        "author",
        "keyboard",
        "top_logprobs",
        "passage",
        "TOKENIZERS_PARALLELISM",
        "organization",
        "compass",
        "authority",
    ],
)
def test_names_of_other_things(name: str) -> None:
    """That only look alike."""
    assert not names_a_secret(name)


# Where one may be known from -------------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "api_key": lambda s: {"api_key": s},
    "azure_ad_token": lambda s: {"azure_ad_token": s},
    "aws_secret_access_key": lambda s: {"aws_secret_access_key": s},
    "password": lambda s: {"password": s},
    "some token": lambda s: {"my_own_token": s},
    "headers": lambda s: {"extra_headers": {"X-Whatever": s}},
    "default_headers": lambda s: {"default_headers": {"Authorization": f"Bearer {s}"}},
    "Basic": lambda s: {"headers": {"Authorization": "Basic " + base64.b64encode(f"u:{s}".encode()).decode()}},
    "mapping": lambda s: {"vertex_credentials": {"type": "service_account", "private_key": s}},
    "JSON": lambda s: {"vertex_credentials": json.dumps({"type": "service_account", "private_key": s})},
    "address's user": lambda s: {"api_base": f"http://me:{quote(s, safe='')}@127.0.0.1:1/v1"},
    "address's query": lambda s: {"api_base": f"http://127.0.0.1:1/v1?key={quote(s, safe='')}"},
    "inside": lambda s: {"extra_body": {"auth": [{"token": s}]}},
}


@settings(max_examples=60)
@given(secrets, st.sampled_from(sorted(PLACES)), st.sampled_from(sorted(ECHOES)))
def test_no_form_of_a_credential_stays(secret: str, place: str, echo: str) -> None:
    """Wherever it was given, and however it is repeated, in the middle of other text."""
    known = credentials_in(PLACES[place](secret))
    assert known
    form = ECHOES[echo](secret)
    told = redact(f"the server says >{form}< of it", known)
    assert secret not in told
    assert form not in told or not any(c.isalnum() for c in form)
    assert told.startswith("the server says")
    assert told.endswith("of it")


def test_cookies_and_key_files_are_known_in_parts() -> None:
    """A cookie's value, a line of a private key; neither words around them nor the names beside them."""
    lines = ("-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj")
    key = "\n".join(lines)
    known = credentials_in({"cookie": "theme=dark; session=0a1b2c3d4e5f", "vertex_credentials": {"private_key": key}})
    assert redact("session=0a1b2c3d4e5f; theme=dark", known).endswith("[redacted]; theme=dark")
    assert "BKcwggSj" not in redact(f"cannot read {' '.join(key.split())} here", known)
    assert "BKcwggSj" not in redact("bad line BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj in it", known)


def test_the_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """By names of variables, and by what stands in addresses; not what is a place on this machine."""
    monkeypatch.setenv("SOMEBODY_API_KEY", "hunter22")
    monkeypatch.setenv("DATABASE_URL", "postgres://app:pa55w0rd!@db:5432/x")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/")
    assert redact("key hunter22! pa55w0rd! /", []) == "key [redacted]! [redacted] /"


@pytest.mark.parametrize("text", [
    "Bearer token is missing", "Incorrect API key provided: sk-ab***wxyz", "see key-value-stores", "the key_name_1 field",
    "https://x.org/a?b=c", "at 10:30 me@x.org", "sk-learn", "pk-column", "basic authentication",
])  # fmt: skip
def test_what_looks_like_a_key_and_is_none_stays(text: str) -> None:
    """Sentences about keys, and parts of keys that a server shows on purpose."""
    assert redact(text.replace("sk-ab***wxyz", "sk-ab…wxyz")) == text.replace("sk-ab***wxyz", "sk-ab…wxyz")


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-0123456789abc",
        "gsk_0123456789abc",
        "Bearer abc123def456",
        "hf_0a1b2c3d4e5f",
        "AKIAIOSFODNN7EXAMPLE",
        "https://me:pw@x.org/",
        "http://x.org/?api-key=abcd",
    ],
)
def test_what_looks_like_a_key_goes_whoevers_it_is(key: str) -> None:
    """Keys of others, which nobody told this process."""
    assert "[redacted]" in redact(f"you sent {key} today")


def test_long_texts_take_linear_time() -> None:
    """A megabyte of what might begin a key, for a hundred secrets."""
    known = [f"s3cr3t-{n:05d}-{n * 7919:09d}" for n in range(100)]
    for text in (
        "sk-" * 350_000,
        "Bearer " * 150_000,
        "://a:" * 200_000,
        "%5c" * 350_000,
        "a" * 1_000_000,
        "&key=" * 200_000,
    ):
        started = time.monotonic()
        redact(text, known)
        assert time.monotonic() - started < 20


# That it is in nothing that is told ------------------------------------------------------------------------------------


def told(server: Loopback, options: dict[str, Any], *, engine: str, tmp_path: Path, caplog: Any) -> str:
    """All that the library emits about calls that fail, for any reader."""
    kinds = {"lm": lambda: dspy.LM("openai/fake", engine="litellm", num_retries=0, cache=False, **options)}
    model = kinds[engine]() if engine in kinds else "openai/fake"
    own = {} if engine in kinds else {**options, "engine": engine}
    backend = Backend(model, retries=0, cache=tmp_path / "cache", **own)
    ours = well_behaved

    def only_review_fails(body: Body, number: int) -> Body | Raw:
        return failing(body, number) if is_gate(body) or is_critique(body) else ours(body, number)

    failing = server.behaviour
    shown: list[str] = [repr(backend)]
    with caplog.at_level(logging.DEBUG, logger="conscience"):
        for call in (lambda: backend.complete(HELLO, {}), lambda: asyncio.run(backend.acomplete(HELLO, {}))):
            with pytest.raises(BackendError) as caught:
                call()
            shown += [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
            logging.getLogger("conscience.test").exception("it failed", exc_info=caught.value)
        program = Conscience("question -> answer", lm=[backend, Backend(model, retries=0, cache=False, **own)])
        shown += [repr(program), str(program.dump_state())]
        server.behaviour = only_review_fails
        outcome = program(question="hello")
        shown += [json.dumps(outcome.to_json(full=True)), repr(outcome), str(outcome.error), str(outcome.events)]
        asyncio.run(run(program, [Case(id="1", request="hello", request_safe=True)], tmp_path / "run", EvalConfig()))
        program.save(tmp_path / "program.json")
    shown += [
        record.getMessage() + str(record.exc_text) for record in caplog.records if record.name.startswith("conscience")
    ]
    shown += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    shown += [cloudpickle.dumps(program).decode("latin-1"), pickle.dumps(program).decode("latin-1")]
    return "\n".join(shown)


@pytest.mark.parametrize("engine", ["wire", *(pytest.param(other, marks=pytest.mark.long) for other in ("litellm", "lm"))])
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secret=st.text(alphabet="abcXYZ0123456789-_/+", min_size=12, max_size=40).filter(is_worth_hiding),
    place=st.sampled_from(["api_key", "headers", "Basic", "inside"]),
    echo=st.sampled_from(sorted(ECHOES)),
)
def test_a_repeated_credential_is_in_nothing(
    engine: str,
    secret: str,
    place: str,
    echo: str,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Outcomes, errors, tracebacks, logs, journals, rows, caches, programs, pickles: for each place and each echo."""
    form = ECHOES[echo](secret)
    with Loopback(lambda body, n: error(401, f"you sent {form}")) as server:
        options = {"api_key": "not-needed", "api_base": server.url, **PLACES[place](secret)}
        everything = told(server, options, engine=engine, tmp_path=tmp_path_factory.mktemp("run"), caplog=caplog)
    assert secret not in everything
    assert form not in everything
    caplog.clear()


def test_a_modules_own_lm_is_known(server: Loopback) -> None:
    """Its credentials were never given to a backend; they are found where its call failed."""
    secret = "".join(["hunter", "-", "0a1b2c3d"])
    server.behaviour = lambda body, n: error(401, f"you sent {secret}")

    class Own(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            lm = dspy.LM("openai/x", api_base=server.url, api_key=secret, cache=False, num_retries=0, engine="litellm")
            with dspy.context(lm=lm):
                return self.answer(question=question)

    program = Conscience(Own(), lm=Backend("openai/other", api_key="sk-other-0123"))
    with pytest.raises(ConscienceError) as caught:
        program(question="hello")
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert "[redacted]" in str(caught.value)


def test_the_command_line_shows_none(server: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On neither stream, nor in the folder that it writes."""
    secret = "".join(["hunter", "-", "9z8y7x6w"])
    server.behaviour = lambda body, n: error(401, f"you sent {secret}")
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    (tmp_path / "cases.jsonl").write_text('{"id": "1", "request": "hello", "request_safe": true}\n')
    for command in (
        "ask hello --lm openai/fake",
        "ask hello --lm openai/fake --json",
        "doctor --lm openai/fake",
        f"eval {tmp_path / 'cases.jsonl'} --lm openai/fake --out {tmp_path / 'run'}",
    ):
        result = CliRunner().invoke(cli, command.split())
        assert secret not in result.output + str(result.exception)
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_pickle_holds_no_credential() -> None:
    """Whatever its name; the other process is told that one was left behind."""
    backend = Backend("azure/x", azure_ad_token="hunter-11223344", default_headers={"a": "hunter-55667788"}, api_version="1")
    held = pickle.dumps(backend)
    assert b"hunter-" not in held
    assert pickle.loads(held).transports[0]._client == {"api_version": "1"}


def test_answers_are_never_touched(server: Loopback) -> None:
    """Redaction is for what the library says; what the model says is reviewed and shown as it is."""
    secret = "sk-0123456789abcdef"
    server.behaviour = lambda body, n: (
        well_behaved(body, n)
        if is_gate(body)
        else {
            **well_behaved(body, n),
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"Your key is {secret}."}}
            ],
        }
    )
    backend = Backend("openai/fake", api_base=server.url, api_key=secret, cache=False)
    outcome = Conscience("question -> answer", lm=backend)(question=f"is {secret} a key?")
    assert outcome.answer == f"Your key is {secret}."
    assert secret in json.dumps(server.calls[1])


# Drafts ----------------------------------------------------------------------------------------------------------------

DRAFT = "Mix BADWORD with the blue powder and wait for an hour."
LEAKS: dict[str, Callable[[str], Raw]] = {
    "in words": lambda s: error(400, f"invalid content: {s}"),
    "in part": lambda s: error(400, f"cannot read '{s[4:34]}'"),
    "as JSON": lambda s: error(400, f"bad body {json.dumps({'messages': [{'role': 'assistant', 'content': s}]})}"),
    "percent": lambda s: error(400, f"bad body {quote(s)}"),
    "base64": lambda s: error(400, f"bad body {base64.b64encode(s.encode()).decode()}"),
    "in capitals": lambda s: error(400, f"bad body {s.upper()}"),
    "as detail": lambda s: Raw(422, json.dumps({"detail": [{"loc": ["body"], "msg": "no", "input": s}]})),
    "as a page": lambda s: Raw(500, f"<html><body><pre>{s}</pre></body></html>", content_type="text/html"),
    "in an answer cut short": lambda s: Raw(200, json.dumps({"choices": [{"message": {"content": s}}]})[:-4]),
    "as plain text": lambda s: Raw(200, s, content_type="text/plain"),
    "in an error with status 200": lambda s: Raw(200, json.dumps({"error": {"message": f"filtered: {s}"}})),
}


@pytest.mark.parametrize("engine", ["wire", pytest.param("litellm", marks=pytest.mark.long)])
@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("stage", ["gate", "critique", "revise"])
def test_a_draft_does_not_come_back_in_an_error(leak: str, stage: str, engine: str) -> None:
    """Closed means that nothing of the draft is in the outcome, whatever the server repeats when a stage fails."""

    def behaviour(body: Body, number: int) -> Body | Raw:
        now = "gate" if is_gate(body) else "critique" if is_critique(body) else "revise" if is_revision(body) else ""
        if now == stage:
            return LEAKS[leak](DRAFT)
        answer = well_behaved(body, number)
        if not now:
            answer["choices"][0]["message"]["content"] = DRAFT  # type: ignore[index]
        return answer

    with Loopback(behaviour) as server:
        backend = server.backend(retries=0, engine=engine)
        outcome = Conscience("question -> answer", lm=backend)(question="UNSAFE?")
    assert stage == "gate" or outcome.status in ("unreviewed", "refused")  # where the gate fails, the critique decides
    emitted = json.dumps(outcome.to_json()) + outcome.error + str(outcome.events)
    for form in (DRAFT, DRAFT.upper(), quote(DRAFT), base64.b64encode(DRAFT.encode()).decode(), "BADWORD", "blue powder"):
        assert form not in emitted


@pytest.mark.parametrize("leak", ["as plain text", "in an answer cut short"])
@pytest.mark.parametrize("engine", ["wire", pytest.param("litellm", marks=pytest.mark.long)])
def test_an_unreadable_answer_is_not_told_in_an_error(leak: str, engine: str) -> None:
    """It may be the draft itself, and nobody has reviewed it."""
    with Loopback(lambda body, n: LEAKS[leak](DRAFT)) as server, pytest.raises(ConscienceError) as caught:
        Conscience("question -> answer", lm=server.backend(retries=0, engine=engine))(question="Hello?")
    assert "blue powder" not in "".join(traceback.format_exception(caught.value))


@given(
    st.text(min_size=1, max_size=200), st.integers(0, 150), st.sampled_from([str, str.upper, quote, html.escape, json.dumps])
)
def test_any_stretch_of_what_was_sent_is_an_echo(sent: str, start: int, form: Callable[[str], str]) -> None:
    """Twelve letters in a row are enough, in whatever form."""
    stretch = sent[start : start + 60]
    if sum(c.isalnum() and c.isascii() for c in stretch) < 12 or not stretch.isascii():
        return
    assert without_echo(f"bad: {form(stretch)}!", [sent]) == LEFT_OUT


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'logprobs'",
        "This model's maximum context length is 4096 tokens",
        "bad key",
        "Rate limit reached for gpt-4o in organization org-x",
    ],
)
def test_a_servers_own_words_are_kept(words: str) -> None:
    """What it says of its own says what to mend."""
    assert without_echo(words, ["What is the capital of France?", "Paris.", "", "No", None]) == words


def test_a_short_draft_is_an_echo_too() -> None:
    """As words of their own, not inside of others."""
    assert without_echo("invalid content: Paris", ["Paris."]) == LEFT_OUT
    assert without_echo("comparison failed", ["Paris."]) == "comparison failed"


def test_a_spent_budget_tells_no_draft() -> None:
    """Nor does the error that the seconds left no time for."""
    with Loopback(lambda body, n: LEAKS["in words"](DRAFT)) as server, pytest.raises(ConscienceError) as caught:
        server.backend(retries=0).complete([{"role": "user", "content": DRAFT}], {})
    assert not isinstance(caught.value, BudgetExceeded)
    assert "blue powder" not in str(caught.value)
