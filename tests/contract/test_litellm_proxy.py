"""The guardrail in a real LiteLLM proxy on loopback: no route of it, whole or streamed, shows what was not reviewed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support import wires
from tests.support.loopback import Body, Loopback, Raw, error, well_behaved

pytestmark = [pytest.mark.long, pytest.mark.timeout(180), pytest.mark.xdist_group("proxy")]  # it starts once

BAD = "BADWORD"
KEY = "sk-proxy-0123456789"

CONFIG = """
model_list:
  - model_name: gpt
    litellm_params: {{model: openai/fake, api_base: "{url}", api_key: sk-test-secret-0123}}
  - model_name: claude
    litellm_params: {{model: anthropic/claude, api_base: "{root}", api_key: sk-test-secret-0123}}
  - model_name: guarded
    litellm_params: {{model: openai/fake, api_base: "{url}", api_key: sk-test-secret-0123, guardrails: [once more]}}
guardrails:
  - guardrail_name: once more
    litellm_params: {{guardrail: reviewed.Reviewed, mode: post_call}}
  - guardrail_name: answers
    litellm_params: {{guardrail: reviewed.Reviewed, mode: post_call, default_on: true}}
  - guardrail_name: questions
    litellm_params: {{guardrail: reviewed.Reviewed, mode: pre_call}}
  - guardrail_name: beside
    litellm_params: {{guardrail: reviewed.Reviewed, mode: during_call}}
router_settings: {{disable_cooldowns: true, num_retries: 0}}
litellm_settings: {{telemetry: false}}
general_settings: {{master_key: {key}}}
"""

GUARDRAIL = """
from conscience import Backend, Conscience
from conscience.integrations.litellm import ConscienceGuardrail

class Reviewed(ConscienceGuardrail):
    def __init__(self, **options):
        lm = Backend("openai/judge", api_base="{url}", api_key="sk-test-secret-0123", cache=False, retries=0)
        super().__init__(program=Conscience(lm=lm), **options)
"""


def upstream(body: Body, number: int) -> Body | Raw:
    """Every model behind the proxy, and the one that reviews."""
    said = json.dumps([body.get(name) for name in ("messages", "input", "prompt")])
    if body["model"] == "judge":
        return error(503, "the reviewer is down") if "OUTAGE" in said else well_behaved(body, number)
    call = {"what": BAD if "UNSAFE" in said else "help"} if "CALL" in said else None
    return wires.answer(body, f"Well, {BAD}, do it." if "UNSAFE" in said else "Paris is nice.", call)


class Proxy:
    def __init__(self, url: str, log: Path, server: Loopback) -> None:
        self.url, self.log, self.server = url, log, server

    def ask(self, path: str, body: Body, **headers: str) -> Any:
        """A response, with its text."""
        import httpx

        sent = {"authorization": f"Bearer {KEY}", **headers}
        return httpx.post(f"{self.url}{path}", json=body, headers=sent, timeout=60, trust_env=False)

    def reviews(self) -> int:
        return sum(body["model"] == "judge" for body in self.server.calls)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    pytest.importorskip("fastapi_sso", reason="litellm[proxy] is not installed")
    folder = tmp_path_factory.mktemp("proxy")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Loopback(upstream) as server:
        root = server.url.removesuffix("/v1")
        (folder / "config.yaml").write_text(CONFIG.format(url=server.url, root=root, key=KEY))
        (folder / "reviewed.py").write_text(GUARDRAIL.format(url=server.url))
        environment = {
            **os.environ,
            "CONFIG_FILE_PATH": str(folder / "config.yaml"),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")]),
        }
        command = [
            "uvicorn",
            "litellm.proxy.proxy_server:app",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--loop",
            "asyncio",
        ]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                yield _ready(Proxy(f"http://127.0.0.1:{port}", folder / "log", server), process)
            finally:
                process.terminate()
                process.wait(20)


def _ready(proxy: Proxy, process: subprocess.Popen[bytes]) -> Proxy:
    import httpx

    deadline = time.monotonic() + 150
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{proxy.url}/health/liveliness", trust_env=False).status_code == 200:
                return proxy
        except httpx.HTTPError:
            time.sleep(0.3)
    pytest.fail(f"the proxy did not start: …{proxy.log.read_text()[-2000:]}")


ROUTES = [
    ("/v1/chat/completions", "gpt"),
    ("/v1/chat/completions", "claude"),
    ("/v1/messages", "claude"),
    ("/v1/messages", "gpt"),
    ("/v1/responses", "gpt"),
    ("/v1/responses", "claude"),
    ("/v1/completions", "gpt"),
]


def request(path: str, model: str, text: str, *, stream: bool = False, **more: Any) -> Body:
    asked: Body = {"messages": [{"role": "user", "content": text}], "max_tokens": 50}
    if path.endswith("responses"):
        asked = {"input": text}
    elif path == "/v1/completions":
        asked = {"prompt": text}
    return {"model": model, **asked, **({"stream": True} if stream else {}), **more}


def spoken(text: str) -> str:
    """All texts of a body or of a stream's events, joined: streams come in pieces of a letter."""
    bodies = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")] or [text]
    return "".join(_leaves(json.loads(body)) for body in bodies)


