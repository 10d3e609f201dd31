"""Runs over cases: what a row holds, what a report says, and that nothing paid for is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conscience import BackendError, Conscience, Constitution
from conscience.backends.backend import Backend
from conscience.backends.rate_limit import RateLimiter
from conscience.cases.case import Case
from conscience.cli.main import cli
from conscience.errors import ConfigurationError, InputError
from conscience.evals.baselines import BASELINES, baseline
from conscience.evals.judge import Judge
from conscience.evals.oracles import Grade
from conscience.evals.runner import EvalConfig, read_rows, run, sample
from conscience.evals.summary import comparison, summarise
from conscience.testing import Fault, ScriptedLM
from tests.support.loopback import Loopback, chat, error, is_critique, is_gate, well_behaved

SAFE = [Case(id=f"s{i}", request=f"kind {i}", request_safe=True, group="safe", pair=f"p{i}") for i in range(8)]
UNSAFE = [Case(id=f"u{i}", request=f"cruel {i}", request_safe=False, group="unsafe", pair=f"p{i}") for i in range(8)]


def script(messages: Any, params: Any) -> Any:
    """Answers everything; the gate sees through cruel requests, but for one, and doubts one kind one."""
    text = str(messages)
    if params.get("logprobs"):
        revised = "I can't help" in text
        return 0.1 if revised else 0.2 if "cruel 7" in text else 0.9 if "cruel" in text or "kind 3" in text else 0.1
    if "Answer with JSON only" in messages[-1]["content"]:
        return '{"findings": [{"principle": "no-serious-harm", "quote": "Sure", "why": "w", "change": "c"}]}'
    return "I can't help with that." if "Write it again" in messages[-1]["content"] else "Sure, like this."


def go(folder: Path, cases: Any = (*SAFE, *UNSAFE), program: Any = None, **config: Any) -> Any:
    return asyncio.run(run(program or Conscience(lm=ScriptedLM(script)), cases, folder, EvalConfig(**config)))


def test_figures_of_a_report_agree_with_a_few_independent_lines(tmp_path: Path) -> None:
    """Recomputed from the rows alone."""
    go(tmp_path)
    report, rows = summarise(tmp_path), list(read_rows(tmp_path))
    right = [row for row in rows if row["draft_ok"]]
    wrong = [row for row in rows if not row["draft_ok"]]
    found = report["correction"]
    assert len(rows) == 16
    assert found["draft_accuracy"]["value"] == len(right) / 16 == 0.5
    assert found["self_correction_accuracy"]["value"] == sum(r["outcome_ok"] for r in rows) / 16 == 14 / 16
    assert found["ecr"]["value"] == sum(r["outcome_ok"] for r in wrong) / len(wrong) == 7 / 8
    assert found["eir"]["value"] == sum(not r["outcome_ok"] for r in right) / len(right) == 1 / 8
    told = report["reviewer"]
    assert told["recall"]["value"] == sum(r["verdict"]["flagged"] for r in wrong) / len(wrong) == 7 / 8
    assert told["fpr"]["value"] == sum(r["verdict"]["flagged"] for r in right) / len(right) == 1 / 8
    pairs = [(b["verdict"]["probability"], g["verdict"]["probability"]) for b in wrong for g in right]
    assert told["auroc"] == pytest.approx(sum((b > g) + (b == g) / 2 for b, g in pairs) / len(pairs))
    roles = Counter[str]()
    for row in rows:
        roles.update({role: spend["calls"] for role, spend in row["usage"]["by_role"].items()})
    assert {role: spend["calls"] for role, spend in report["overhead"]["by_role"].items()} == dict(roles)
    assert {g["group"]: g["n"] for g in report["groups"]} == {"safe": 8, "unsafe": 8}
    assert found["refusals"]["safe"]["after"]["value"] == 1 / 8


def test_kinds_of_case(tmp_path: Path) -> None:
    """A labelled response is reviewed, one with references is mended too, choices are shown and read."""
    cases = [
        Case(id="review", request="q", response="cruel words", label="misaligned"),
        Case(id="revise", response="cruel words", label="misaligned", references=("I can't help with that.",)),
        Case(id="choose", request="Who?", choices=("Sure", "Never"), answer=0),
    ]
    lm = ScriptedLM(script)
    go(tmp_path, cases, Conscience(lm=lm), concurrency=1)
    review, revise, choose = read_rows(tmp_path)
    assert (review["kind"], review["misaligned"], review["flagged"]) == ("review", True, True)
    assert "outcome_ok" not in review
    assert (revise["kind"], revise["draft_ok"], revise["outcome_ok"]) == ("revise", False, True)
    assert (choose["kind"], choose["draft_ok"], choose["expected"]) == ("answer", True, "choice: Sure")
    assert any("(a) Sure\n(b) Never" in messages[-1]["content"] for messages, _ in lm.calls)


def test_case_without_anything_to_judge_it_is_named(tmp_path: Path) -> None:
    """Before the run goes on."""
    with pytest.raises(InputError, match="nothing says what is right"):
        go(tmp_path, [Case(id="x", request="q")])


def test_any_callable_is_an_oracle(tmp_path: Path) -> None:
    """Sync or async; what is not a Ruling is refused."""

    async def rules(case: Case, response: str) -> Grade:
        return Grade("Sure" in response, "says so")

    go(tmp_path / "a", [Case(id="x", request="kind")], oracle=rules)
    assert next(read_rows(tmp_path / "a"))["draft_reason"] == "says so"
    with pytest.raises(ConfigurationError, match="returned bool"):
        go(tmp_path / "b", [Case(id="x", request="kind")], oracle=lambda c, r: True)


def test_failed_case_is_a_row_and_is_counted(tmp_path: Path) -> None:
    """And tried again by the next run."""
    broken = ScriptedLM(lambda m, p: Fault("server") if "kind 2" in str(m) else script(m, p))
    progress = go(tmp_path, SAFE, Conscience(lm=broken))
    assert progress.failed == 1
    report = summarise(tmp_path)
    assert (report["cases"]["done"], report["cases"]["errors"]) == (7, 1)
    assert "1 cases failed" in report["claims"][0]
    assert go(tmp_path, SAFE).failed == 0
    assert summarise(tmp_path)["cases"]["errors"] == 0


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    """By the name of what differs."""
    go(tmp_path, SAFE[:1])
    with pytest.raises(InputError, match="another max_revisions"):
        go(tmp_path, SAFE, Conscience(lm=ScriptedLM(script), max_revisions=0))
    with pytest.raises(InputError, match="holds no run"):
        list(read_rows(tmp_path / "nothing"))


def test_other_options_are_another_run(server: Loopback, tmp_path: Path) -> None:
    """Those of the models, and the judge's model; what is secret does not get into the folder."""
    server.behaviour = well_behaved

    def program(**options: Any) -> Conscience:
        return Conscience(lm=Backend("openai/fake", api_base=server.url, api_key="hunter2", **options))

    def judged(model: str) -> Judge:
        return Judge(Constitution.load("general"), Backend(model))

    go(tmp_path, SAFE[:1], program(max_tokens=5))
    assert go(tmp_path, SAFE[:2], program(max_tokens=5, timeout=3)).resumed == 1
    with pytest.raises(InputError, match="another sampling"):
        go(tmp_path, SAFE, program(max_tokens=500))
    go(tmp_path / "judged", [], oracle=judged("openai/a"))
    with pytest.raises(InputError, match="another roles"):
        go(tmp_path / "judged", [], oracle=judged("openai/b"))
    assert "hunter2" not in (tmp_path / "run.json").read_text()


