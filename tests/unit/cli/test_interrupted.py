"""Commands that are killed or interrupted: nothing that was paid for is lost, and the same command goes on."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from conscience import Conscience
from conscience.testing import ScriptedLM
from tests.support.commands import run, start
from tests.support.loopback import Loopback
from tests.unit.cli.conftest import compile_options

KILLS = 10
IN_FLIGHT = 4
"""Calls under way at once: what a kill may cost."""


def steady(path: Path) -> dict[str, Any]:
    """A program without its times."""
    program: dict[str, Any] = json.loads(path.read_text())
    program["provenance"] |= {"made": "", "seconds": 0}
    for side in ("before", "after"):
        program["provenance"]["figures"].get("holdout", {}).get(side, {}).pop("time_against_plain", None)
    return program


def prompts(server: Loopback) -> set[str]:
    """What the server was asked, each once."""
    return {json.dumps([body["messages"], body.get("logprobs")]) for body in server.calls}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_ten_times_it_ends_as_an_undisturbed_one(
    server: Loopback, cruel: dict[str, str], cases: Path, tmp_path: Path
) -> None:
    """As many calls, but for what was in flight at a kill, and the same file but for its times."""
    whole, killed = (
        [*compile_options(cases, tmp_path / name), "--prompts", "gepa"] for name in ("whole.json", "killed.json")
    )
    assert run(*whole, env=cruel).returncode == 0
    calls = len(server.calls)
    server.calls.clear()
    rng = random.Random(1)
    for _ in range(KILLS):
        end = len(server.calls) + rng.randint(1, calls // KILLS - IN_FLIGHT)
        with start(*killed, env=cruel, folder=tmp_path) as command:
            assert command.wait_until(lambda: len(server.calls) >= end), command.done().stderr  # noqa: B023
            command.kill()
    assert len(server.calls) < calls, "every kill came before the end"
    done = run(*killed, env=cruel)
    assert done.returncode == 0, done.stderr
    assert calls <= len(server.calls) <= calls + IN_FLIGHT * KILLS
    assert steady(tmp_path / "killed.json") == steady(tmp_path / "whole.json")


@pytest.mark.long
def test_killed_once_it_goes_on(server: Loopback, cruel: dict[str, str], cases: Path, tmp_path: Path) -> None:
    """What the killed command paid for is not paid for again."""
    command = compile_options(cases, tmp_path / "p.json")
    with start(*command, env=cruel, folder=tmp_path) as killed:
        assert killed.wait_until(lambda: len(server.calls) >= 60), killed.done().stderr
        killed.kill()
    first = prompts(server)
    server.calls.clear()
    assert run(*command, env=cruel).returncode == 0
    assert len(first & prompts(server)) <= IN_FLIGHT
    assert (tmp_path / "p.json").exists()


@pytest.mark.parametrize("command", [pytest.param("recalibrate", marks=pytest.mark.long), "propose-cases"])
def test_ctrl_c_ends_with_one_line(
    command: str, server: Loopback, writer: dict[str, str], cases: Path, tmp_path: Path
) -> None:
    """With the exit code of an interrupted command; Ctrl-C comes while a call is under way."""
    quickly, under_way, go_on = server.behaviour, threading.Event(), threading.Event()

    def waits(body: Any, number: int) -> Any:
        if number >= 6:
            under_way.set()
            go_on.wait(60)
        return quickly(body, number)

    server.behaviour = waits
    Conscience(lm=ScriptedLM({"": "x"})).save(tmp_path / "p.json")
    read = [str(tmp_path / "p.json"), str(cases)] if command == "recalibrate" else []
    arguments = [command, *read, "--lm", "openai/fake", "--out", str(tmp_path / "out.jsonl")]
    with start(*arguments, env=writer, folder=tmp_path) as process:
        process.wait_until(under_way.is_set)
        process.interrupt()
        time.sleep(0.2)  # for the signal to arrive while the call is under way; also right where it comes later
        go_on.set()
        done = process.done()
    assert done.returncode == 130, done.stderr
    *stages, last = done.stderr.splitlines()
    assert last == "conscience: interrupted; the same command goes on from here"
    assert all(line.startswith("conscience: drafts") or "false positive rate" in line for line in stages)
