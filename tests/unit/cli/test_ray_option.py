"""``--ray``: what follows it is an address or the command's, and wrong uses are one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conscience.cli.main import cli
from conscience.distributed import ray_executor
from conscience.errors import InputError
from tests.support.executors import Adversary
from tests.support.loopback import Loopback

CASE = '{"id": "a", "request": "q", "response": "BADWORD", "label": "misaligned"}\n'


@pytest.fixture
def cases(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one case, in the current folder."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.jsonl").write_text(CASE)
    return tmp_path / "cases.jsonl"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The addresses that were asked for; the cluster is an executor of this process."""
    seen: list[str | None] = []

    @contextmanager
    def cluster(address: str | None) -> Iterator[Any]:
        seen.append(address)
        yield Adversary()

    monkeypatch.setattr(ray_executor, "RayExecutor", cluster)
    return seen


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (["--ray"], None),
        (["--ray", "--limit", "1"], None),
        (["--ray=auto"], "auto"),
        (["--ray", "10.0.0.7:6379"], "10.0.0.7:6379"),
        (["--ray", "head:6379"], "head:6379"),
        (["--ray=[::1]:6379"], "[::1]:6379"),
        (["--ray", "ray://head:10001"], "ray://head:10001"),
    ],
    ids=str,
)
def test_addresses(cases: Path, asked: list[str | None], given: list[str], address: str | None) -> None:
    done = CliRunner().invoke(cli, ["eval", "cases.jsonl", "--lm", "openai/fake", "--out", "run", *given])
    assert (done.exit_code, asked) == (0, [address]), done.output
    assert (cases.parent / "run" / "report.json").exists()


def test_review_keeps_its_answers_beside_its_verdicts(cases: Path, asked: list[str | None]) -> None:
    """As a killed driver would lose what its workers had paid for."""
    command = ["review", "--cases", "cases.jsonl", "--lm", "openai/fake", "--out", "v.jsonl", "--ray"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert (cases.parent / "v.jsonl.work" / "calls.jsonl").read_text()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["eval", "--ray", "cases.jsonl", "--out", "run"], "--ray: cases.jsonl is no address of a cluster"),
        (["eval", "cases.jsonl", "--out", "run", "--ray", "--batch"], "--batch and --ray do not go together"),
        (["review", "--response", "x", "--ray"], "--ray goes with --cases"),
    ],
    ids=str,
)
def test_wrong_uses_are_one_line(cases: Path, server: Loopback, command: list[str], says: str) -> None:
    done = CliRunner().invoke(cli, [*command, "--lm", "openai/fake"])
    assert isinstance(done.exception, InputError)
    assert says in str(done.exception)
    assert not server.calls
