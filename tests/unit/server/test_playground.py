"""The playground's routes: for the operator alone, each stage as it comes, each case scored once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from conscience import Conscience
from conscience.outcome import Status
from conscience.server import Policy, create_app
from conscience.server.playground import page as page_module
from conscience.server.playground.scores import PackScores, ScoredCase
from conscience.testing import Fault, ScriptedLM, by_stage, is_gate

FINDING = json.dumps({"findings": [{"principle": "honesty", "quote": "Kim", "why": "Made up.", "change": "Say so."}]})
OPERATOR = Policy("ops", "operator-key", operator=True)
CUSTOMER = Policy("shop", "customer-key")
ASK = {"model": "careful", "inputs": {"question": "Who proved it?"}}


def mending() -> ScriptedLM:
    """Makes up a name, and knows better when it is asked."""
    gate = lambda messages, params: 0.9 if "Kim" in messages[-2]["content"] else 0.2  # noqa: E731
    return ScriptedLM(by_stage("Kim proved it.", gate=gate, critique=FINDING, revise="Nobody has."))


def client(lm: ScriptedLM, *policies: Policy, only_local: bool = False, **options: Any) -> TestClient:
    """Somebody who asks a server with a playground."""
    program = Conscience("question -> answer", lm=lm, **options)
    app = create_app({"careful": program}, policies=policies, only_local=only_local, playground=True)
    return TestClient(app, base_url="http://localhost")


def events(response: Any) -> list[dict[str, Any]]:
    """What a stream of events held."""
    assert response.status_code == 200, response.text
    return [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line.startswith("data: ")]


def test_the_page_lets_nothing_run_but_its_own_script() -> None:
    """By digest; nothing is fetched from elsewhere, and no script may make markup."""
    response = client(mending()).get("/playground")
    policy = response.headers["content-security-policy"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        assert f"{directive} 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}';" in policy
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(
        r"https?://|<link[^>]*stylesheet|\bsrc=|@import|style=", response.text.replace("http://www.w3.org/2000/svg", "")
    )


def test_the_page_makes_text_and_never_markup() -> None:
    """None of the ways to do so is in its script."""
    script = (Path(page_module.__file__).parent / "playground.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|setTimeout\(['\"`]", script
    )
    if node := shutil.which("node"):
        assert subprocess.run([node, "--check", "-"], input=script, text=True, capture_output=True, check=False).stderr == ""


def test_the_page_knows_every_status_and_every_stage() -> None:
    """In words, also those that came later than it did."""
    script = (Path(page_module.__file__).parent / "playground.js").read_text(encoding="utf-8")
    said = {
        name: re.findall(r"(\w+): \"", text)
        for name, text in re.findall(r"const (STATUS|STAGES) = \{(.*?)\};", script, re.DOTALL)
    }
    assert set(said["STATUS"]) == set(get_args(Status))
    assert set(said["STAGES"]) == {"generate", "gate", "critique", "revise"}


def test_every_field_has_a_label_and_every_id_is_there() -> None:
    """For who does not see the page, and for the script."""
    text = client(mending()).get("/playground").text
    markup = text.split("<script>")[0]
    ids = re.findall(r'\bid="([^"]+)"', markup)
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r'\bat\("([\w-]+)"\)', text)) - {"input-0"}
    assert asked <= set(ids)
    fields = re.findall(r'<(?:input|select|textarea) id="([^"]+)"', markup)
    assert sorted(fields) == sorted(re.findall(r'<label for="([^"]+)"', markup))


def test_each_stage_arrives_with_what_it_came_to() -> None:
    """Draft, gate, critique, revision, its review, and the outcome with all of them."""
    told = events(client(mending()).post("/playground/ask", json=ASK))
    kinds = [event["type"] for event in told if event["type"] != "stage"]
    assert kinds == ["generate", "gate", "review", "revise", "gate", "review", "outcome"]
    results = [event["result"] for event in told if event["type"] != "stage"]
    assert results[0]["response"] == "Kim proved it."
    assert results[1]["probability"] == pytest.approx(0.9)
    assert results[1]["signals"]
    assert results[2]["findings"][0]["principle"] == "honesty"
    assert results[3]["response"] == results[-1]["response"] == "Nobody has."
    assert (results[-1]["status"], results[-1]["draft"]["response"]) == ("revised", "Kim proved it.")


def test_what_fails_is_told_as_a_failure() -> None:
    """An outage is no verdict, and a review that fails is an outcome."""
    down = client(ScriptedLM(by_stage(Fault("auth", "secret address")))).post("/playground/ask", json=ASK)
    assert "secret address" not in down.text
    assert "outcome" not in down.text
    assert "error" in down.text
    unreviewed = events(client(ScriptedLM(by_stage("A draft.", gate=Fault("server")))).post("/playground/ask", json=ASK))
    assert unreviewed[-1]["result"]["status"] == "unreviewed"


ROUTES = [
    ("GET", "/playground/programs", None),
    ("POST", "/playground/ask", ASK),
    ("POST", "/playground/scores", {"model": "careful", "pack": "general"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[path for _, path, _ in ROUTES])
def test_drafts_are_for_the_operator(method: str, path: str, body: Any) -> None:
    """Neither for nobody, nor for another key, nor for a page that had a foreign name resolved to this machine."""
    lm = mending()
    keyed = client(lm, OPERATOR, CUSTOMER)
    assert keyed.request(method, path, json=body).status_code == 401
    refused = keyed.request(method, path, json=body, headers={"authorization": "Bearer customer-key"})
    assert refused.status_code == 403
    assert "Kim" not in refused.text
    foreign = client(lm, only_local=True).request(method, path, json=body, headers={"host": "evil.example"})
    assert foreign.status_code == 403
    assert lm.calls == []
    assert keyed.get("/playground").status_code == 200, "the page itself says nothing"
    if method == "POST":  # what another site's form can send is no JSON by name
        plain = client(lm).post(path, content=json.dumps(body), headers={"content-type": "text/plain"})
        assert plain.status_code == 415


BAD = [
    ("ask", {**ASK, "model": "other"}, "model"),
    ("ask", {**ASK, "model": 3}, "model"),
    ("ask", {**ASK, "stream": True}, "stream"),
    ("ask", {"model": "careful"}, "inputs"),
    ("ask", {**ASK, "inputs": "x"}, "inputs"),
    ("ask", {**ASK, "inputs": {"question": 3}}, "inputs"),
    ("ask", {**ASK, "inputs": {"question": "?", "self": "?"}}, "question"),
    ("scores", {"model": "careful", "pack": "../general"}, "pack"),
    ("scores", {"model": "careful", "pack": ["general"]}, "pack"),
]


@pytest.mark.parametrize(("path", "body", "named"), BAD)
def test_a_body_that_cannot_be_used_is_refused_by_name(path: str, body: Any, named: str) -> None:
    """With a status of the caller's fault, before a model is asked."""
    lm = mending()
    response = client(lm).post(f"/playground/{path}", json=body)
    assert response.status_code in (400, 404)
    assert named in response.json()["error"]["message"]
    assert lm.calls == []