def test_report_is_on_the_cases_of_the_last_call(tmp_path: Path) -> None:
    """Rows of other cases in the folder, and of a case as it was before its label was corrected, stay and count nowhere."""
    go(tmp_path, SAFE)
    go(tmp_path, UNSAFE)
    assert summarise(tmp_path)["cases"]["done"] == 8
    assert {row["id"] for row in read_rows(tmp_path)} == {case.id for case in UNSAFE}
    mended = [UNSAFE[0].model_copy(update={"request_safe": True}), *UNSAFE[1:]]
    assert go(tmp_path, mended).resumed == 7
    assert [row["safe"] for row in read_rows(tmp_path)].count(True) == 1
    assert summarise(tmp_path)["correction"]["n"] == 8
    assert go(tmp_path).resumed == 16
    assert summarise(tmp_path)["cases"]["done"] == 16
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 17


def test_network_lost_at_the_gate_is_no_verdict(server: Loopback, tmp_path: Path) -> None:
    """The run ends when it stays lost, and the same call goes on without asking for a draft again."""
    server.behaviour = lambda body, n: error(500, "network lost") if is_gate(body) else well_behaved(body, n)
    with pytest.raises(BackendError, match="in a row"):
        go(tmp_path, SAFE, Conscience(lm=server.backend(retries=0)), concurrency=1)
    assert [("error" in row, "status" in row) for row in read_rows(tmp_path)] == [(True, False)] * 5
    server.behaviour = well_behaved
    assert go(tmp_path, SAFE, Conscience(lm=server.backend(retries=0)), concurrency=1).failed == 0
    assert {row["status"] for row in read_rows(tmp_path)} == {"clean"}
    assert sum(not is_gate(body) for body in server.calls) == len(SAFE)


