"""The report as a page: in node and in a real browser where there is one, and harmless whatever a model wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conscience.cli.main import cli
from conscience.errors import InputError
from conscience.evals import report
from conscience.evals.comparison.runs import compare_runs
from conscience.evals.folder import RunManifest
from conscience.evals.records import CaseRecord, FailedCase
from conscience.evals.results import EvalReport, EvaluatedCases
from conscience.evals.summary import summarise
from tests.support.browser import chromium
from tests.unit.evals.runs import SAFE, UNSAFE, go

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> "
    "\x1b[31mred \u202e\u2028 end"
)
SCRIPT = Path(report.__file__).parent / "report.js"
EMPTY = EvalReport("t", "2026-11-24T00:00:00", RunManifest("p"), EvaluatedCases())


@dataclass(frozen=True)
class Drawn:
    """What the script drew, its rows opened."""

    texts: list[str]
    tags: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def draw(page: str, folder: Path, script: str | None = None) -> Drawn:
    """Runs the page's script in node, on a small stand-in for a browser's document."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the PATH: the report's script is checked only where node or chromium is")
    folder.mkdir(exist_ok=True)
    (folder / "data.json").write_text(page.split('id="data">')[1].split("</script>")[0])
    (folder / "report.js").write_text(SCRIPT.read_text() if script is None else script)
    command = [node, str(Path(__file__).parent / "dom.js"), str(folder / "report.js"), str(folder / "data.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    drawn = json.loads(done.stdout)
    return Drawn(drawn["text"], drawn["tags"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a report; the first record's texts are hostile, and a case failed."""
    made = tmp_path_factory.mktemp("run")
    go(made, [*SAFE, *UNSAFE])
    lines = [json.loads(line) for line in (made / "rows.jsonl").read_text().splitlines()]
    lines[0] |= {"id": "hostile", "request": HOSTILE, "group": HOSTILE}
    lines[0]["draft"]["text"] = lines[0]["outcome"]["text"] = HOSTILE
    lines.append(FailedCase("failed", "k", f"it broke {HOSTILE}").to_json())
    (made / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (made / "keys.txt").write_text("".join(f"{line['key']}\n" for line in lines))
    report.save(summarise(made, sources=["cases <b>.jsonl"]), made)
    return made


def test_page_is_one_file_that_fetches_nothing(folder: Path) -> None:
    """Every byte is inside, and its policy forbids the rest."""
    page = (folder / "report.html").read_text()
    assert "default-src 'none'" in page
    for outside in ("http://", "https://", 'src="/', "@import", "url("):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "").split('id="data">')[0], outside
    assert "</script><script>document" not in page
    assert "{{" not in page.split('id="data">')[0]


def test_report_of_nothing_still_draws(tmp_path: Path) -> None:
    """All figures absent."""
    drawn = draw(report.render(EMPTY), tmp_path)
    assert {"nothing was measured", "Cases", "0 of 0 cases"} <= set(drawn.texts)


@pytest.mark.parametrize("broken", ["const = 1;", "el(", "main.append(missing);"])
def test_script_that_is_broken_is_seen(broken: str, tmp_path: Path) -> None:
    """By whatever draws it here: a syntax error, an unclosed call, a name that does not exist."""
    with pytest.raises(AssertionError, match="Error"):
        draw(report.render(EMPTY), tmp_path, script=f"{SCRIPT.read_text()}\n{broken}")


def test_figures_and_every_row_are_drawn(folder: Path, tmp_path: Path) -> None:
    """Headline, charts, groups, and of each case what was drafted, why it was flagged, and what was returned."""
    drawn = draw((folder / "report.html").read_text(), tmp_path)
    assert {"self-correction accuracy", "50.0 % → 87.5 %", "Groups", "17 of 17 cases"} <= set(drawn.texts)
    assert drawn.tags.count("svg") == 4
    assert drawn.texts.count("request") == 16, "each row opens"
    assert drawn.texts.count("error") >= 1
    assert "no-serious-harm" in drawn.texts
    assert drawn.tags.count("ins") > 8
    assert "spoiled (1)" in drawn.texts
    assert "corrected (7)" in drawn.texts
    assert not any("undefined" in text or "[object" in text for text in drawn.texts)


def test_hostile_text_is_drawn_as_text(folder: Path, tmp_path: Path) -> None:
    """What a terminal or the reading order would obey is made visible."""
    drawn = draw((folder / "report.html").read_text(), tmp_path)
    assert "img" not in drawn.tags
    hostile = [text for text in drawn.texts if "document.title='owned'" in text]
    assert len(hostile) >= 4
    assert not any(character in text for text in hostile for character in "\x1b\u202e")
    assert any("␛[31mred ␣" in text for text in hostile)


def test_comparison_is_drawn(tmp_path: Path) -> None:
    """Both runs, their rates, and what each cost."""
    for name in ("first run", "second run"):
        go(tmp_path / name, SAFE)
    comparison = compare_runs(tmp_path / "first run", tmp_path / "second run")
    drawn = draw(report.render_comparison(comparison), tmp_path / "page")
    assert "8 cases in common" in drawn.text
    assert "first: first run (conscience, scripted/lm)" in drawn.texts
    assert {"self-correction accuracy", "safe requests refused", "seconds a case"} <= set(drawn.texts)
    assert not any("undefined" in text or "NaN" in text for text in drawn.texts)


@pytest.mark.long
def test_many_rows_are_one_page(folder: Path) -> None:
    """20,000 rows: each once, and no larger than what it says."""
    read = report.read(folder)
    row = next(row for row in read.rows if isinstance(row, CaseRecord) and row.revisions)
    page = report.render(replace(read, rows=[replace(row, id=f"number {n}") for n in range(20_000)]))
    assert page.count('"id": "number ') == 20_000
    assert len(page) < 60_000_000


def test_what_is_saved_is_read(folder: Path) -> None:
    """Figures and rows."""
    read = report.read(folder)
    assert len(read.rows) == 17
    assert read == replace(summarise(folder, sources=["cases <b>.jsonl"]), made=read.made)
    assert read.to_dict() == json.loads((folder / "report.json").read_text())


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    """In one line, by its format where it is one of another version."""
    with pytest.raises(InputError, match="no report that can be read"):
        report.read(tmp_path)
    for text in ('{"format": "conscience-report/1"}', "[]", '{"format": "conscience-report/2", "title": 3}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(InputError, match="not a report of format conscience-report/2"):
            report.read(tmp_path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window."""
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def test_page_opens_filters_and_shows_what_changed(browser: Any, folder: Path) -> None:
    """In a real browser, from a file, without an error."""
    browser.get((folder / "report.html").as_uri())
    assert browser.title == "cases <b>.jsonl"
    rows = browser.find_elements("css selector", "#cases tr.row")
    assert len(rows) == 17
    assert len(browser.find_elements("css selector", "svg[role=img]")) == 4
    browser.find_element("css selector", "#search").send_keys("cruel 3")
    (row,) = browser.find_elements("css selector", "#cases tr.row")
    row.click()
    detail = browser.find_element("css selector", "tr.detail")
    assert [e.text for e in detail.find_elements("css selector", "del")][:1] == ["Sure,"]
    assert "can't" in [e.text for e in detail.find_elements("css selector", "ins")]
    assert "no-serious-harm" in detail.text
    row.send_keys("\n")
    assert not browser.find_elements("css selector", "tr.detail")
    browser.find_element("css selector", "#search").clear()
    kind = browser.find_element("css selector", "#kind")
    kind.send_keys("spoiled")
    assert [r.text.split()[0] for r in browser.find_elements("css selector", "#cases tr.row")] == ["s3"]
    assert browser.get_log("browser") == []


def test_hostile_text_does_nothing_and_is_shown(browser: Any, folder: Path) -> None:
    """Neither as markup nor as script nor as control characters."""
    browser.get((folder / "report.html").as_uri())
    for name in ("hostile", "failed"):
        row = next(r for r in browser.find_elements("css selector", "#cases tr.row") if r.text.startswith(name))
        row.click()
    text = browser.find_element("css selector", "#main").text
    assert "</script><script>document.title='owned'</script>" in text
    assert "␛[31mred ␣" in text
    assert browser.title == "cases <b>.jsonl"
    assert not browser.find_elements("css selector", "#main img")
    assert browser.get_log("browser") == []


def test_page_of_nothing_opens(browser: Any, tmp_path: Path) -> None:
    """Without an error."""
    (tmp_path / "r.html").write_text(report.render(replace(EMPTY, rows=[FailedCase("a", "k", "it broke")])))
    browser.get((tmp_path / "r.html").as_uri())
    assert "nothing was measured" in browser.find_element("css selector", "#main").text
    assert browser.get_log("browser") == []


def test_page_of_a_comparison(browser: Any, tmp_path: Path) -> None:
    """Drawn from two runs; the command writes it."""
    for name in ("a", "b"):
        go(tmp_path / name, SAFE)
    (tmp_path / "c.html").write_text(report.render_comparison(compare_runs(tmp_path / "a", tmp_path / "b")))
    browser.get((tmp_path / "c.html").as_uri())
    assert "self-correction accuracy" in browser.find_element("css selector", "#main").text
    assert browser.get_log("browser") == []
    done = CliRunner().invoke(cli, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "d.html")])
    assert done.exit_code == 0, done.output
    assert "8 cases in common" in done.output
    assert (tmp_path / "d.html").exists()
