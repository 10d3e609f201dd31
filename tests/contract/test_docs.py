"""The documentation is true: its links resolve, its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_resolve(page: Path) -> None:
    """To files that are there, and to headings in them."""
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text()):
        if target and "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=lambda p: p.name)
def test_python_blocks_run(page: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """In order, in one namespace; a page that uses the embedded model needs it."""
    code = "\n".join(BLOCK.findall(page.read_text()))
    if 'lm="local"' in code:
        request.getfixturevalue("local_endpoint")
    exec(compile(code, str(page), "exec"), {"__name__": "docs"})


def test_yaml_constitution_in_the_docs_loads(tmp_path: Path) -> None:
    """The example that people copy."""
    from conscience import Constitution

    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "constitution.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "kitchen.yaml").write_text(block)
    assert Constitution.load(tmp_path / "kitchen.yaml").name == "kitchen"


def test_every_command_in_the_readme_exists() -> None:
    """No command is promised that is not there."""
    from conscience.cli.main import cli

    named = set(re.findall(r"^\$ conscience ([\w-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named == set(cli.commands)
