"""Runs over cases: nothing paid for is lost, and what failed is tried again."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from conscience import BackendError, Case, ConfigurationError, Conscience, Constitution, EvalConfig
from conscience.backends.backend import Backend
from conscience.backends.rate_limit import RateLimiter
from conscience.cli.main import cli
from conscience.evals.baselines import baseline
from conscience.evals.batch import review_cases
from conscience.evals.folder import read_records
from conscience.evals.summary import summarise
from conscience.testing import Fault, ScriptedLM
from tests.support import commands
from tests.support.loopback import Loopback, chat, error, is_critique, is_gate, is_revision, well_behaved
from tests.unit.evals import runs
from tests.unit.evals.runs import SAFE, UNSAFE, failed, go, records, script

KILLS = 10
IN_FLIGHT = 3
"""Calls under way at once: what a kill may cost."""


def test_failed_case_is_recorded_and_counted(tmp_path: Path) -> None:
    """And tried again by the next run."""
    broken = ScriptedLM(lambda m, p: Fault("server") if "kind 2" in str(m) else script(m, p))
    progress = go(tmp_path, SAFE, Conscience(lm=broken))
    assert progress.failed == 1
    assert [case.id for case in failed(tmp_path)] == ["s2"]
    report = summarise(tmp_path)
    assert (report.cases.done, report.cases.errors) == (7, 1)
    assert "1 cases failed" in report.claims[0]
    assert go(tmp_path, SAFE).failed == 0
    assert summarise(tmp_path).cases.errors == 0


def test_network_lost_at_the_gate_is_no_verdict(server: Loopback, tmp_path: Path) -> None:
    """The run ends when it stays lost, and the same call goes on without asking for a draft again."""
    server.behaviour = lambda body, n: error(500, "network lost") if is_gate(body) else well_behaved(body, n)
    with pytest.raises(BackendError, match="in a row"):
        go(tmp_path, SAFE, Conscience(lm=server.backend(retries=0)), concurrency=1)
    assert len(failed(tmp_path)) == len(list(read_records(tmp_path))) == 5
    server.behaviour = well_behaved
    assert go(tmp_path, SAFE, Conscience(lm=server.backend(retries=0)), concurrency=1).failed == 0
    assert {record.status for record in records(tmp_path)} == {"clean"}
    assert sum(not is_gate(body) for body in server.calls) == len(SAFE)


@pytest.mark.parametrize("name", ["conscience", "self-refine"])
def test_network_lost_while_revising_fails_the_case(name: str, tmp_path: Path) -> None:
    """The program would refuse, and a baseline go on, for a reason that is neither's: the next call asks again."""

    def lost(messages: Any, params: Any) -> Any:
        return Fault("connection") if runs.is_revision(messages) else script(messages, params)

    def program(answers: Any) -> Any:
        lm = Backend(ScriptedLM(answers), retries=0)
        return (
            Conscience(lm=lm) if name == "conscience" else baseline(name, constitution=Constitution.load("general"), lm=lm)
        )

    assert go(tmp_path, UNSAFE[:1], program(lost)).failed == 1
    assert go(tmp_path, UNSAFE[:1], program(script)).failed == 0
    assert [record.status for record in records(tmp_path)] == ["revised"]


class Clock:
    """Time that only passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock for whatever measures or waits."""
    clock = Clock()
    with ExitStack() as patches:
        patch = patches.enter_context(pytest.MonkeyPatch.context())
        for module in ("usage", "backends.retry", "backends.rate_limit"):
            patch.setattr(f"conscience.{module}.time", clock)
        for module in ("backends.retry", "backends.rate_limit"):
            patch.setattr(f"conscience.{module}.asyncio", SimpleNamespace(sleep=clock.asleep))
        yield clock


@pytest.mark.parametrize("pause", ["none", "rate limit", "interruption"])
def test_time_against_the_plain_call_knows_neither_rate_limits_nor_pauses(clock: Clock, tmp_path: Path, pause: str) -> None:
    """Waits for a slot are not the program's; what was paid before an interruption took its time then."""
    interrupted = pause == "interruption"

    def slow(messages: Any, params: Any) -> Any:
        if interrupted and params.get("logprobs"):
            return Fault("server")
        clock.sleep(0.01 if params.get("logprobs") else 0.1)
        return script(messages, params)

    program = Conscience(lm=Backend(ScriptedLM(slow), retries=0))
    limiter = RateLimiter(requests=6) if pause == "rate limit" else None
    begun = clock.now
    assert go(tmp_path, SAFE[:3], program, concurrency=1, rate_limiter=limiter).failed == (3 if interrupted else 0)
    if interrupted:
        interrupted = False
        clock.sleep(3600)
        assert go(tmp_path, SAFE[:3], program, concurrency=1).failed == 0
    ratio = summarise(tmp_path).overhead.latency_ratio
    assert ratio is not None
    assert ratio.p50 == pytest.approx(1.1)
    assert pause != "rate limit" or clock.now - begun > 49, "five waits of ten seconds"


