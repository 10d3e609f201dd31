"""The light wire inside a program: LiteLLM stays unloaded, proxies and deadlines are obeyed, keys are in no error."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from conscience import Backend
from conscience.errors import BackendError, ConfigurationError
from tests.conftest import ROOT
from tests.support.decisions import deciding
from tests.support.loopback import Loopback, Raw, chat

ASKED = [{"role": "user", "content": "hi"}]


def fresh(script: str, *arguments: str) -> str:
    """What a script prints in an interpreter of its own."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ANSWERED = """
import asyncio, sys
from conscience import Backend, Conscience
options = {"api_base": sys.argv[2], "api_key": "sk-0123456789"} if len(sys.argv) > 2 else {}
backend = Backend(sys.argv[1], max_tokens=4, **options)
program = Conscience("question -> answer", lm=backend)
program(question="hi")
asyncio.run(program.acall(question="hello"))
if options:
    models = {"generate": backend, "review": Backend("decisions:openai/gpt-6-luna", **options)}
    Conscience("question -> answer", lm=models)(question="hello again")
print(backend.supports("logprobs"), "litellm" in sys.modules, "openai" in sys.modules)
"""


def test_an_answer_of_an_openai_like_server_loads_no_litellm(server: Loopback) -> None:
    """Nor does a decision model's."""
    server.behaviour = deciding()
    assert fresh(ANSWERED, "openai/fake", server.url) == "True False False"
    assert len(server.calls) == 6


@pytest.mark.local
@pytest.mark.long
def test_nor_does_one_of_the_embedded_model(local_endpoint: object) -> None:
    assert fresh(ANSWERED, "local") == "True False False"


@pytest.mark.local
def test_nor_do_its_embeddings(local_endpoint: object) -> None:
    script = """
import asyncio, sys
from conscience._base.flow import run_async
from conscience.backends.embeddings import embed, embedding
first, again = embed("local", ["a", "b"]), asyncio.run(run_async(embedding("local", ["a", "b"])))
print(len(first), len(first[0]), first == again, "litellm" in sys.modules)
"""
    assert fresh(script) == "2 576 True False"


def test_nor_do_errors_about_names_keys_and_servers(server: Loopback) -> None:
    server.behaviour = lambda body, number: Raw(401, '{"error": {"message": "bad key sk-0123456789"}}')
    script = """
import sys
from conscience import Backend
from conscience.errors import BackendError, ConfigurationError
for model, options in (("nobody", {}), ("nobody/x", {}), ("openai/gpt-4o", {}), ("hosted_vllm/x", {}),
                       ("openai/x", {"api_base": sys.argv[1], "api_key": "sk-0123456789"})):
    try:
        Backend(model, cache=False, **options).complete([{"role": "user", "content": "hi"}], {})
    except (BackendError, ConfigurationError) as error:
        print(type(error).__name__, error)
print("litellm" in sys.modules)
"""
    lines = fresh(script, server.url).splitlines()
    assert "names no provider" in lines[0]
    assert "names no provider" in lines[1]
    assert "set OPENAI_API_KEY" in lines[2]
    assert "HOSTED_VLLM_API_BASE" in lines[3]
    assert lines[4].startswith("BackendError openai/x: Auth 401: bad key [redacted]")
    assert lines[5] == "False"


def test_a_cached_answer_serves_both_wires(server: Loopback) -> None:
    options = {"api_base": server.url, "api_key": "sk-0123456789"}
    first = Backend("openai/fake", engine="wire", **options).complete(ASKED, {"max_tokens": 3})
    again = Backend("openai/fake", engine="litellm", **options).complete(ASKED, {"max_tokens": 3})
    assert (first.cached, again.cached) == (False, True)
    assert first.body == again.body


def test_a_dripping_server_ends_at_the_timeout_also_sync(server: Loopback) -> None:
    server.behaviour = lambda body, number: Raw(drip=3.0, text="{}")
    begun = time.monotonic()
    with pytest.raises(BackendError, match="Timeout"):
        server.backend(timeout=0.5, retries=0).complete(ASKED, {})
    assert time.monotonic() - begun < 1.5


def test_a_prompt_for_this_machine_passes_no_proxy(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(lambda body, number: chat("from the proxy")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        assert server.backend().complete(ASKED, {}).text == "Paris."
        assert proxy.calls == []


def test_an_engine_has_one_of_three_names(server: Loopback) -> None:
    with pytest.raises(ConfigurationError, match="wire, litellm or auto"):
        Backend("openai/fake", engine="fast")
