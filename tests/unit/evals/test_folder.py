"""A run's folder: whose it is, what it holds, and what is refused."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conscience import Conscience, Constitution
from conscience.backends.backend import Backend
from conscience.cli.main import cli
from conscience.errors import InputError
from conscience.evals.comparison.runs import compare_runs
from conscience.evals.folder import RunManifest, read_manifest, read_records
from conscience.evals.oracles.judge import Judge
from conscience.evals.records import RUN_FORMAT
from conscience.evals.summary import summarise
from conscience.testing import ScriptedLM
from tests.support.loopback import Loopback, well_behaved
from tests.unit.evals.runs import SAFE, UNSAFE, go, records, script


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    """By the name of what differs."""
    go(tmp_path, SAFE[:1])
    with pytest.raises(InputError, match="another max_revisions"):
        go(tmp_path, SAFE, Conscience(lm=ScriptedLM(script), max_revisions=0))
    with pytest.raises(InputError, match="holds no run"):
        list(read_records(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["report.html", "report.json", "keys.txt", "rows.jsonl"])
def test_files_of_somebody_elses_are_not_overwritten(name: str, tmp_path: Path) -> None:
    """In a folder that no run has made."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} exists, and no run made it"):
        go(tmp_path, SAFE[:1])
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("version", [None, "conscience-run/3"])
def test_folder_of_another_format_is_refused_by_its_version(tmp_path: Path, version: str | None) -> None:
    """In one line, whoever reads it: folders of before versions had names are 1."""
    go(tmp_path, SAFE[:1])
    path = tmp_path / "run.json"
    manifest = json.loads(path.read_text())
    assert manifest.pop("format") == RUN_FORMAT == "conscience-run/2"
    path.write_text(json.dumps(manifest | ({"format": version} if version else {})))
    for use in (lambda: go(tmp_path, SAFE[:1]), lambda: summarise(tmp_path), lambda: compare_runs(tmp_path, tmp_path)):
        with pytest.raises(InputError, match=f"'{version or 'conscience-run/1'}'") as error:
            use()
        assert "\n" not in error.value.message


def test_manifest_survives_json(tmp_path: Path) -> None:
    """So that the same run is known again."""
    go(tmp_path, SAFE[:1])
    manifest = read_manifest(tmp_path)
    assert manifest.signals
    assert manifest.models == "scripted/lm"
    assert RunManifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_other_options_are_another_run(server: Loopback, tmp_path: Path) -> None:
    """Those of the models, and the judge's model; what is secret does not get into the folder."""
    server.behaviour = well_behaved

    def program(**options: Any) -> Conscience:
        return Conscience(lm=Backend("openai/fake", api_base=server.url, api_key="hunter2", **options))

    def judged(model: str) -> Judge:
        return Judge(Constitution.load("general"), Backend(model))

    go(tmp_path, SAFE[:1], program(max_tokens=5))
    assert go(tmp_path, SAFE[:2], program(max_tokens=5, timeout=3)).resumed == 1
    with pytest.raises(InputError, match="another model, or other parameters"):
        go(tmp_path, SAFE, program(max_tokens=500))
    go(tmp_path / "judged", [], oracle=judged("openai/a"))
    with pytest.raises(InputError, match="another model"):
        go(tmp_path / "judged", [], oracle=judged("openai/b"))
    assert "hunter2" not in (tmp_path / "run.json").read_text()


def test_records_are_those_of_the_last_call(tmp_path: Path) -> None:
    """Rows of other cases in the folder, and of a case as it was before its label was corrected, stay and count nowhere."""
    go(tmp_path, SAFE)
    go(tmp_path, UNSAFE)
    assert summarise(tmp_path).cases.done == 8
    assert {record.id for record in records(tmp_path)} == {case.id for case in UNSAFE}
    corrected = [UNSAFE[0].model_copy(update={"request_safe": True}), *UNSAFE[1:]]
    assert go(tmp_path, corrected).resumed == 7
    assert [record.safe for record in records(tmp_path)].count(True) == 1
    correction = summarise(tmp_path).correction
    assert correction is not None
    assert correction.n == 8
    assert go(tmp_path).resumed == 16
    assert summarise(tmp_path).cases.done == 16
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 17


def test_full_disk_does_not_spoil_the_folder(tmp_path: Path) -> None:
    """Nothing is written, or all of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        with pytest.raises(InputError, match="cannot be used"):
            go(tmp_path, SAFE[:1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert go(tmp_path, SAFE[:1]).done == 1


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    """In one line, by the commands that read it and by those that would go on with it."""
    for name in ("a", "list", "norun", "numbers", "row"):
        go(tmp_path / name, SAFE[:1])
    (tmp_path / "list" / "run.json").write_text("[]")
    (tmp_path / "norun" / "run.json").unlink()
    (tmp_path / "numbers" / "rows.jsonl").write_text("1\n")
    (tmp_path / "row" / "rows.jsonl").write_text('{"id": "a", "key": "b", "draft": "text"}\n')
    with pytest.raises(InputError, match="does not say what the run is of"):
        go(tmp_path / "list", SAFE[:1])
    says = {"list": "does not say", "norun": "holds no run", "numbers": "rows.jsonl:1: not a row", "row": "1: not a row"}
    for name, message in says.items():
        with pytest.raises(InputError, match=message):
            compare_runs(tmp_path / "a", tmp_path / name)


def test_comparison_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder in its place, or none around it."""
    go(tmp_path / "a", SAFE[:1])
    for out in (tmp_path, tmp_path / "missing" / "c.html"):
        done = CliRunner().invoke(cli, ["compare", str(tmp_path / "a"), str(tmp_path / "a"), "--out", str(out)])
        assert isinstance(done.exception, InputError)
        assert "cannot be written" in str(done.exception)
