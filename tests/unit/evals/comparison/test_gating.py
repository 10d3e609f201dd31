"""A comparison that gates a build, through the command line and the pytest plugin."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from conscience import Conscience
from conscience.cli.main import cli
from conscience.errors import InputError
from conscience.evals.summary import summarise
from conscience.pytest_plugin import Figures
from conscience.testing import ScriptedLM
from tests.unit.evals.runs import SAFE, go, script


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A program that reviews, and one whose gate flags nothing."""
    folder = tmp_path_factory.mktemp("runs")
    go(folder / "reviews")
    go(folder / "sleeps|<b>", program=Conscience(lm=ScriptedLM(script), threshold=1.0))
    return str(folder / "reviews"), str(folder / "sleeps|<b>")


def compare(*arguments: str) -> Result:
    """One call of the command."""
    return CliRunner().invoke(cli, ["compare", *arguments])


def test_exit_codes(runs: tuple[str, str], tmp_path: Path) -> None:
    """0 where nothing is worse, 1 for a regression or a missing figure; what is no condition is refused first of all."""
    better, worse = runs
    passed = compare(worse, better, "--fail-on", "self_correction<0", "--fail-on", "recall<0")
    assert passed.exit_code == 0, passed.output
    assert "ok: self_correction<0: +37.5%" in passed.output
    failed = compare(better, worse, "--fail-on", "fpr>+.02, self_correction<0")
    assert failed.exit_code == 1
    assert "regression: self_correction<0: -37.5%" in failed.output
    assert "ok: fpr>+.02" in failed.output
    assert compare(better, worse, "--fail-on", "fpr<0", "--certain").exit_code == 0
    assert compare(better, worse, "--fail-on", "self_correction<0", "--certain").exit_code == 1
    assert isinstance(compare("nowhere", worse, "--fail-on", "fpt>+.02").exception, InputError)
    assert compare(better, worse).exit_code == 0
    go(tmp_path / "safe only", SAFE)
    missing = compare(better, str(tmp_path / "safe only"), "--fail-on", "recall<0")
    assert missing.exit_code == 1
    assert "no case has this figure" in missing.output
    assert "8 cases of" in missing.output


def test_formats(runs: tuple[str, str], tmp_path: Path) -> None:
    """JUnit's XML, a Markdown file that is added to, and JSON; names in them are text and no markup."""
    xml, summary = tmp_path / "out.xml", tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    wanted = ("--fail-on", "self_correction<0", "--fail-on", "fpr>+.02", "--junit", str(xml), "--markdown", str(summary))
    assert compare(*runs, *wanted).exit_code == 1
    suite = ElementTree.parse(xml).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["self_correction<0"]
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n### sleeps\\|\\<b\\> against reviews")
    assert "**1 regression**" in text
    assert "| self-correction accuracy |" in text
    data = json.loads(compare(*runs, "--fail-on", "self_correction<0", "--json").stdout)
    assert [(c["condition"], c["failed"]) for c in data["conditions"]] == [("self_correction<0", True)]
    assert data["conditions"][0]["measured"]["value"] == pytest.approx(-0.375)
    free = tmp_path / "free"
    shutil.copytree(runs[0], free)
    rows = (free / "rows.jsonl").read_text(encoding="utf-8")
    (free / "rows.jsonl").write_text(re.sub(r'("dollars": ?)[0-9.e-]+', r"\g<1>0.0", rows), encoding="utf-8")
    text = compare(str(free), runs[0], "--fail-on", "dollars>+20%", "--json").stdout
    assert "Infinity" not in text
    assert isinstance(compare(*runs, "--junit", str(tmp_path / "none" / "x.xml")).exception, InputError)


def test_the_plugin_holds_runs_and_programs_to_figures(runs: tuple[str, str], conscience_figures: type[Figures]) -> None:
    """It comes with the package; what does not hold fails the test in lines that say what was measured."""
    better, worse = runs
    conscience_figures(better).require("self_correction >= .8", "fpr <= .125")
    conscience_figures(better, since=worse).require("self_correction >= 0", "fpr <= +15%")  # type: ignore[call-arg]
    with pytest.raises(pytest.fail.Exception, match=r"does not hold: fpr<=\.125: 12\.5% \("):
        conscience_figures(better).require("fpr <= .125", certain=True)
    with pytest.raises(InputError, match="another run"):
        conscience_figures(better).require("fpr <= +.02")
    for required in ((), ("failed <= +0",)):
        with pytest.raises(InputError):
            conscience_figures(better).require(*required)
    program = Conscience(lm=ScriptedLM(script))
    with pytest.raises(InputError, match="name cases"):
        conscience_figures(program)
    conscience_figures(Conscience(lm=ScriptedLM(script), threshold=1.0), cases=SAFE).require("fpr <= 0")  # type: ignore[call-arg]
    conscience_figures(program, cases=SAFE).require("self_correction > .8", "failed <= 0.001")  # type: ignore[call-arg]


def test_a_run_that_was_stopped_holds_nothing(
    runs: tuple[str, str], conscience_figures: type[Figures], tmp_path: Path
) -> None:
    """Its figures are of some of its cases, whichever they are."""
    folder = tmp_path / "stopped"
    shutil.copytree(runs[0], folder)
    rows = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(rows[:-3]))
    assert "3 cases were not done when the run ended" in str(summarise(folder).claims)
    with pytest.raises(pytest.fail.Exception, match="3 of its cases were not done"):
        conscience_figures(folder).require("failed <= 0.5")
    assert summarise(Path(runs[0])).cases.left == 0


@pytest.mark.parametrize("option", ["--out", "--junit"])
def test_a_comparison_is_written_over_no_cases(option: str, runs: tuple[str, str], tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"request": "q", "response": "r", "label": "aligned"}\n')
    assert isinstance(compare(*runs, option, str(labels)).exception, InputError)
    assert "aligned" in labels.read_text()
    for _ in range(2):
        assert compare(*runs, option, str(tmp_path / "made")).exit_code == 0


def test_cases_that_failed_in_the_second_run_are_told_of(tmp_path: Path) -> None:
    """They are in no figure, wherever it is read."""
    go(tmp_path / "a")
    go(tmp_path / "b", program=Conscience(lm=ScriptedLM(failing)))
    told = "15 cases failed in b alone: they are in no figure"
    done = compare(
        str(tmp_path / "a"), str(tmp_path / "b"), "--fail-on", "fpr>+.02",
        "--junit", str(tmp_path / "j.xml"), "--markdown", str(tmp_path / "m.md"),
    )  # fmt: skip
    assert told in done.output
    assert told in (tmp_path / "j.xml").read_text()
    assert told in (tmp_path / "m.md").read_text()


def failing(messages: Any, params: Any) -> Any:
    """A model that knows one request."""
    if "kind 0" not in str(messages):
        raise ValueError("no such model today")
    return script(messages, params)