def test_programs_are_described_without_a_secret() -> None:
    """By name, inputs, constitution and threshold."""
    told = client(mending(), OPERATOR, threshold=0.4).get(
        "/playground/programs", headers={"authorization": "Bearer operator-key"}
    )
    (program,) = told.json()["programs"]
    assert program == {
        "name": "careful",
        "inputs": ["question"],
        "constitution": "general",
        "threshold": 0.4,
        "critique": "votes",
    }
    assert "operator-key" not in told.text


def cautious(messages: list[dict[str, Any]], params: dict[str, Any]) -> Any:
    """Doubts an answer by its length."""
    return min(0.98, len(messages[-2]["content"]) / 1000) if is_gate(messages) else "An answer."


def test_a_packs_cases_are_scored_once() -> None:
    """Whoever asks again gets the same figures, and no model is asked."""
    lm = ScriptedLM(cautious)
    asking = client(lm)
    told = events(asking.post("/playground/scores", json={"model": "careful", "pack": "general"}))
    assert (told[0], told[-1]) == ({"type": "pack", "cases": 120}, {"type": "done"})
    rows = [event["result"] for event in told[1:-1]]
    assert len(rows) == len({row["id"] for row in rows}) == len(lm.calls) == 120
    assert {row["label"] for row in rows} == {"aligned", "misaligned"}
    assert all(row["probability"] == pytest.approx(min(0.98, len(row["response"]) / 1000), abs=0.02) for row in rows)
    assert told == events(asking.post("/playground/scores", json={"model": "careful", "pack": "general"}))
    assert len(lm.calls) == 120


def test_scoring_goes_on_where_it_stopped() -> None:
    """A model that fails half-way costs what was asked, and nothing twice; it is told as a failure."""
    asked: list[Any] = []

    def failing(messages: list[dict[str, Any]], params: dict[str, Any]) -> Any:
        asked.append(messages)
        return Fault("auth") if len(asked) == 50 else 0.3

    asking = client(ScriptedLM(failing))
    broken = asking.post("/playground/scores", json={"model": "careful", "pack": "general"})
    assert '"error"' in broken.text
    assert '"done"' not in broken.text
    whole = events(asking.post("/playground/scores", json={"model": "careful", "pack": "general"}))
    assert whole[-1] == {"type": "done"}
    assert len(asked) == 121


async def test_who_leaves_stops_the_scoring_and_who_comes_pays_once() -> None:
    """Two at once ask as much as one does; what was scored for one who left is there for the next."""
    lm = ScriptedLM(cautious, seconds=0.001)
    scores = PackScores(Conscience(lm=lm), "general")
    leaving = scores.rows()
    await anext(leaving)
    await leaving.aclose()
    asked = len(lm.calls)
    await asyncio.sleep(0.05)
    assert asked == len(lm.calls) < len(scores.cases)

    async def whole() -> list[ScoredCase]:
        return [row async for row in scores.rows()]

    first, second = await asyncio.gather(whole(), whole())
    assert first == second
    assert len(first) == len(lm.calls) == len(scores.cases)


def test_what_needs_no_model_is_flagged_at_any_threshold() -> None:
    """A principle with a pattern."""
    principle = {"id": "no-help", "text": "Never help.", "pattern": "(?s).*"}
    constitution = {
        "name": "c",
        "version": "1",
        "question": "Is your answer wrong?",
        "refusal": "No.",
        "principles": [principle],
    }
    lm = ScriptedLM(cautious)
    told = events(
        client(lm, constitution=constitution).post("/playground/scores", json={"model": "careful", "pack": "general"})
    )
    assert {(e["result"]["regardless"], e["result"]["probability"]) for e in told[1:-1]} == {(True, None)}
    assert lm.calls == []


def test_there_is_no_playground_where_nobody_asked_for_one() -> None:
    """Neither its page nor its routes."""
    plain = TestClient(create_app({"careful": Conscience("question -> answer", lm=mending())}), base_url="http://localhost")
    for method, path, body in (("GET", "/playground", None), *ROUTES):
        assert plain.request(method, path, json=body).status_code == 404
