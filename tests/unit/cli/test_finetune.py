"""``conscience finetune``: what is shown and asked before anything is sent, and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import run, start
from tests.support.finetuning import FineTuningServer
from tests.support.loopback import Loopback

MODEL = "ft:gpt-4.1-mini-2025-04-14:org:conscience:2"


@pytest.fixture
def hosted() -> Iterator[FineTuningServer]:
    with FineTuningServer() as server:
        server.course = ("queued", "running", "succeeded")
        yield server


@pytest.fixture
def env(hosted: FineTuningServer) -> dict[str, str]:
    return {"OPENAI_BASE_URL": hosted.url, "OPENAI_API_KEY": "sk-test-secret-0123"}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [{"request": f"Question {n}?", "chosen": f"Right {n}.", "rejected": f"Wrong {n}."} for n in range(12)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(pairs: Path, *more: str) -> list[str]:
    return ["finetune", str(pairs), "--model", "gpt-4.1-mini", "--out", str(pairs.parent / "run"), "--poll", "0.01", *more]


def test_it_says_what_it_costs_and_ends_with_a_model(pairs: Path, hosted: FineTuningServer, env: dict[str, str]) -> None:
    """Which every command takes."""
    done = run(*command(pairs, "--yes"), env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"model: {MODEL}\nuse it with: --lm openai/{MODEL}\n"
    told = done.stderr.splitlines()
    assert told[0].startswith("supervised: 12 examples, about ")
    assert told[2].startswith("in all about $0.0")
    assert "gpt-4.1-mini-2025-04-14" in told[2]
    assert "dpo: running" in told
    again = run(*command(pairs, "--json"), env=env)  # nothing is left to be asked about
    assert json.loads(again.stdout)["result"] == MODEL
    assert len(hosted.jobs) == 2


def test_nothing_is_sent_before_somebody_agreed(pairs: Path, hosted: FineTuningServer, env: dict[str, str]) -> None:
    """Nobody is there, so nobody did; the costs are shown all the same."""
    done = run(*command(pairs), env=env)
    assert done.returncode == 2
    assert "say --yes" in done.stderr
    assert "in all about" in done.stderr
    assert hosted.asked == []


@pytest.mark.long
@pytest.mark.parametrize("end", ["interrupt", "kill"])
def test_stopped_it_follows_the_jobs_from_where_they_are(
    end: str, pairs: Path, hosted: FineTuningServer, env: dict[str, str], tmp_path: Path
) -> None:
    """It is not asked again, and begins nothing twice."""
    hosted.course = ("running",)
    with start(*command(pairs, "--yes"), env=env, folder=tmp_path / "out") as process:
        assert process.wait_until(lambda: "running" in {job["status"] for job in list(hosted.jobs.values())}), (
            process.done().stderr
        )
        getattr(process, end)()
        done = process.done()
    if end == "interrupt":
        assert done.returncode == 130
        assert done.stderr.splitlines()[-1] == "conscience: interrupted; the same command goes on from here"
    hosted.course = ("succeeded",)
    assert run(*command(pairs), env=env).stdout.startswith(f"model: {MODEL}")
    assert (len(hosted.files), len(hosted.jobs)) == (2, 2)


def test_a_failed_job_is_one_line(pairs: Path, hosted: FineTuningServer, env: dict[str, str]) -> None:
    """With what OpenAI says of it."""
    hosted.course, hosted.error = ("failed",), {"code": "server_error", "message": "The job\nfailed.", "param": None}
    done = run(*command(pairs, "--yes"), env=env)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "conscience: the supervised job ftjob-1 failed (server_error): The job failed."
    )


def test_one_method_alone(pairs: Path, hosted: FineTuningServer, env: dict[str, str]) -> None:
    """On a model that was fine-tuned before, or on any."""
    done = run(*command(pairs, "--yes", "--method", "dpo", "--beta", "0.5", "--epochs", "2"), env=env)
    assert done.returncode == 0, done.stderr
    (job,) = hosted.jobs.values()
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.5, "n_epochs": 2}}}


@pytest.mark.parametrize(
    ("more", "key", "said"),
    [
        (["--suffix", "a b"], "sk-test-secret-0123", "letters, digits and hyphens"),
        (["--model", "gpt-9"], "sk-test-secret-0123", "--price"),
        ([], "", "OPENAI_API_KEY"),
    ],
)
def test_what_is_missing_is_told_first(
    more: list[str], key: str, said: str, pairs: Path, hosted: FineTuningServer, env: dict[str, str]
) -> None:
    """In one line, and nothing is sent."""
    done = run(*command(pairs, "--yes", *more), env={**env, "OPENAI_API_KEY": key})
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert hosted.asked == []


def test_cases_and_too_few_pairs_are_told(tmp_path: Path, env: dict[str, str]) -> None:
    """With what to do."""
    path = tmp_path / "cases.jsonl"
    path.write_text('{"request": "Hi"}\n')
    assert "make pairs with: conscience pairs" in run(*command(path), env=env).stderr
    path.write_text('{"request": "Hi", "chosen": "a", "rejected": "b"}\n')
    assert "no fewer than 10" in run(*command(path), env=env).stderr


@pytest.mark.long
def test_the_resulting_name_is_a_model(server: Loopback, fake: dict[str, str]) -> None:
    """Colons and all."""
    done = run("ask", "--lm", f"openai/{MODEL}", "Where is Paris?", env=fake)
    assert done.returncode == 0, done.stderr
    assert {body["model"] for body in server.calls} == {MODEL}