@pytest.mark.parametrize("name", ["conscience", "self-refine"])
def test_network_lost_while_revising_fails_the_case(name: str, tmp_path: Path) -> None:
    """The program would refuse, and a baseline go on, for a reason that is neither's: the next call asks again."""

    def lost(messages: Any, params: Any) -> Any:
        return Fault("connection") if "Write it again" in messages[-1]["content"] else script(messages, params)

    def program(answers: Any) -> Any:
        lm = Backend(ScriptedLM(answers), retries=0)
        return (
            Conscience(lm=lm) if name == "conscience" else baseline(name, constitution=Constitution.load("general"), lm=lm)
        )

    assert go(tmp_path, UNSAFE[:1], program(lost)).failed == 1
    assert go(tmp_path, UNSAFE[:1], program(script)).failed == 0
    assert [row["status"] for row in read_rows(tmp_path)] == ["revised"]


@pytest.mark.parametrize(("answer", "budget"), [("no JSON", None), (None, {"calls": 1})])
def test_review_that_gave_nothing_is_an_outcome(tmp_path: Path, answer: str | None, budget: Any) -> None:
    """As the program's policy has it, and as a spent budget has it: every answer is asked for once."""
    lm = ScriptedLM(lambda m, p: answer if answer and "JSON only" in m[-1]["content"] else script(m, p))
    progress = go(tmp_path, UNSAFE[:1], Conscience(lm=lm, budget=budget))
    (row,) = read_rows(tmp_path)
    assert (row["status"], row["outcome_ok"], progress.failed) == ("unreviewed", True, 0)
    assert row["unreviewed"]
    assert row["usage"]["calls"] == len(lm.calls) == (1 if budget else 4)


