"""What ``conscience compile`` has compiled is saved once, with its report; whatever ends the report, nothing is lost."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from conscience import Conscience
from conscience.artifacts.schema import Artifact, Provenance
from conscience.cli.compile import _saved_at_the_end
from conscience.errors import ArtifactError, BackendError
from conscience.testing import ScriptedLM


@pytest.fixture
def compiled() -> Conscience:
    program = Conscience(lm=ScriptedLM({"": "x"}))
    program.provenance = Provenance(notes=("compiled",))
    return program


def notes(path: Path) -> tuple[str, ...]:
    provenance = Artifact.read(path).provenance
    assert provenance is not None
    return provenance.notes


def test_the_file_appears_once_the_report_is_in_it(compiled: Conscience, tmp_path: Path) -> None:
    """Not before; and the copy is gone then."""
    out, folder = tmp_path / "p.json", tmp_path / "p.work"
    with _saved_at_the_end(compiled, out, folder):
        assert not out.exists()
        compiled.provenance = Provenance(notes=("reported",))
    assert notes(out) == ("reported",)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "note"),
    [
        (BackendError("the server is gone"), "the report on holdout cases failed: the server is gone"),
        (ZeroDivisionError("a mistake of ours"), "the report on holdout cases failed: a mistake of ours"),
        (KeyboardInterrupt(), "the report on holdout cases was interrupted"),
    ],
    ids=["backend", "crash", "Ctrl-C"],
)
def test_a_report_that_fails_leaves_the_program_saved(
    failure: BaseException, note: str, compiled: Conscience, tmp_path: Path
) -> None:
    """With a note, and the failure is passed on."""
    out = tmp_path / "p.json"
    with pytest.raises(type(failure)), _saved_at_the_end(compiled, out, tmp_path / "p.work"):
        raise failure
    assert notes(out) == ("compiled", note)


def test_a_disk_that_the_report_fills_up_leaves_the_program_saved(
    compiled: Conscience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy takes its place: that takes no room."""
    out = tmp_path / "p.json"

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def report() -> None:
        monkeypatch.setattr("conscience.artifacts.schema.write_atomic", full)
        full()

    with pytest.raises(ArtifactError, match="No space left"), _saved_at_the_end(compiled, out, tmp_path / "p.work"):
        report()
    assert notes(out) == ("compiled",)
