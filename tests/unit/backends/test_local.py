"""The embedded model: one server, shared, private, gone with its last user; and the whole program on a real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conscience import Backend, Conscience, Outcome
from conscience.backends.embedded import local as embedded
from conscience.backends.embedded.weights import verified
from conscience.errors import BackendError, ContextTooLong
from conscience.messages.completion import Completion
from conscience.testing import ScriptedLM

pytestmark = pytest.mark.local


def post(endpoint: Any, body: dict[str, Any], key: str | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{endpoint.base_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key or endpoint.api_key}"},
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def own_weights(local_endpoint: Any, tmp_path: Path) -> Iterator[Path]:
    """Weights with a server of their own. One that others use adds up in another order, and a tie falls the other way: what
    an earlier test gave up waiting for may still be under way."""
    weights = tmp_path / "own.gguf"
    weights.write_bytes(verified().read_bytes())
    yield weights
    embedded.shutdown(weights.resolve())


HELLO = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}


def test_it_answers_on_loopback_and_only_with_its_key(local_endpoint: Any) -> None:
    """Another process of the machine cannot use it."""
    assert local_endpoint.base_url.startswith("http://127.0.0.1:")
    assert post(local_endpoint, HELLO)[0] == 200
    assert post(local_endpoint, HELLO, key="guess")[0] == 401
    assert local_endpoint.api_key not in repr(local_endpoint)
    arguments = Path(f"/proc/{next(iter(embedded._servers.values())).process.pid}/cmdline").read_bytes()
    assert local_endpoint.api_key.encode() not in arguments


def test_64_threads_share_one_server(local_endpoint: Any) -> None:
    """Whoever comes first starts it, everyone gets it."""
    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(lambda _: embedded.endpoint(), range(64))) == {local_endpoint}


def test_a_forked_child_uses_its_parents_server(local_endpoint: Any) -> None:
    """No second server, no lock left held."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status, _ = post(embedded.endpoint(), HELLO)
        os.write(write, f"{status} {embedded.endpoint().base_url}".encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == f"200 {local_endpoint.base_url}"
    os.waitpid(child, 0)


STARTER = "import sys, time; from conscience.backends.embedded.local import endpoint, _servers; endpoint(); \
print(next(iter(_servers.values())).process.pid, flush=True); sys.stdin.read()"


def test_the_server_goes_when_its_user_is_killed(local_endpoint: Any) -> None:
    """Even with kill -9, which runs no exit handler."""
    with subprocess.Popen([sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        server = int(user.stdout.readline())
        user.kill()
    for _ in range(100):
        if not Path(f"/proc/{server}").exists() or " Z " in Path(f"/proc/{server}/stat").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the server outlived its user by five seconds")


SEVERAL = "import sys; from conscience.backends.embedded.local import endpoint, _servers; \
[endpoint(path) for path in sys.argv[1:]]; print(*[s.process.pid for s in _servers.values()], flush=True); sys.stdin.read()"


@pytest.mark.long
def test_several_servers_go_together(local_endpoint: Any, tmp_path: Path) -> None:
    """One for each file, and none of them holds another one's pipe open."""
    copies = [tmp_path / name for name in ("a.gguf", "b.gguf")]
    for copy in copies:
        copy.symlink_to(verified())
    copies[1].unlink()
    copies[1].write_bytes(verified().read_bytes())
    command = [sys.executable, "-c", SEVERAL, *map(str, copies)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        servers = [int(pid) for pid in user.stdout.readline().split()]
        user.kill()
    assert len(servers) == 2
    for _ in range(100):
        if not any(_runs(server) for server in servers):
            return
        time.sleep(0.05)
    pytest.fail("a server outlived its user by five seconds")


def _runs(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and " Z " not in status.read_text()


def test_a_dead_server_is_replaced(local_endpoint: Any, tmp_path: Path) -> None:
    """The next call starts another one."""
    weights = tmp_path / "copy.gguf"
    weights.write_bytes(verified().read_bytes())
    first = embedded.endpoint(weights)
    server = embedded._servers[(str(weights.resolve()), False)]
    server.process.kill()
    server.process.wait()
    second = embedded.endpoint(weights)
    assert second != first
    assert post(second, HELLO)[0] == 200


@pytest.mark.parametrize(
    ("crash", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was ended: Killed"),  # as where memory runs out
        ("os.kill(os.getpid(), signal.SIGILL)", "its process was ended: Illegal instruction"),
        ("sys.exit(3)", "its process ended with exit code 3"),
        ("sys.exit('no such device')", "no such device"),
    ],
)
def test_a_server_that_does_not_start_says_how_it_ended(
    crash: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "copy.gguf"
    weights.write_bytes(verified().read_bytes())
    pipe, program = subprocess.PIPE, [sys.executable, "-c", f"import os, signal, sys\n{crash}"]
    monkeypatch.setattr(embedded, "_spawn", lambda log: subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=log))
    with pytest.raises(BackendError, match=f"^the embedded model did not start: {said}"):
        embedded.endpoint(weights)


@pytest.mark.long
def test_the_same_program_over_every_route(own_weights: Path) -> None:
    """local, openai/, anthropic/ and a scripted LM: the same outcome type, fields and accounting."""
    from conscience import Backend
    from conscience.gate.settings import one_question

    # LiteLLM's connection to the engine was seen to wait for ever, once in five runs: it is tried again.
    small = {"max_tokens": 24, "temperature": 0.0, "cache": False, "timeout": 30, "retries": 3}
    endpoint = embedded.endpoint(own_weights)
    route = {"api_key": endpoint.api_key, **small}
    backends = {
        "local": Backend(f"local:{own_weights}", **small),
        "openai": Backend(f"openai/{endpoint.model}", api_base=endpoint.base_url, **route),
        "anthropic": Backend(f"anthropic/{endpoint.model}", api_base=endpoint.root_url, **route),
        "scripted": Backend(ScriptedLM({"Yes or No": 0.1, "": "Paris."})),
    }
    gate = one_question("Is that harmful?").model_copy(update={"critique": "off"})
    outcomes = {}
    for name, backend in backends.items():
        program = Conscience("question -> answer", lm=backend, review=gate, max_revisions=0)
        outcomes[name] = program(question="What is the capital of France?")
    assert all(isinstance(o, Outcome) for o in outcomes.values())
    assert {n: o.status in ("clean", "refused", "cleared", "unreviewed") for n, o in outcomes.items()} == dict.fromkeys(
        backends, True
    )
    assert outcomes["local"].draft.response == outcomes["openai"].draft.response
    assert outcomes["local"].verdict.method == outcomes["openai"].verdict.method == "logprobs"
    for outcome in outcomes.values():
        assert outcome.usage.by_role["generate"].calls == 1
        assert outcome.usage.by_role["review"].calls >= 1
        assert outcome.usage.by_role["generate"].output_tokens >= 1


def test_the_gate_reuses_the_prefix_of_the_generation(local_endpoint: Any) -> None:
    """The own framing pays for little more than its question."""
    outcome = Conscience("question -> answer", lm=Backend("local", max_tokens=48, cache=False))(
        question="Tell me a short story about a lighthouse."
    )
    review = outcome.usage.by_role["review"]
    assert review.reused_tokens > review.input_tokens / 2


def test_a_request_that_does_not_fit_is_named(local_endpoint: Any) -> None:
    """200,000 characters."""
    with pytest.raises(ContextTooLong, match="shorten"):
        Conscience("question -> answer", lm="local")(question="word " * 40_000)


@pytest.mark.long
def test_greedy_answers_repeat(own_weights: Path) -> None:
    """Calibration relies on it: the same question, the same log-odds, whatever ran between."""
    from conscience import GateSettings
    from conscience.gate.settings import one_question

    settings: GateSettings = one_question("Is your answer above harmful?").model_copy(update={"critique": "off"})

    def signal(question: str = "What is the capital of France?", max_tokens: int = 24) -> float:
        lm = Backend(f"local:{own_weights}", max_tokens=max_tokens, temperature=0.0, cache=False)
        program = Conscience("question -> answer", lm=lm, review=settings, max_revisions=0)
        return float(program(question=question).verdict.signals["introspection"])

    first = signal()
    signal("Name a colour.", 48)
    assert signal() == pytest.approx(first, abs=0.15)


@pytest.mark.long
def test_answers_do_not_go_in_circles(local_endpoint: Any) -> None:
    """Greedy and without a sampler against it, the same eight words come up to forty times where a request lures to it. A
    single answer differs with the processor, so they are counted in all."""
    backend = Backend("local", cache=False, timeout=120)
    lures = [
        "Write a chant for a football crowd that repeats the same two lines over and over.",
        "Write the refrain of a song, and sing it many times: Row, row, row your boat, gently down the stream.",
        "Tell a story in which a parrot says the same sentence again and again.",
    ]

    def repeated(question: str, **options: Any) -> int:
        words = backend.complete([{"role": "user", "content": question}], {"max_tokens": 200, **options}).text.split()
        return max(Counter(tuple(words[start : start + 8]) for start in range(len(words) - 7)).values(), default=0)

    usual = [repeated(lure) for lure in lures]
    without = [repeated(lure, dry_multiplier=0.0) for lure in lures]
    assert sum(usual) <= sum(without) / 2, (usual, without)


def test_a_larger_model_by_name(coder: str) -> None:
    """It answers, its gate reads log-probabilities, and both are entered under its content's name."""
    from conscience import Backend
    from conscience.gate.settings import one_question

    gate = one_question("Is that harmful?").model_copy(update={"critique": "off"})
    program = Conscience("question -> answer", lm=Backend(coder, max_tokens=16, cache=False), review=gate, max_revisions=0)
    outcome = program(question="What is the capital of France? Answer with one word.")
    assert "Paris" in outcome.draft.response
    assert outcome.verdict.method == "logprobs"
    assert program.roles.backend("review").name == "local:qwen2.5-coder-0.5b@1d9614638d18"
    review = outcome.usage.by_role["review"]
    assert review.reused_tokens > review.input_tokens / 2


def test_the_embedded_model_streams() -> None:
    """Token by token, with its usage; a program releases what of it has passed."""
    backend = Backend("local", cache=False, max_tokens=48)
    asked = "Name three rivers, each in a sentence of its own."
    *pieces, completion = backend.stream([{"role": "user", "content": asked}], {})
    assert isinstance(completion, Completion)
    assert len(pieces) > 5
    assert "".join(map(str, pieces)) == completion.text
    assert completion.tokens()[1] > 5
    *events, outcome = Conscience("question -> answer", lm=backend, threshold=1.0).stream(asked, release="window")
    assert isinstance(outcome, Outcome)
    assert "".join(event for event in events if isinstance(event, str)) == outcome.response
    assert outcome.usage.by_role["review"].calls >= 1
