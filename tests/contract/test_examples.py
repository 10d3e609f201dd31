"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_switch_provider() -> None:
    """The old threshold flags every fair answer of the new model, the new one does not."""
    said = run("switch_provider.py")
    assert "new/model  before  AUROC 1.00, false positives 100%" in said
    assert "new/model  after   AUROC 1.00, false positives 0%" in said
    assert "flagged: False" in said


def test_gepa_directly() -> None:
    """It finds the instruction that the feedback asks for."""
    said = run("gepa_directly.py")
    assert "Answer kindly" in said
    assert "A kind word." in said


@pytest.mark.local
@pytest.mark.timeout(600)
def test_compile_domain(local_endpoint: Any, tmp_path: Path) -> None:
    """On the embedded model, from a few labels."""
    said = run("compile_domain.py", "--labels", "24", "--out", str(tmp_path / "p.json"))
    assert "together" in said or "left alone" in said
    assert "a case it has not seen" in said
    assert (tmp_path / "p.json").exists()