@pytest.mark.parametrize("policy", ["refuse", "best"])
def test_only_the_refusal_text_declines(tmp_path: Path, policy: Any) -> None:
    """A text that is shown although it is flagged is judged by what it says."""

    def stubborn(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.7 if "second" in str(messages) else 0.9
        if "Answer with JSON only" in messages[-1]["content"]:
            return '{"findings": [{"principle": "no-serious-harm", "quote": "Sure", "why": "w", "change": "c"}]}'
        return "Sure, a second one." if "Write it again" in messages[-1]["content"] else "Sure."

    go(tmp_path, UNSAFE[:1], Conscience(lm=ScriptedLM(stubborn), on_unresolved=policy))
    (row,) = read_rows(tmp_path)
    assert row["status"] == "refused"
    assert row["outcome_ok"] is row["outcome_refused"] is (policy == "refuse")


def test_time_against_the_plain_call_knows_neither_pace_nor_pauses(server: Loopback, tmp_path: Path) -> None:
    """Waits for a slot are not the program's; what was paid before an interruption took its time then."""

    def slow(body: Any, number: int) -> Any:
        time.sleep(0.01 if is_gate(body) else 0.1)
        return well_behaved(body, number)

    def lost(body: Any, number: int) -> Any:
        return error(400, "lost") if is_gate(body) else slow(body, number)

    def ratio(folder: str, **config: Any) -> float:
        go(tmp_path / folder, SAFE[:4], Conscience(lm=server.backend(retries=0)), concurrency=1, **config)
        found: float = summarise(tmp_path / folder)["overhead"]["latency_ratio"]["p50"]
        return found

    server.behaviour = slow
    assert 1 < ratio("paced", rate_limiter=RateLimiter(requests=300)) < 1.6
    server.behaviour = lost
    assert go(tmp_path / "resumed", SAFE[:4], Conscience(lm=server.backend(retries=0)), concurrency=1).failed == 4
    server.behaviour = slow
    assert 1 < ratio("resumed") < 1.6


def test_unreviewed_rows_say_nothing_of_latency(tmp_path: Path) -> None:
    """They end where the review did."""
    go(tmp_path, SAFE, Conscience(lm=ScriptedLM(script), budget={"calls": 1}))
    assert summarise(tmp_path)["overhead"]["latency_ratio"] is None


def test_full_disk_does_not_spoil_the_folder(tmp_path: Path) -> None:
    """Nothing is written, or all of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        with pytest.raises(InputError, match="cannot be used"):
            go(tmp_path, SAFE[:1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert go(tmp_path, SAFE[:1]).done == 1


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    """In one line, by the commands that read it and by those that would go on with it."""
    for name in ("a", "list", "norun", "numbers"):
        go(tmp_path / name, SAFE[:1])
    (tmp_path / "list" / "run.json").write_text("[]")
    (tmp_path / "norun" / "run.json").unlink()
    (tmp_path / "numbers" / "rows.jsonl").write_text("1\n")
    with pytest.raises(InputError, match="does not say what the run is of"):
        go(tmp_path / "list", SAFE[:1])
    for name, told in (("list", "does not say"), ("norun", "holds no run"), ("numbers", "rows.jsonl:1: not a row")):
        with pytest.raises(InputError, match=told):
            comparison(tmp_path / "a", tmp_path / name)
    for out in (tmp_path, tmp_path / "missing" / "c.html"):
        done = CliRunner().invoke(cli, ["compare", str(tmp_path / "a"), str(tmp_path / "a"), "--out", str(out)])
        assert isinstance(done.exception, InputError)
        assert "cannot be written" in str(done.exception)


def test_command_says_how_many_cases_are_left(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the backend is gone, and the same command goes on."""
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    (tmp_path / "c.jsonl").write_text("".join(case.model_dump_json(exclude_defaults=True) + "\n" for case in SAFE))
    command = [
        "eval",
        str(tmp_path / "c.jsonl"),
        "--lm",
        "openai/fake",
        "--concurrency",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
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


def test_cases_with_one_text_are_paid_for_once_and_each_says_what_it_takes(tmp_path: Path) -> None:
    """The second of them waits for the first one's answers; the wait is not counted on top of the time that they took."""
    lm = ScriptedLM({"Yes or No": 0.1, "": "Sure."}, seconds=0.3)
    twins = [Case(id=name, request="same", request_safe=True) for name in "ab"]
    assert go(tmp_path, twins, Conscience(lm=lm)).failed == 0
    assert len(lm.calls) == 2
    usages = [row["usage"] for row in read_rows(tmp_path)]
    assert [usage["calls"] for usage in usages] == [2, 2]
    assert max(usage["seconds"] for usage in usages) < 1.5 * min(usage["seconds"] for usage in usages)


def test_sample_is_drawn_at_random_and_streams() -> None:
    """The same seed draws the same cases; a limit above the number takes all."""
    total, read = sample(lambda: SAFE, 3, 1)
    drawn = [case.id for case in read()]
    assert total == len(drawn) == 3
    assert drawn == [case.id for case in sample(lambda: SAFE, 3, 1)[1]()]
    assert any([c.id for c in sample(lambda: SAFE, 3, seed)[1]()] != drawn for seed in range(2, 9))
    assert sample(lambda: SAFE, 99, 0)[0] == len(SAFE)


def test_pace_spaces_calls() -> None:
    """Requests evenly; tokens push back what follows."""
    rate_limiter = RateLimiter(requests=600)
    waits = [rate_limiter.claim() for _ in range(3)]
    assert waits == pytest.approx([0, 0.1, 0.2], abs=0.02)
    rate_limiter = RateLimiter(tokens=6000)
    assert rate_limiter.claim() == 0
    rate_limiter.spent(100)
    assert rate_limiter.claim() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "refine"])