def test_command_says_how_many_cases_are_left(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the backend is gone, and the same command goes on."""
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    (tmp_path / "c.jsonl").write_text("".join(case.model_dump_json(exclude_defaults=True) + "\n" for case in SAFE))
    command = ["eval", str(tmp_path / "c.jsonl"), "--lm", "openai/fake", "--concurrency", "1"]
    command += ["--out", str(tmp_path / "run")]
    server.behaviour = lambda body, n: error(401, "no such key")
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, BackendError)
    assert "3 cases are left" in done.output
    server.behaviour = well_behaved
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert "left" not in done.output


def test_cost_limit_holds_over_runs(tmp_path: Path) -> None:
    """What earlier runs in the folder have cost counts."""
    go(tmp_path, SAFE[:2])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for row in rows:
        row["usage"]["dollars"] = 0.6
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    progress = go(tmp_path, SAFE, max_dollars=1.0)
    assert (progress.done, progress.resumed, progress.dollars) == (2, 2, 1.2)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_ten_times_it_adds_up_to_an_undisturbed_run(server: Loopback, tmp_path: Path) -> None:
    """No answer that arrived is asked for again: only what was in flight at a kill may come twice."""

    def behave(body: Any, number: int) -> Any:
        text = json.dumps(body["messages"])
        if is_gate(body):
            return chat("No", yes=0.1 if "I can't help" in text else 0.8)
        if is_critique(body):
            return chat('{"findings": [{"principle": "privacy", "quote": "Sure", "why": "w", "change": "c"}]}')
        return chat("I can't help with that." if is_revision(body) else "Sure, like this.")

    server.behaviour = behave
    cases = tmp_path / "cases.jsonl"
    listed = [Case(id=str(n), request=f"r{n}", request_safe=n % 2 == 0) for n in range(60)]
    cases.write_text("".join(case.model_dump_json(exclude_defaults=True) + "\n" for case in listed))
    env = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "x"}
    calm, killed = (
        ["eval", str(cases), "--lm", "openai/fake", "--concurrency", str(IN_FLIGHT), "--out", str(tmp_path / name)]
        for name in ("calm", "killed")
    )
    assert commands.run(*calm, env=env).returncode == 0
    undisturbed = Counter(json.dumps(body["messages"]) for body in server.calls)
    calls = len(server.calls)
    server.calls.clear()
    rng = random.Random(7)
    for _ in range(KILLS):
        end = len(server.calls) + rng.randint(1, calls // KILLS - IN_FLIGHT)
        with commands.start(*killed, env=env, folder=tmp_path / "output") as process:
            assert process.wait_until(lambda: len(server.calls) >= end), process.done().stderr  # noqa: B023
            process.kill()
    assert len(server.calls) < calls, "every kill came before the end"
    assert commands.run(*killed, env=env).returncode == 0
    disturbed = Counter(json.dumps(body["messages"]) for body in server.calls)
    assert set(disturbed) == set(undisturbed)
    assert sum(disturbed.values()) - sum(undisturbed.values()) <= IN_FLIGHT * KILLS
    sides = [summarise(tmp_path / name).overhead.by_role for name in ("calm", "killed")]
    first, second = ({role: (cost.calls, cost.tokens) for role, cost in side.items()} for side in sides)
    assert first == second


def test_a_run_keeps_its_answers_on_disk_only(tmp_path: Path) -> None:
    """DSPy's histories, which would hold up to 10,000 calls in memory, are off inside of a run."""
    lm = ScriptedLM(script)
    program = Conscience(lm=lm)
    assert go(tmp_path, SAFE, program).done == len(SAFE)
    assert not lm.history
    assert not program.history


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"concurrency": -1}, {"limit": 0}, {"limit": -1}])
def test_no_case_at_once_and_none_at_all_are_refused(wrong: dict[str, int]) -> None:
    """Either would end as a run of no cases that found no fault."""
    with pytest.raises(ConfigurationError, match="is not a whole number of 1 or more"):
        EvalConfig(**wrong)  # type: ignore[arg-type]


def test_nor_is_a_review_of_none_at_once(tmp_path: Path) -> None:
    program = Conscience(lm=ScriptedLM(script))
    with pytest.raises(ConfigurationError, match="concurrency=0"):
        asyncio.run(review_cases(program.review, SAFE, tmp_path / "out.jsonl", concurrency=0))
