"""conscience serve as a process: what it refuses to start with, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT
from tests.support.commands import Running, run, start

pytestmark = pytest.mark.timeout(60)
PROGRAM = "tests.support.serving:slow"


def url_of(running: Running, wanted: str = "") -> str:
    """Where it serves, once it does; ``wanted`` has to stand in what it says."""
    said = ""

    def serves() -> bool:
        nonlocal said
        said = running.stderr()
        found = re.search(r"serving .* on (http://\S+)/v1", said)
        return found is not None and _answers(found[1])

    assert running.wait_until(serves), said
    assert wanted in said
    return re.search(r"on (http://\S+)/v1", said)[1]  # type: ignore[index]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def ask(url: str, **more: Any) -> httpx.Response:
    body = {"model": "conscience", "messages": [{"role": "user", "content": "harm"}], **more}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
@pytest.mark.long
def test_a_stream_under_way_is_finished_before_the_end(tmp_path: Path, number: int) -> None:
    """Told to stop, it takes no more, ends what it has begun, and leaves with 0."""
    with start("serve", "--program", PROGRAM, "--port", "0", folder=tmp_path) as running:
        url, replies = url_of(running), []
        asking = threading.Thread(target=lambda: replies.append(ask(url, stream=True)))
        asking.start()
        while "conscience_running_requests 1.0" not in httpx.get(f"{url}/metrics").text:
            time.sleep(0.01)
        os.kill(running.pid, number)  # type: ignore[arg-type]
        asking.join()
        assert replies[0].text.endswith("data: [DONE]\n\n")
        assert "HARMFUL" not in replies[0].text
        assert running.wait(20)
        assert not _answers(url)
        assert running.done().returncode == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_beyond_loopback_only_with_a_key(host: str) -> None:
    done = run("serve", "--program", PROGRAM, "--host", host)
    assert done.returncode == 2
    assert "CONSCIENCE_API_KEY" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--lm", "openai/gpt-4o-mini"), "OPENAI_API_KEY"),
        (("--program", "nothing:there"), "there is no module"),
        (("--program", "missing.json"), "missing.json"),
        (("--config", "missing.yaml"), "missing.yaml"),
        (("--config", "missing.yaml", "--lm", "local"), "--config goes with neither"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    done = run("serve", *arguments, "--port", "0")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--program", PROGRAM, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot be bound" in done.stderr


def test_a_variable_that_holds_no_key_does_not_open_the_server() -> None:
    done = run("serve", "--program", PROGRAM, env={"CONSCIENCE_API_KEY": ""})
    assert done.returncode == 2
    assert "is not set or empty" in done.stderr


CONFIG = """
programs:
  careful: {program: "tests.support.serving:quick", threshold: 0.5}
  lenient: {program: "tests.support.serving:quick", threshold: 0.99}
keys:
  acme: {env: ACME_KEY, programs: {gpt-4o: careful}}
  boss: {env: BOSS_KEY, operator: true}
"""


@pytest.mark.long
def test_a_file_of_programs_and_keys_is_served(tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text(CONFIG)
    keys = {"ACME_KEY": "key-of-acme-01", "BOSS_KEY": "key-of-boss-01"}
    with start("serve", "--config", str(tmp_path / "serve.yaml"), "--port", "0", env=keys, folder=tmp_path) as running:
        url = url_of(running, "careful, lenient")
        statuses = {}
        for key, model in (
            ("acme", "gpt-4o"),
            ("boss", "careful"),
            ("boss", "lenient"),
            ("acme", "careful"),
            ("x", "careful"),
        ):
            with httpx.Client(headers={"authorization": f"Bearer key-of-{key}-01"}) as client:
                body = {"model": model, "messages": [{"role": "user", "content": "harm"}]}
                said = client.post(f"{url}/v1/chat/completions", json=body, timeout=30)
                statuses[key, model] = said.json().get("conscience", {}).get("status") or said.status_code
        assert statuses == {
            ("acme", "gpt-4o"): "revised",
            ("boss", "careful"): "revised",
            ("boss", "lenient"): "clean",
            ("acme", "careful"): 404,
            ("x", "careful"): 401,
        }
        assert "key-of" not in running.stderr()


def test_the_playground_is_the_operators(tmp_path: Path) -> None:
    """Asked for by name, and opened by the operator's key alone."""
    (tmp_path / "serve.yaml").write_text(CONFIG)
    keys = {"ACME_KEY": "key-of-acme-01", "BOSS_KEY": "key-of-boss-01"}
    arguments = ("serve", "--config", str(tmp_path / "serve.yaml"), "--port", "0", "--playground")
    with start(*arguments, env=keys, folder=tmp_path) as running:
        url = url_of(running)
        assert f"the playground is at {url}/playground" in running.stderr()
        assert "conscience playground" in httpx.get(f"{url}/playground").text
        body = {"model": "careful", "inputs": {"request": "harm"}}
        for key, status in (("acme", 403), ("x", 401), ("boss", 200)):
            said = httpx.post(f"{url}/playground/ask", json=body, headers={"authorization": f"Bearer key-of-{key}-01"})
            assert said.status_code == status
            assert ("HARMFUL" in said.text) == (key == "boss")


@contextmanager
def serve(*arguments: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real process, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "conscience", "serve", "--program", PROGRAM, "--port", str(port), *arguments]
    with (folder / "err").open("w") as err, subprocess.Popen(command, cwd=ROOT, stderr=err, text=True) as process:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        try:
            while not _answers(url):
                assert process.poll() is None, (folder / "err").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield process, url
        finally:
            process.terminate()


@pytest.mark.long
def test_several_workers_add_up_and_end_together(tmp_path: Path) -> None:
    """One address, one account of metrics, and no process left behind."""
    with serve("--workers", "2", folder=tmp_path) as (process, url):
        replies: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: replies.append(ask(url))) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {reply.json()["choices"][0]["message"]["content"] for reply in replies} == {"A clean answer."}
        assert (
            'conscience_outcomes_total{model="conscience",status="revised",tenant=""} 12.0'
            in httpx.get(f"{url}/metrics").text
        )
        asking = threading.Thread(target=lambda: replies.append(ask(url, stream=True)))
        asking.start()
        time.sleep(0.3)
        process.terminate()
        asking.join()
        assert replies[-1].text.endswith("data: [DONE]\n\n")
        assert process.wait(30) == 0
        assert not _answers(url)
