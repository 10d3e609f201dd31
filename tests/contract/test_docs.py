"""The documentation is true: its links resolve, its Python runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.loopback import Loopback, chat, is_critique, is_gate, is_revision

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONG = {"frameworks.md"}
"""Long by what they import."""

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)


def hosted(body: Any, number: int) -> Any:
    """The hosted model of the pages: it makes up a study, and knows better when it is asked."""
    invented = "Harris and Lindqvist (Nature, 2014) proved it."
    if is_gate(body):
        return chat("x", yes=0.93 if invented in body["messages"][-2]["content"] else 0.04)
    if is_critique(body):
        why, change = "There is no such study.", "Say what is known, and that it is not proved."
        return chat(json.dumps({"findings": [{"principle": "honesty", "quote": invented, "why": why, "change": change}]}))
    if is_revision(body):
        return chat(
            "No study has proved it. Octopuses change colour while they sleep, "
            "and some researchers take that for a sign of dreams."
        )
    return chat(invented if "octopuses" in str(body["messages"]) else "Paris.")


@pytest.fixture
def hosted_model(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """What OpenAI's names lead to."""
    server.behaviour = hosted
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret-0123")
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):  # LiteLLM's, and the openai SDK's
        monkeypatch.setenv(name, server.url)


def headings(page: Path) -> list[str]:
    """As links name them."""
    titles = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_resolve(page: Path) -> None:
    """To files that are there, and to headings in them."""
    for target, heading in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if "://" not in target:
            there = page.parent / target if target else page
            assert there.exists(), target
            assert not heading or heading in headings(there), f"{target}#{heading}"


@pytest.mark.usefixtures("hosted_model")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.long] if page.name in LONG else [])
        for page in PAGES
        if BLOCK.search(page.read_text())
    ],
)
def test_python_blocks_run(
    page: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In order, in one namespace; a page that uses the embedded model needs it. OpenAI's models are on loopback. What a
    tutorial says is printed is printed."""
    monkeypatch.chdir(tmp_path)  # where a page writes files
    code = "\n".join(BLOCK.findall(page.read_text()))
    if 'lm="local"' in code:
        request.getfixturevalue("local_endpoint")
    exec(compile(code, str(page), "exec", dont_inherit=True), {"__name__": "docs"})
    if page.parent.name == "tutorial":
        assert capsys.readouterr().out == "".join(PRINTED.findall(page.read_text()))


@pytest.mark.usefixtures("hosted_model")
def test_the_readme_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The first five minutes, word for word."""
    section = (ROOT / "README.md").read_text().split("## In an application")[0]
    exec(compile("\n".join(BLOCK.findall(section)), "README.md", "exec", dont_inherit=True), {"__name__": "docs"})
    assert capsys.readouterr().out == "".join(PRINTED.findall(section))


def test_yaml_constitution_in_the_docs_loads(tmp_path: Path) -> None:
    """The example that people copy; and it is asked as the page shows it."""
    from conscience import Conscience
    from conscience.testing import ScriptedLM, by_stage

    page = (ROOT / "docs" / "constitution.md").read_text()
    block, *_ = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "kitchen.yaml").write_text(block)
    lm = ScriptedLM(by_stage())
    program = Conscience("question -> answer", constitution=tmp_path / "kitchen.yaml", lm=lm)
    assert program.constitution.name == "kitchen"
    program(question="When is chicken done?")
    asked = lm.calls[1][0][-1]["content"]
    assert "".join(f"    {line}\n" for line in asked.splitlines()) in page


def test_every_command_in_the_readme_exists() -> None:
    """No command is promised that is not there."""
    from conscience.cli.main import cli

    named = set(re.findall(r"^\$ conscience ([\w-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named == set(cli.commands)
