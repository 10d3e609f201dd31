"""The file of --config: programs by name, policies by key, limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conscience.cli.serve import serve_command
from conscience.errors import ConfigurationError, InputError
from conscience.server import Limits
from conscience.server.settings import limits_of, policies_of_environment, read_settings
from tests.conftest import ROOT

WHOLE = """
programs:
  careful: {lm: openai/gpt-4o-mini, threshold: 0.4, on_error: raise}
  plain: {constitution: medical}
keys:
  acme: {env: ACME_KEY, programs: {gpt-4o: careful}, threshold: 0.3, mode: observe}
  trial: {env: TRIAL_KEY, programs: [plain]}
  one: {env: ONE_KEY, programs: plain, operator: true}
limits: {concurrency: 8}
"""


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONSCIENCE_API_KEY", raising=False)
    for name, key in (("ACME_KEY", "acme-1, acme-2"), ("TRIAL_KEY", "trial-1"), ("ONE_KEY", "one-1")):
        monkeypatch.setenv(name, key)


def written(folder: Path, text: str) -> Path:
    file = folder / "serve.yaml"
    file.write_text(text)
    return file


def test_a_file_gives_each_key_its_policy(tmp_path: Path) -> None:
    """A variable may hold an old and a new key."""
    settings = read_settings(written(tmp_path, WHOLE))
    policies = settings.policies()
    assert [(p.name, p.key) for p in policies] == [
        ("acme", "acme-1"),
        ("acme", "acme-2"),
        ("trial", "trial-1"),
        ("one", "one-1"),
    ]
    assert (policies[0].programs, policies[0].threshold, policies[0].mode) == ({"gpt-4o": "careful"}, 0.3, "observe")
    assert (policies[2].programs, policies[3].programs) == ({"plain": "plain"}, {"plain": "plain"})
    assert limits_of(settings.limits) == Limits(concurrency=8)
    assert settings.programs["careful"].threshold == 0.4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a mapping"),
        ("[1]", "not a mapping"),
        ("programs: {}", "programs"),
        ("keys: {}", "'programs' is missing"),
        ("programs: {a: {}}\nport: 3", "serve.yaml:2: key 'port' is unknown"),
        ("programs:\n  a: {lmm: x}", "serve.yaml:2: key 'programs.a.lmm' is unknown; did you mean lm?"),
        ("programs: {a: {threshold: 2}}", "threshold"),
        ("programs: {a: {on_error: maybe}}", "on_error"),
        ("programs: {a: {}}\nkeys:\n  b: {key: secret}", "serve.yaml:3: key 'keys.b.key' is unknown"),
        ("programs: {a: {}}\nkeys: {b: {programs: [a]}}", "'keys.b.env' is missing"),
        ("programs: {a: ", "not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(written(tmp_path, text))
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "  ", ","])
def test_a_key_that_is_not_there_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A variable that was meant to hold a key and holds none is no permission for everybody."""
    monkeypatch.setenv("TRIAL_KEY", value)
    monkeypatch.setenv("CONSCIENCE_API_KEY", value)
    for read in (read_settings(written(tmp_path, WHOLE)).policies, policies_of_environment):
        with pytest.raises(ConfigurationError, match="is not set or empty"):
            read()


def test_without_a_variable_there_is_no_policy() -> None:
    assert policies_of_environment() == []


@pytest.mark.parametrize("given", [{"concurency": 3}, {"queue": "many"}, {"body_bytes": True}])
def test_a_limit_that_is_none_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        limits_of(given)


def test_the_file_in_the_documentation_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", "ours-1")
    page = (ROOT / "docs" / "serving.md").read_text()
    settings = read_settings(written(tmp_path, page.split("```yaml\n")[1].split("```")[0]))
    assert [policy.name for policy in settings.policies()] == ["acme", "acme", "trial", "us"]
    assert limits_of(settings.limits).queue == 64


def test_the_container_file_names_what_there_is() -> None:
    """Nothing else is copied, and the command has these options."""
    lines = (ROOT / "Containerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    command = json.loads(next(line.removeprefix("ENTRYPOINT ") for line in lines if line.startswith("ENTRYPOINT")))
    assert command[:2] == ["conscience", "serve"]
    known = {option for parameter in serve_command.params for option in parameter.opts}
    assert {part for part in command if part.startswith("--")} <= known