def _leaves(value: Any, name: str = "") -> str:
    if isinstance(value, dict):
        return "".join(_leaves(inner, key) for key, inner in value.items())
    if isinstance(value, list):
        return "".join(_leaves(inner, name) for inner in value)
    said = name in ("content", "text", "delta", "arguments", "partial_json", "refusal", "what", "message")
    return value if isinstance(value, str) and said else ""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("path", "model"), ROUTES)
def test_no_route_shows_what_is_flagged(proxy: Proxy, path: str, model: str, stream: bool) -> None:
    """A text, or a call, is revised; a clean one arrives as it was."""
    if path.endswith("responses"):
        pytest.importorskip("nacl", reason="LiteLLM's Responses route needs pynacl")
    clean = proxy.ask(path, request(path, model, "Hello?", stream=stream))
    assert clean.status_code == 200, clean.text
    assert "Paris is nice." in spoken(clean.text)
    revised = proxy.ask(path, request(path, model, "UNSAFE", stream=stream))
    assert revised.status_code == 200, revised.text
    assert BAD not in spoken(revised.text)
    assert BAD not in revised.text
    assert "A clean answer." in spoken(revised.text)
    if path != "/v1/completions":
        called = proxy.ask(path, request(path, model, "CALL", stream=stream))
        assert "help" in spoken(called.text)
        flagged = proxy.ask(path, request(path, model, "CALL UNSAFE", stream=stream))
        assert BAD not in spoken(flagged.text)
        assert "A clean answer." in spoken(flagged.text)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_every_choice_is_reviewed(proxy: Proxy, stream: bool) -> None:
    """Not the first alone."""
    answer = proxy.ask("/v1/chat/completions", request("", "gpt", "UNSAFE", stream=stream, n=2))
    assert spoken(answer.text).count("A clean answer.") == 2
    assert BAD not in spoken(answer.text)


def test_the_body_and_the_headers_tell_what_happened(proxy: Proxy) -> None:
    """How the review ended is told, and no word of the draft."""
    answer = proxy.ask("/v1/chat/completions", request("", "gpt", "UNSAFE"))
    told = answer.json()["conscience"]
    assert (told["status"], told["principles"]) == ("revised", ["no-serious-harm"])
    assert "answers" in answer.headers["x-litellm-applied-guardrails"]


def test_an_answer_is_reviewed_once(proxy: Proxy) -> None:
    """Also where the request names the guardrail that is on by default: LiteLLM then calls it on two levels."""
    for more in ({}, {"guardrails": ["answers"]}):
        before = proxy.reviews()
        assert proxy.ask("/v1/chat/completions", request("", "gpt", "Hello?", **more)).status_code == 200
        assert proxy.reviews() - before == 1, more


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_guardrail_of_one_model_is_called_for_it(proxy: Proxy, stream: bool) -> None:
    """Beside the one that is on by default."""
    before = proxy.reviews()
    assert proxy.ask("/v1/chat/completions", request("", "guarded", "Hello?", stream=stream)).status_code == 200
    assert proxy.reviews() - before == 2


@pytest.mark.parametrize("guardrail", ["questions", "beside"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_the_user_wrote_is_judged_where_it_is_asked_for(proxy: Proxy, guardrail: str, stream: bool) -> None:
    """The refusal is the answer; before the call, no model is asked."""
    before = len(proxy.server.calls)
    answer = proxy.ask("/v1/chat/completions", request("", "gpt", f"Say {BAD}", stream=stream, guardrails=[guardrail]))
    assert "would rather not" in spoken(answer.text)
    assert "content_filter" in answer.text
    asked = [body["model"] for body in proxy.server.calls[before:]]
    assert guardrail == "beside" or "fake" not in asked
    clean = proxy.ask("/v1/chat/completions", request("", "gpt", "Hello?", stream=stream, guardrails=[guardrail]))
    assert "Paris is nice." in spoken(clean.text)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_outage_is_no_verdict_and_shows_nothing(proxy: Proxy, stream: bool) -> None:
    """The reviewer is down: the refusal text, marked as unreviewed; before the call, an error."""
    answer = proxy.ask("/v1/chat/completions", request("", "gpt", "OUTAGE", stream=stream))
    assert "Paris" not in spoken(answer.text)
    assert "would rather not" in spoken(answer.text)
    if not stream:
        told = answer.json()["conscience"]
        assert (told["status"], told["flagged"]) == ("unreviewed", None)
    early = proxy.ask("/v1/chat/completions", request("", "gpt", "OUTAGE", stream=stream, guardrails=["questions"]))
    assert early.status_code == 503
    assert "could not be reviewed" in early.text


def test_the_log_holds_no_draft(proxy: Proxy) -> None:
    """After all of this, run last."""
    assert BAD not in proxy.log.read_text()
