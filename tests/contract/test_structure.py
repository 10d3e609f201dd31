"""The tree shows the architecture: few files to a folder, short modules, nothing reached into from outside."""

from __future__ import annotations

import re
import statistics
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

MOST_FILES = 14
LONGEST = 450
MEDIAN = 200
DEEPEST = 2
"""Levels below which neither docs nor examples import: ``conscience`` and its packages."""

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages() -> dict[str, Path]:
    """Package name → folder, as the tree has them."""
    roots = {"conscience": ROOT / "conscience", "conscience.optimizers": ROOT / "optimizers"}
    found = {}
    for name, root in roots.items():
        for file in sorted(root.glob("**/__init__.py")):  # glob follows no symlink, so conscience/optimizers is not met here
            inside = file.parent.relative_to(root).parts
            if "optimizers" not in inside:
                found[".".join((name, *inside))] = file.parent
    return found


def modules() -> list[Path]:
    return [file for folder in packages().values() for file in sorted(folder.glob("*.py"))]


def test_every_package_is_packaged() -> None:
    """The list in pyproject.toml is the tree's."""
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(packages())


@pytest.mark.parametrize("name", packages())
def test_a_folder_has_few_files_of_its_own(name: str) -> None:
    """Where there are more, a concept is hiding that wants a folder."""
    own = [file.name for file in packages()[name].iterdir() if file.suffix == ".py" and file.name != "__init__.py"]
    assert len(own) <= MOST_FILES, sorted(own)


def test_modules_are_short() -> None:
    """Each is one concept."""
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}
    assert statistics.median(count for name, count in lines.items() if not name.endswith("__init__.py")) <= MEDIAN


def test_every_module_says_what_it_is_for() -> None:
    """In the first line of its docstring; an empty file needs none."""
    silent = [
        path for path in modules() if (text := path.read_text(encoding="utf-8")) and not text.startswith(('"""', 'r"""'))
    ]
    assert silent == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name)
def test_docs_import_from_the_top(page: Path) -> None:
    """What a reader copies stands in the public API."""
    blocks = re.findall(r"^```python[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = re.findall(r"^\s*(?:from|import) (conscience[\w.]*)", "\n".join(blocks), re.MULTILINE)
    assert [name for name in names if not is_public(name)] == []


def is_public(module: str) -> bool:
    """Whether docs and examples may import it: ``conscience``, its packages, and each integration, by the name of what it
    goes with."""
    return module.removeprefix("conscience.integrations.").count(".") < DEEPEST


def test_only_underscores_hide() -> None:
    """What begins with an underscore is imported inside its own package alone."""
    reached = []
    for package, folder in packages().items():
        for path in folder.glob("*.py"):
            for module in re.findall(r"^\s*from (conscience[\w.]*) import", path.read_text(encoding="utf-8"), re.MULTILINE):
                private = re.match(r"(.*?)\._", module)
                if private and not f"{package}.".startswith(f"{private[1]}."):
                    reached.append(f"{path.relative_to(ROOT)}: {module}")
    assert reached == []
