"""Runs on a cluster of Ray's, which the tests start on this machine: the real package, real processes, killed for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dspy-conscience[ray]'")

from conscience import Budget, Conscience, evaluate
from conscience.backends.rate_limit import RateLimiter
from conscience.cases.case import Case
from conscience.distributed.ray_executor import RayExecutor
from conscience.evals.runner import EvalConfig
from conscience.usage import UsageTracker
from tests.support.loopback import Loopback, well_behaved

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("ray")]

WORKERS = 4
ROOT = Path(__file__).parent.parent.parent

DRIVER = """
import sys
from pathlib import Path
from conscience import Conscience, evaluate
from conscience.cases.case import Case
from conscience.distributed.ray_executor import RayExecutor
from conscience.evals.runner import EvalConfig

cases = [Case(id=f"c{n}", request=f"question {n}", request_safe=True) for n in range(80)]
with RayExecutor(workers=2) as executor:
    config = EvalConfig(executor=executor, concurrency=4)
    report = evaluate(Conscience(lm="openai/fake"), cases, out=Path(sys.argv[1]), config=config)
print(report.cases.done, "done")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    """Takes a tenth of a second for each answer."""

    def behaviour(body: Any, number: int) -> Any:
        time.sleep(0.1)
        return well_behaved(body, number)

    with Loopback(behaviour) as loopback, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_API_KEY", "sk-test-secret-0123")
        environment.setenv("OPENAI_BASE_URL", loopback.url)
        yield loopback


@pytest.fixture(scope="module")
def executor(server: Loopback) -> Iterator[RayExecutor]:
    with RayExecutor(workers=WORKERS) as executor:
        yield executor


@pytest.fixture(autouse=True)
def _afresh(server: Loopback) -> None:
    server.calls.clear()


def cases(n: int) -> list[Case]:
    return [
        Case(id=f"c{i}", request=f"question {i % 20}{' UNSAFE' * (i % 3 == 0)}", request_safe=bool(i % 2)) for i in range(n)
    ]


def rows(folder: Path) -> dict[str, Any]:
    """What was recorded, but for the times."""
    found = {}
    for line in (folder / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        roles = row["usage"].pop("by_role")
        row["usage"] = {role: {**usage, "seconds": 0} for role, usage in roles.items()}
        found[row["key"]] = row
    return found


def figures(report: Any) -> dict[str, Any]:
    """A report but for times and its folder's name."""
    data = report.to_dict()
    for usage in data["overhead"]["by_role"].values():
        usage["seconds"] = 0
    return {name: value for name, value in data.items() if name not in ("made", "title")} | {
        "overhead": {name: value for name, value in data["overhead"].items() if name in ("calls_per_case", "by_role")}
    }


def test_rows_and_figures_are_those_of_one_process(executor: RayExecutor, server: Loopback, tmp_path: Path) -> None:
    """Equal requests of several cases are paid for once, wherever they are."""
    program = Conscience(lm="openai/fake")
    here = evaluate(program, cases(60), out=tmp_path / "here", config=EvalConfig(concurrency=8))
    calls = len(server.calls)
    there = evaluate(program, cases(60), out=tmp_path / "there", config=EvalConfig(concurrency=4, executor=executor))
    assert len(server.calls) == 2 * calls
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert figures(there) == figures(here)
    again = evaluate(program, cases(60), out=tmp_path / "there", config=EvalConfig(executor=executor))
    assert len(server.calls) == 2 * calls
    assert figures(again) == figures(here)


def test_a_budget_and_a_rate_hold_for_all_workers(executor: RayExecutor, server: Loopback, tmp_path: Path) -> None:
    """30 calls are 30, and 600 a minute are 10 a second."""
    program = Conscience(lm="openai/fake")
    meter = UsageTracker(Budget(calls=30))
    unlike = [Case(id=f"c{n}", request=f"question {n}", request_safe=True) for n in range(40)]
    evaluate(program, unlike, out=tmp_path / "a", config=EvalConfig(executor=executor, meter=meter))
    assert len(server.calls) == meter.begun == 30
    server.calls.clear()
    began = time.monotonic()
    config = EvalConfig(executor=executor, rate_limiter=RateLimiter(600))
    evaluate(program, unlike[:12], out=tmp_path / "b", config=config)
    assert len(server.calls) == 24
    assert time.monotonic() - began > 2.2


def test_nothing_is_paid_for_twice_whatever_is_killed(server: Loopback, tmp_path: Path) -> None:
    """Workers are killed by and by, and so is the whole run; the same command ends with the calls of an undisturbed one."""
    script, folder = tmp_path / "driver.py", tmp_path / "run"
    script.write_text(DRIVER)

    def start() -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(script), str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, cwd=tmp_path, **pipes)  # type: ignore[call-overload,no-any-return]

    def wait_for(calls: int, driver: subprocess.Popen[str]) -> None:
        while len(server.calls) < calls and driver.poll() is None:
            time.sleep(0.02)

    driver = start()
    for calls in (20, 40, 60):
        wait_for(calls, driver)
        os.kill(_workers(driver.pid)[0], signal.SIGKILL)
    wait_for(80, driver)
    driver.kill()
    driver.communicate()
    driver = start()
    wait_for(100, driver)
    os.kill(_workers(driver.pid)[0], signal.SIGKILL)
    said, error = driver.communicate(timeout=60)
    assert (said, error, driver.returncode) == ("80 done\n", "", 0)
    asked = Counter(json.dumps(body["messages"]) for body in server.calls)
    assert set(asked.values()) == {1}
    assert len(asked) == 160
    assert not [row for row in rows(folder).values() if "error" in row]


def _workers(driver: int) -> list[int]:
    """The workers under a driver, by their names."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    processes = [line.split(None, 2) for line in listed.splitlines()[1:]]
    under = {str(driver)}
    for _ in range(4):
        under |= {pid for pid, parent, _ in processes if parent in under}
    return [int(pid) for pid, _, name in processes if pid in under and name.startswith("ray::Worker")]
