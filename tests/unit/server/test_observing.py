"""What a server's operator sees: whose request each verdict in the log was, and tenants that are only observed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from conscience import ConfigurationError, InputError, Observe, VerdictLog, VerdictRecord
from conscience.observability import flush
from conscience.server import Policy, create_app
from conscience.server.settings import read_settings
from tests.support.serving import HARM, scripted

CHAT = "/v1/chat/completions"


@pytest.fixture
def log(tmp_path: Path) -> VerdictLog:
    return VerdictLog(tmp_path / "verdicts.jsonl")


@pytest.fixture
def client(log: VerdictLog) -> Iterator[TestClient]:
    policies = [
        Policy("new", "key-new", mode="observe"),
        Policy("old", "key-old"),
        Policy("half", "key-half", mode=Observe(share=0.5)),
    ]
    app = create_app({"m": scripted(log=log, name="m")}, policies=policies)
    with TestClient(app) as client:
        yield client


def ask(client: TestClient, key: str, text: str = "harm", *, id: str = "r-1", stream: bool = False) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream}
    answer = client.post(CHAT, json=body, headers={"authorization": f"Bearer {key}", "x-request-id": id})
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_one_tenant_is_observed_and_another_enforced(stream: bool, client: TestClient, log: VerdictLog) -> None:
    """The log has both, with the ids that the clients sent, and what the observed answer would have been."""
    observed, enforced = ask(client, "key-new", id="r-new", stream=stream), ask(client, "key-old", id="r-old", stream=stream)
    assert (HARM.split()[0] in observed, HARM.split()[0] in enforced) == (True, False)
    assert '"observed"' in observed
    assert flush(30)
    records = [VerdictRecord.from_json(line) for line in log.path.read_bytes().splitlines()]
    assert sorted((record.tenant, record.id, record.mode, record.status) for record in records) == [
        ("new", "r-new", "observe", "revised"),
        ("old", "r-old", "enforce", "revised"),
    ]


def test_an_observed_answer_is_no_verdict_to_its_client(client: TestClient) -> None:
    said = client.post(
        CHAT,
        json={"model": "m", "messages": [{"role": "user", "content": "harm"}]},
        headers={"authorization": "Bearer key-new"},
    ).json()
    report = said["conscience"] if "conscience" in said else said["choices"][0]["conscience"]
    assert (report["status"], report["ok"], report["flagged"], report["probability"]) == ("observed", True, None, None)
    assert flush(30)


def test_a_share_of_a_tenants_traffic_follows_the_ids_of_its_requests(client: TestClient) -> None:
    observed = {id: '"observed"' in ask(client, "key-half", id=id) for id in map(str, range(12))}
    assert set(observed.values()) == {True, False}
    assert observed == {id: Observe(share=0.5).covers(id) for id in observed}
    assert flush(30)


SETTINGS = """
programs: {a: {mode: {sample: 0.5}}}
keys: {b: {env: B_KEY, mode: {share: 0.9, seed: 1}}}
log: {path: LOG, texts: true, keep: 2}
"""


def test_the_file_of_settings_says_what_is_observed_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B_KEY", "key-b")
    file = tmp_path / "serve.yaml"
    file.write_text(SETTINGS.replace("LOG", str(tmp_path / "verdicts.jsonl")))
    settings = read_settings(file)
    assert settings.programs["a"].mode == Observe(sample=0.5)
    assert settings.policies()[0].mode == Observe(share=0.9, seed=1)
    assert settings.log is not None
    assert settings.log.opened().texts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("programs: {a: {mode: {share: 2}}}", "share=2"),
        ("programs: {a: {mode: {shares: 1}}}", "shares"),
        ("programs: {a: {mode: shadow}}", "shadow"),
        ("programs: {a: {}}\nlog: {file: x}", "'log.file' is unknown"),
        ("programs: {a: {}}\nlog: {path: x, keep: 0}", "log.keep"),
    ],
)
def test_what_makes_no_sense_in_it_is_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        read_settings(file)


def test_a_policy_without_such_a_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="look"):
        Policy("a", "k", mode="look")  # type: ignore[arg-type]


def test_a_server_that_ends_has_written_what_it_reviews(log: VerdictLog) -> None:
    """A worker may be ended by a signal then, without what a process does at its exit."""
    with TestClient(create_app({"m": scripted(log=log, mode="observe", seconds=0.05)})) as client:
        client.post(CHAT, json={"model": "m", "messages": [{"role": "user", "content": "harm"}]})
    [line] = log.path.read_bytes().splitlines()
    assert VerdictRecord.from_json(line).status == "revised"
