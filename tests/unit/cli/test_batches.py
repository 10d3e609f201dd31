"""``--batch`` as a user has it: begun, killed, interrupted, gone on with, listed, ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import commands
from tests.support.batch_provider import BatchProvider, Fate

CALLS = 4 + 4 + 2 * 3


@pytest.fixture
def provider() -> Iterator[BatchProvider]:
    with BatchProvider(fates=[Fate(looks=0)]) as running:
        yield running


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    rows = [{"id": f"c{n}", "request": f"{'UNSAFE' if n % 2 else ''} question {n}", "request_safe": True} for n in range(4)]
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(cases: Path, *more: str) -> tuple[str, ...]:
    return ("eval", str(cases), "--lm", "openai/fake", "--no-cache", "--out", str(cases.parent / "run"), *more)


def paid_once(provider: BatchProvider) -> bool:
    counts = Counter(json.dumps(body) for body in provider.answered + provider.live)
    return max(counts.values()) == 1 and counts.total() == CALLS


def test_eval_by_batch(provider: BatchProvider, cases: Path) -> None:
    """The report of any run; a line tells of each file, and nothing is asked live."""
    done = commands.run(*evaluate(cases, "--batch"), env=provider.env)
    assert done.returncode == 0, done.stderr
    assert "conscience: 4 requests to openai/fake" in done.stderr
    assert "batch_1 of openai/fake completed: 4 of 4 answered, 0 failed" in done.stderr
    assert provider.live == []
    assert paid_once(provider)
    assert (cases.parent / "run" / "report.html").exists()
    listed = commands.run("batches", str(cases.parent / "run"))
    assert "batch_5 openai/fake completed: 2 of 2 answered" in listed.stdout
    assert listed.stdout.endswith("none is under way\n")


@pytest.mark.long
def test_interrupted_it_says_what_stays_at_the_provider(provider: BatchProvider, cases: Path) -> None:
    """And the same command fetches it."""
    provider.fates = [Fate(looks=10_000)]
    with commands.start(*evaluate(cases, "--batch"), env=provider.env, folder=cases.parent / "out") as running:
        running.wait_until(lambda: bool(provider.batches and provider.batches["batch_1"].looks))
        running.interrupt()
        done = running.done()
    assert done.returncode == 130, done.stderr
    assert "4 requests stay in batches of openai/fake: the same command fetches them" in done.stderr
    live = commands.run(*evaluate(cases), env=provider.env)
    assert (live.returncode, provider.live) == (2, [])
    assert "4 requests are under way" in live.stderr
    provider.batches["batch_1"].fate.looks, provider.fates = 0, [Fate(looks=0)]
    assert commands.run(*evaluate(cases, "--batch"), env=provider.env).returncode == 0
    assert paid_once(provider)


@pytest.mark.long
def test_killed_it_goes_on_where_it_was(provider: BatchProvider, cases: Path) -> None:
    """Twice, in the middle of a round; the batch is not begun anew."""
    provider.fates = [Fate(looks=10_000)]
    for _ in range(2):
        with commands.start(*evaluate(cases, "--batch"), env=provider.env, folder=cases.parent / "out") as running:
            seen = len(provider.paths)
            running.wait_until(lambda seen=seen: "GET /batches/batch_1" in provider.paths[seen:])
            running.kill()
    assert len(provider.batches) == 1
    provider.batches["batch_1"].fate.looks, provider.fates = 0, [Fate(looks=0)]
    assert commands.run(*evaluate(cases, "--batch"), env=provider.env).returncode == 0
    assert paid_once(provider)


@pytest.mark.long
def test_batches_are_ended_and_the_run_goes_on_live(provider: BatchProvider, cases: Path) -> None:
    """What was answered by then is not asked again."""
    provider.fates = [Fate(looks=10_000, answered=2)]
    with commands.start(*evaluate(cases, "--batch"), env=provider.env, folder=cases.parent / "out") as running:
        running.wait_until(lambda: bool(provider.batches and provider.batches["batch_1"].looks))
        running.kill()
    run = str(cases.parent / "run")
    assert json.loads(commands.run("batches", run, "--json").stdout)[0]["state"] == "sent"
    done = commands.run("batches", run, "--cancel", env=provider.env)
    assert done.returncode == 0, done.stderr
    assert "batch_1 openai/fake cancelled: 2 of 4 answered\nnone is under way" in done.stdout
    assert commands.run(*evaluate(cases), env=provider.env).returncode == 0
    assert (len(provider.answered), paid_once(provider)) == (2, True)


def test_review_by_batch(provider: BatchProvider, cases: Path) -> None:
    """The verdicts of a live review; answers and batches stand in a folder beside them."""
    rows = [{"id": f"r{n}", "request": "q", "response": f"{'BADWORD' if n % 2 else 'fine'} {n}"} for n in range(4)]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("review", "--cases", str(cases), "--lm", "openai/fake", "--no-cache", "--out")
    done = commands.run(*command, str(cases.parent / "batch.jsonl"), "--batch", env=provider.env)
    assert done.returncode == 0, done.stderr
    assert (len(provider.answered), len(provider.live)) == (6, 0)
    assert commands.run(*command, str(cases.parent / "live.jsonl"), env=provider.env).returncode == 0
    verdicts = [(cases.parent / name).read_text().splitlines() for name in ("batch.jsonl", "live.jsonl")]
    verdicts = [
        sorted((row["id"], row["flagged"], row["probability"]) for row in map(json.loads, rows)) for rows in verdicts
    ]
    assert verdicts[0] == verdicts[1]
    assert (cases.parent / "batch.jsonl.work" / "calls.jsonl").exists()
    assert commands.run(*command, str(cases.parent / "batch.jsonl"), env=provider.env).returncode == 0
    assert len(provider.live) == 6


def test_wrong_uses_are_one_line(provider: BatchProvider, cases: Path) -> None:
    """What cannot be batched, a folder without batches, one response."""
    none = commands.run(*evaluate(cases, "--batch")[:2], "--lm", "lm_studio/x", "--batch", "--out", "x", cwd=cases.parent)
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    assert "no batch files for lm_studio/x (generate, review, revise)" in none.stderr
    assert "holds no batches" in commands.run("batches", str(cases.parent)).stderr
    (state := cases.parent / "broken" / "batches" / "0001").mkdir(parents=True)
    for wrong, said in (({"dollars": "x"}, "dollars"), ({"state": "begun"}, "state")):
        job = {"model": "m", "requests": 1, "tokens": 1, "dollars": None, "input_digest": "", **wrong}
        (state / "job.json").write_text(json.dumps(job))
        told = commands.run("batches", str(cases.parent / "broken"))
        assert (told.returncode, told.stderr.count("\n")) == (2, 1)
        assert said in told.stderr
    one = commands.run("review", "--response", "x", "--batch", env=provider.env)
    assert "--batch goes with --cases" in one.stderr


@pytest.mark.long
def test_compile_by_batch(provider: BatchProvider, cases: Path) -> None:
    """Interrupted while a batch is under way, it goes on with the same command."""
    said = {"aligned": "answer", "misaligned": "BADWORD"}
    rows = [
        {"id": f"{label}{n}", "request": f"q {n}", "response": f"{word} {n}", "label": label}
        for n in range(10)
        for label, word in said.items()
    ]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = cases.parent / "p.json"
    options = ("--labels", "16", "--prompts", "off", "--embed-lm", "none", "--target-fpr", "0.4", "--out", str(out))
    command = ("compile", str(cases), "--lm", "openai/fake", *options, "--batch")
    provider.fates = [Fate(looks=10_000)]
    with commands.start(*command, env=provider.env, folder=cases.parent / "out") as running:
        running.wait_until(lambda: bool(provider.batches and provider.batches["batch_1"].looks))
        running.interrupt()
        done = running.done()
    assert done.returncode == 130, done.stderr
    assert "stay in batches of openai/fake" in done.stderr
    provider.batches["batch_1"].fate.looks, provider.fates = 0, [Fate(looks=0)]
    done = commands.run(*command, env=provider.env)
    assert done.returncode == 0, done.stderr
    assert out.exists()
    assert max(Counter(json.dumps(body) for body in provider.answered).values()) == 1