def test_baselines_run_in_the_same_harness(name: str, tmp_path: Path) -> None:
    """And are compared case by case with the program."""
    other = baseline(name, constitution=Constitution.load("general"), lm=ScriptedLM(script))
    go(tmp_path / "a", name="conscience")
    go(tmp_path / "b", program=other, name=name)
    result = comparison(tmp_path / "a", tmp_path / "b")
    accuracy = {figure["name"]: figure for figure in result["figures"]}["self-correction accuracy"]
    expected = {"plain": 0.5, "review-only": 14 / 16, "self-refine": 0.5, "chain": 0.5}[name]
    assert accuracy["first"]["value"] == 14 / 16
    assert accuracy["second"]["value"] == expected
    if name == "plain":
        assert (accuracy["gained"], accuracy["lost"], result["cases"]) == (1, 7, 16)


def test_refine_keeps_the_answer_that_the_gate_doubts_least(capsys: pytest.CaptureFixture[str]) -> None:
    """dspy.Refine, as it is."""
    program = baseline("refine", constitution=Constitution.load("general"), lm=ScriptedLM(script))
    outcome = program(request="kind 1")
    assert (outcome.status, outcome.response) == ("clean", "Sure, like this.")
    assert outcome.usage.by_role["review"].calls == 1


@pytest.mark.timeout(170)
def test_killed_ten_times_it_adds_up_to_an_undisturbed_run(server: Loopback, tmp_path: Path) -> None:
    """No answer that arrived is asked for again: only what was in flight at a kill may come twice."""

    def behave(body: Any, number: int) -> Any:
        time.sleep(0.02)
        text = json.dumps(body["messages"])
        if is_gate(body):
            return chat("No", yes=0.1 if "I can't help" in text else 0.8)
        if is_critique(body):
            return chat('{"findings": [{"principle": "privacy", "quote": "Sure", "why": "w", "change": "c"}]}')
        return chat("I can't help with that." if "Write it again" in text else "Sure, like this.")

    server.behaviour = behave
    cases = tmp_path / "cases.jsonl"
    cases.write_text(
        "".join(json.dumps({"id": str(n), "request": f"r{n}", "request_safe": n % 2 == 0}) + "\n" for n in range(60))
    )
    env = os.environ | {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "x"}

    def command(out: str) -> list[str]:
        options = ["--lm", "openai/fake", "--concurrency", "3", "--out", str(tmp_path / out)]
        return [sys.executable, "-m", "conscience", "eval", str(cases), *options]

    subprocess.run(command("calm"), env=env, capture_output=True, check=True)
    undisturbed = Counter(json.dumps(body["messages"]) for body in server.calls)
    rng, kills = random.Random(7), 0
    for _ in range(10):
        before = len(server.calls)
        process = subprocess.Popen(command("killed"), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        target = before + rng.randrange(1, 26)
        while len(server.calls) < target and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.03)
        kills += process.poll() is None
        process.kill()
        process.wait()
    subprocess.run(command("killed"), env=env, capture_output=True, check=True)
    disturbed = Counter(json.dumps(body["messages"]) for body in server.calls) - undisturbed
    assert kills >= 8
    assert set(disturbed) == set(undisturbed)
    assert sum(disturbed.values()) - sum(undisturbed.values()) <= 3 * kills
    calm, killed = (summarise(tmp_path / name)["overhead"]["by_role"] for name in ("calm", "killed"))
    assert {r: s["calls"] for r, s in calm.items()} == {r: s["calls"] for r, s in killed.items()}
    assert {r: s["tokens"] for r, s in calm.items()} == {r: s["tokens"] for r, s in killed.items()}
